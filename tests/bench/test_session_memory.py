"""What a session holds and reads does not grow with the stages that have ended."""

import gc
import io

import made_state
import pytest
from rich.console import Console
from rich.live import Live

from icckd.api import progress
from icckd.api.running import own_results
from icckd.journal.folder import StateFolder
from icckd.results.store import Store
from icckd.run.session import Session

ARMS = 3


@pytest.fixture(autouse=True)
def looks_at_every_tick(monkeypatch):
    monkeypatch.setattr(progress, "TICK_SECONDS", 0.0)
    monkeypatch.setattr(progress, "REFRESHES_APART", 0)
    monkeypatch.setattr(progress, "LOOKS_APART", 0)


@pytest.fixture
def rows_read(monkeypatch):
    """How many rows of answers came out of the database at each question."""
    read, select = [], Store.select

    def counting(store, *question):
        rows = select(store, *question)
        read.append(len(rows))
        return rows

    monkeypatch.setattr(Store, "select", counting)
    return read


def plain(results, request):
    return progress.PlainLines(results, request, lambda text: None)


def live(results, request):
    console = Console(file=io.StringIO(), force_terminal=True)
    return progress.LiveLine(results, request, console, Live(console=console, auto_refresh=False))


def run(root, seeds, lines_of, tick=lambda: None):
    """Hold a whole session of drawn stages; return its lines and how many stages it had."""
    request = made_state.request(ARMS, seeds, 2)
    folder = StateFolder(root)
    with made_state.no_disk(), own_results(folder, print) as results:
        lines = lines_of(results, request)
        told = lines.tick
        lines.tick = lambda: (told(), tick())
        assert (
            Session(folder, request, made_state.MadeExecutor(folder), lines, lambda: "").run() == 0
        )
    return len(request.plan.stages)


@pytest.mark.parametrize("lines_of", [plain, live])
def test_the_last_look_of_a_session_reads_no_more_rows_when_more_stages_have_ended(
    tmp_path, rows_read, lines_of
):
    most = {}
    for seeds in (20, 80):
        looks = []

        def tick(looks=looks):
            looks.append(sum(rows_read))
            rows_read.clear()

        run(tmp_path / str(seeds), seeds, lines_of, tick)
        most[seeds] = looks[-1]

    assert most[80] == most[20]


def test_a_session_keeps_two_python_objects_at_most_for_a_stage_that_has_ended(tmp_path):
    counts = []

    def tick():
        gc.collect()
        counts.append(len(gc.get_objects()))

    stages = run(tmp_path, 60, plain, tick)

    middle = len(counts) // 2
    assert counts[-2] - counts[middle] <= 2 * stages / 2, counts
