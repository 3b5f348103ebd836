"""Losses of the teacher besides cross-entropy."""
