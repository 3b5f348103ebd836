"""Imports torch, which every process that plans would wait for."""

import torch

from icckd.plugins import metric


@metric("largest-logit", unit="1", direction="none", about="largest logit")
def largest(evaluation):
    return torch.amax(evaluation.logits).item()
