"""What is visible at which size of the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ALL_PANES = (110, 32)  # from this size on, all panes are shown at once
WIDE = 100  # from this width on, roles are written out
ROOMY = 150  # from this width on, the line below the comparison needs no second one
HOST_PANEL = 130  # from this width on, the host has a panel beside the log
HOST_LINE = 24  # from this height on, it has at least a line

HostPlace = Literal["panel", "line", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What there is to show: lines of each part; `host` is None where nothing is sampled."""

    arms: int
    log: int
    host: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One arrangement: whether one pane is shown alone, heights in lines, where the host is."""

    single: bool
    compact: bool
    comparison: int
    bottom: int
    host: HostPlace


def layout_of(width: int, height: int, present: Present, *, alone: bool) -> Layout:
    """Return the arrangement for a terminal; `alone` when the user wants one pane."""
    single = alone or not (width >= ALL_PANES[0] and height >= ALL_PANES[1])
    arms = present.arms + (5 if width >= ROOMY else 6)
    host: HostPlace = ""
    if present.host is not None and height >= HOST_LINE:
        host = "line" if single or width < HOST_PANEL else "panel"
    least = present.host + 2 if host == "panel" and present.host is not None else 4
    return Layout(
        single=single,
        compact=width < WIDE,
        comparison=min(arms, max(9, height * 2 // 5)),
        bottom=max(least, min(9, present.log + 2)),
        host=host,
    )
