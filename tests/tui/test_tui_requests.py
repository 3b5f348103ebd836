"""The monitor and a session that really trains: what is asked by keys, the journal confirms."""

import asyncio
import time
from functools import partial

import pytest

from icckd.journal.file import read_chunk
from icckd.journal.folder import StateFolder
from icckd.journal.requests import submit
from icckd_tui.app import WatchApp
from icckd_tui.feed import source_in
from icckd_tui.screens.dialogs import Confirm
from icckd_tui.widgets.table import GridTable
from tests.support.desk import Desk
from tests.support.studies import BY_ITSELF, SMALL

STUDY = SMALL.replace("epochs = 2", "epochs = 120", 1) + BY_ITSELF
SECONDS = 60.0


@pytest.fixture
def session(tmp_path, fresh_process):
    """A process that trains a small study."""
    desk = Desk(tmp_path, environment={"ICCKD_HOME": str(tmp_path / "state")})
    desk.write(STUDY)
    process = desk.start_forked("run", "small.toml", "--no-tui", "-j", "1")
    yield process
    process.kill()
    process.wait()


class Seat:
    """Somebody who sits before the monitor."""

    def __init__(self, app, pilot):
        self.app, self.pilot = app, pilot

    @property
    def frame(self):
        return self.app.state.frame

    def text(self):
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    async def sees(self, words, other=lambda: True):
        end = time.monotonic() + SECONDS
        while not (self.frame and other() and words in self.text()):
            assert time.monotonic() < end, self.text()
            await asyncio.sleep(0.05)
            await self.pilot.pause()

    def at_trial(self, arm, seed):
        """Put the cursor on the first stage of a trial."""
        rows = [row for row in self.frame.queue if (arm, seed) in row.trials]
        self.app.monitor_screen.query_one("#stages", GridTable).select(rows[0].stage)

    def states(self, arm, seed):
        return {row.state for row in self.frame.queue if (arm, seed) in row.trials}


def answers(folder):
    found = []
    for path in folder.sessions.glob("*/journal.jsonl"):
        lines = read_chunk(path).lines
        found += [(line.body["kind"], line.body["answer"]) for line in lines if line.kind == "r"]
    return found


@pytest.mark.slow
def test_what_is_asked_by_keys_is_carried_out_and_confirmed(session, tmp_path):
    folder = StateFolder(tmp_path / "state")

    async def scenario():
        app = WatchApp(source_in(folder), "small", submit=partial(submit, folder))
        async with app.run_test(size=(160, 45), notifications=True) as pilot:
            it = Seat(app, pilot)
            await it.sees("LIVE", lambda: it.frame.progress.stages.running)
            await pilot.press("5")
            await it.sees("Queue", lambda: it.frame.queue)
            await pilot.press("p")
            await it.sees("locked: W unlocks")
            await pilot.press("W")
            await it.sees("UNLOCKED")

            await pilot.press("p")
            await it.sees("paused: running stages are saved", lambda: it.frame.progress.paused)
            await it.sees("PAUSED", lambda: not it.frame.progress.stages.running)

            # While the session is paused nothing ends or begins between two looks.
            it.at_trial("no-cache", 1)
            await pilot.press("X")
            assert isinstance(app.screen, Confirm)
            await pilot.press("n")
            assert it.states("no-cache", 1) == {"pending"}
            await pilot.press("X", "y")
            await it.sees("no-cache/1: 2 stages cancelled")
            await it.sees("Queue", lambda: it.states("no-cache", 1) == {"cancelled"})
            it.at_trial("no-cache", 1)
            await pilot.press("R")
            await it.sees("no-cache/1: 2 stages pending again")
            await it.sees("Queue", lambda: it.states("no-cache", 1) == {"pending"})

            await pilot.press("P")
            await it.sees("no-cache/1: 2 stages put first")
            await it.sees("first on request")
            waiting = [row for row in it.frame.queue if row.state == "pending"]
            assert waiting[0].trials != (("no-cache", 1),), "the plan had it later"

            await pilot.press("p")
            await it.sees("resumed", lambda: not it.frame.progress.paused)
            await it.sees("Queue", lambda: "running" in it.states("no-cache", 1))

            await pilot.press("A")
            await it.sees("seeds 2 to 3 follow")
            await pilot.press("D", "y")
            await it.sees("finishing the running stages")
            await it.sees("the session ended", lambda: it.frame.progress.session == "ended")
            assert app.state.asked == {}

    asyncio.run(scenario())
    out, err = session.communicate(SECONDS)
    assert session.returncode == 130, f"not stopped before its end:\n{out}{err}"
    kinds = [kind for kind, _ in answers(folder)]
    assert kinds == ["pause", "cancel", "retry", "first", "resume", "more-seeds", "stop"]
    assert not list(folder.requests.iterdir())
