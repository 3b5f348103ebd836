"""The lines that a session prints: what changes at once is looked up once, and told in order."""

import sys
import time

import pytest

from icckd.api.progress import PlainLines
from icckd.journal.folder import StateFolder
from icckd.results.query import open_results
from icckd.run.prepare import make_plan
from icckd.run.schedule import Transition
from icckd.run.session import RunRequest
from icckd.study.load import load


@pytest.fixture
def lines(finished, capsys):
    """The lines of a session that trains the finished study, and how often it looked."""
    study = load(finished.folder / "small.toml")
    request = RunRequest(
        study=study, plan=make_plan(study, device="cpu", root=finished.folder),
        complete=frozenset(), arguments=(), data_root=finished.folder, requested_at=time.time(),
    )  # fmt: skip
    with open_results(StateFolder(finished.state)) as results:
        looks, refresh = [], results.refresh
        results.refresh = lambda: (looks.append(1), refresh())[1]
        shown = PlainLines(results, request, lambda text: print(text, file=sys.stderr))
        shown._next_refresh = float("inf")  # the twice a second of the database are not counted
        yield shown, list(request.plan.stages.values()), looks, lambda: capsys.readouterr().err


def change(lines, stages, state):
    for stage in stages:
        lines.transition(Transition(stage=stage.digest, state=state), stage)


def test_stages_that_end_together_are_looked_up_once_and_told_in_order(lines):
    shown, stages, looks, printed = lines
    change(shown, stages, "running")
    change(shown, stages, "complete")

    shown.tick()

    told = [line.split()[1:3] for line in printed().splitlines()[2:]]
    assert looks == [1]
    assert [state for state, _ in told] == ["running"] * len(stages) + ["complete"] * len(stages)
    assert [name for _, name in told[: len(stages)]] == [name for _, name in told[len(stages) :]]


def test_each_line_has_the_accuracy_of_its_stage_and_what_was_left_then(lines):
    shown, stages, _, printed = lines
    change(shown, stages, "running")
    change(shown, stages, "complete")
    shown.say_changes()

    done = [line for line in printed().splitlines() if " complete " in line]
    assert all(".top1 " in line for line in done)
    left = range(len(done))[::-1]
    assert all(f"({n} left" in line for n, line in zip(left, done, strict=True))


def test_what_was_not_yet_told_is_told_at_the_end_and_before_a_notice(lines):
    shown, stages, looks, printed = lines
    shown._next_look = float("inf")  # as after an expensive look
    change(shown, stages[:1], "running")
    change(shown, stages[:1], "complete")
    shown.tick()
    assert (looks, " complete " in printed()) == ([], False)

    shown.notice("the disk is full")

    said = printed()
    assert said.index(" complete ") < said.index("the disk is full")
