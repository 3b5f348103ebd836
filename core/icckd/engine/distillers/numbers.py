"""Arithmetic that the methods share: precision, unit rows, sizes of maps.

Shape suffixes: B batch, K channels, H height, W width, h and w of the smaller map.
"""

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST_NORM = 1e-6
"""Rows shorter than this count as zero: they have no direction, and get no gradient."""


def precise(x: Tensor) -> Tensor:
    """Return a tensor in float32, or in float64 if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit_rows(x: Tensor) -> Tensor:
    """Return `x` scaled to length 1 along the last dimension; zero rows stay zero.

    Gradients are at most 1 / SMALLEST_NORM times what comes in, and 0 at a zero row: a sample
    whose units are all dead does not ruin a step.
    """
    square = x.square().sum(dim=-1, keepdim=True)
    alive = square > SMALLEST_NORM**2
    return torch.where(alive, x * torch.where(alive, square, 1.0).rsqrt(), 0.0)


def pooled(x_BKHW: Tensor, height: int, width: int) -> Tensor:
    """Return averages over windows, as adaptive average pooling defines them.

    That one's backward pass is not deterministic on a GPU; these are. A size that the map does
    not reach is left as it is.
    """
    rows, columns = x_BKHW.shape[2:]
    height, width = min(height, rows), min(width, columns)
    if (height, width) == (rows, columns):
        return x_BKHW
    if rows % height == 0 and columns % width == 0:
        return functional.avg_pool2d(x_BKHW, (rows // height, columns // width))
    down_hH, down_wW = _windows(rows, height, x_BKHW), _windows(columns, width, x_BKHW)
    return down_hH @ x_BKHW @ down_wW.T


def _windows(size: int, parts: int, like: Tensor) -> Tensor:
    """Return the matrix that averages `size` values over `parts` windows of similar length."""
    part = torch.arange(parts, device=like.device)[:, None]
    place = torch.arange(size, device=like.device)
    first, last = part * size // parts, -(-(part + 1) * size // parts)
    inside = ((place >= first) & (place < last)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def to_common_size(a_BKHW: Tensor, b_BKHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return two maps with the larger one pooled to the size of the smaller, per side."""
    height, width = (min(a_BKHW.shape[d], b_BKHW.shape[d]) for d in (2, 3))
    return pooled(a_BKHW, height, width), pooled(b_BKHW, height, width)
