"""Data sets. This module, `download`, `files` and `fingerprint` are torch-free."""

from icckd.engine.data.download import fetch

__all__ = ["fetch"]
