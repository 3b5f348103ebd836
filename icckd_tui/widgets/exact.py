"""Send the terminal the cells that changed, and not what stands left of them in their widget.

Textual (8.2) repaints a changed part of a line from the left edge of the widget on; its compositor
says so in a comment. Half of what a live monitor wrote was such text.
"""

from textual._compositor import ChopsUpdate, Compositor
from textual.strip import Strip


class ExactCompositor(Compositor):
    """A compositor whose partial updates hold the changed cells alone."""

    def render_partial_update(self) -> ChopsUpdate | None:
        """Return what changed, or None where nothing did."""
        update = super().render_partial_update()
        return exact(update) if update is not None else None


def exact(update: ChopsUpdate) -> ChopsUpdate:
    """Cut the strips of an update to its spans."""
    chops: list[dict[int, Strip | None]] = [{} for _ in update.chops]
    chop_ends: list[list[int]] = [[] for _ in update.chops]
    for y, first, last in update.spans:
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            start, stop = max(x, first), min(end, last)
            if strip is not None and start < stop:
                whole = (start, stop) == (x, end)
                chops[y][start] = strip if whole else strip.crop(start - x, stop - x)
                chop_ends[y].append(stop)
    return ChopsUpdate(chops, update.spans, chop_ends)
