"""Losses of the teacher besides cross-entropy; every module here is a part."""
