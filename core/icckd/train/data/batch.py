"""What one step of training sees."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from icckd.train.lazy import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One step's data on the device.

    Attributes:
        images: Normalised views, float32, (views * batch, channels, height, width), view 1 first.
        labels: Class indices, int64, shape (batch,).
        ids: Stable sample indices, int64, shape (batch,).
        largest_class: Images of the most frequent class, known on the host.
        codes: Tell equal views, int64, shape (views * batch,); None where views have no end.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    largest_class: int
    codes: Tensor | None = None


def parts_of(batch: Batch, parts: int) -> Iterator[Batch]:
    """Yield equal parts of a batch in order; all views of an image are in one part."""
    size = len(batch.labels) // parts
    views_VBCHW = batch.images.view(-1, len(batch.labels), *batch.images.shape[1:])
    codes_VB = None if batch.codes is None else batch.codes.view(-1, len(batch.labels))
    for start in range(0, len(batch.labels), size):
        rows = slice(start, start + size)
        yield replace(
            batch,
            images=views_VBCHW[:, rows].flatten(0, 1),
            labels=batch.labels[rows],
            ids=batch.ids[rows],
            codes=None if codes_VB is None else codes_VB[:, rows].flatten(),
        )
