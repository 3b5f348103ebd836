"""Distillers, a file for one or for a few that are alike; every module here is a part."""

from icckd.train.distillers.base import build_distiller, save_learnt

__all__ = ["build_distiller", "save_learnt"]
