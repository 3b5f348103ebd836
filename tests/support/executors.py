"""Orders for executors, and what executors report of them."""

import shutil
import time
from collections.abc import Callable
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

from icckd.journal.file import read_chunk
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.run.executors import Executor, Report
from icckd.run.messages import Order
from icckd.run.prepare import make_plan
from icckd.study.load import parse
from icckd.study.plan import Plan
from tests.support.studies import TWO_STAGES

FRESH_PROCESS = "fresh-process"
"""An executor that is not part of icckd; see `install_fresh_process`."""


def plan_of(folder: StateFolder, *overrides: str, study: str = TWO_STAGES) -> Plan:
    parsed = parse(study, where="x", overrides=overrides)
    return make_plan(parsed, device="cpu", root=folder.root / "data")


def orders(folder: StateFolder, *overrides: str, study: str = TWO_STAGES) -> list[Order]:
    """Return one order for each stage, `attempt-0` and so on."""
    return [
        Order(
            attempt=f"attempt-{number}", session="s", state_folder=str(folder.root),
            data_root=str(folder.root / "data"), stage=stage,
        )
        for number, stage in enumerate(plan_of(folder, *overrides, study=study).stages.values())
    ]  # fmt: skip


def reports_until(
    executor: Executor, condition: Callable[[list[Report]], object], seconds: float = 60.0
) -> list[Report]:
    """Return what was reported until a condition on the reports holds."""
    found: list[Report] = []
    end = time.monotonic() + seconds
    while not condition(found):
        assert time.monotonic() < end, [(r.order.attempt, r.what, r.reason) for r in found]
        found += executor.wait(0.1)
    return found


def next_reports(executor: Executor, count: int) -> list[tuple[str, str, str]]:
    """Return attempt, kind and state of the next reports."""
    found = reports_until(executor, lambda reports: len(reports) >= count)
    return [(report.order.attempt, report.what, report.state) for report in found]


def next_report(executor: Executor, what: str) -> Report:
    """Return the next report of a kind; others are passed over."""
    return reports_until(executor, lambda found: any(r.what == what for r in found))[-1]


def events(folder: StateFolder, attempt: str) -> list[dict[str, Any]]:
    """Return what an attempt's journal says."""
    return [line.body for line in read_chunk(folder.attempts / attempt / JOURNAL).lines]


def kinds(folder: StateFolder, attempt: str) -> str:
    """Return the kind of each line of an attempt's journal; "" where there is none."""
    path = folder.attempts / attempt / JOURNAL
    return "".join(line.kind for line in read_chunk(path).lines) if path.exists() else ""


def install_fresh_process(folder: Path) -> None:
    """Write a package with an executor into a folder, as an installer would."""
    shutil.copy(Path(__file__).with_name("fresh_process.py"), folder / "fresh_process.py")
    about = folder / "fresh_process-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fresh_process\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[icckd.executors]\n{FRESH_PROCESS} = fresh_process:FreshProcessExecutor\n"
        "broken = fresh_process_that_is_missing:Executor\n"
    )
    invalidate_caches()
