"""Metrics of a trained model on fixed images; every module here is a part."""
