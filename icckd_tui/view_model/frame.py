"""Everything the screen shows at one moment, and the news that carry it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from icckd_tui.display import display
from icckd_tui.view_model.host import Host

if TYPE_CHECKING:
    from icckd.results.types import Comparison, Curve, LogRow, Progress, StudyInfo, TrialRow

SMALLEST = (60, 16)  # terminal columns and rows below which nothing useful fits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One consistent reading of a study; `curves` belong to `metric`, one of `series`."""

    study: StudyInfo
    progress: Progress
    trials: tuple[TrialRow, ...]
    comparisons: tuple[Comparison, ...]
    series: tuple[str, ...]
    metric: str | None
    curves: tuple[Curve, ...]
    log: tuple[LogRow, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """There is nothing to read yet."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Reading failed; the feed tries again."""

    reason: str


News = Frame | Waiting | Failed  # of a study
Brought = News | Host  # all that the feed brings


def default_metric(study: StudyInfo, series: tuple[str, ...]) -> str | None:
    """Return the series to show first: validation accuracy of the stage that is judged."""
    stage = study.primary.split(".", 1)[0]
    for name in (f"{stage}.val_top1", "teacher.val_top1"):
        if name in series:
            return name
    return series[0] if series else None


def arm_index(study: StudyInfo, arm: str) -> int:
    """Return the arm's place in the study, 0 for one the study does not have."""
    return next((i for i, row in enumerate(study.arms) if row.name == arm), 0)


def notice_of(news: News | None, frame: Frame | None, width: int, height: int) -> str:
    """Return why there is nothing to see, or nothing."""
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return f"This terminal is {width}x{height}; icckd needs {SMALLEST[0]}x{SMALLEST[1]}."
    if frame is not None:
        return ""
    if isinstance(news, Waiting):
        return f"Waiting: {display(news.reason)}.\n\nStart one with  icckd run STUDY.toml"
    return "Reading the study."
