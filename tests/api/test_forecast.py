"""What a run should take, by what earlier stages took, and how far off that was."""

import pytest

from icckd.api.forecast import forecast
from icckd.results.types import Cost, Estimate
from tests.run.test_schedule import stage
from tests.support.studies import TWO_STAGES

MINUTE, MEGABYTE = 60.0, 1 << 20


def known(seconds=MINUTE, memory=200.0 * MEGABYTE, disk=1.0 * MEGABYTE):
    return {"": Estimate(seconds=seconds, memory_bytes=memory, disk_bytes=disk, count=3)}


def test_stages_take_what_those_of_their_shape_took_shared_by_the_workers():
    found = forecast([stage(str(n)) for n in range(4)], known(), 2)

    assert (found.seconds, found.memory_bytes) == (2 * MINUTE, 200 * MEGABYTE)
    assert found.lines() == [
        "  time    about 2 min, from earlier stages",
        "  memory  up to 200.0 MiB a worker, 400.0 MiB in all",
        "  disk    about 4.0 MiB",
    ]


def test_nothing_is_promised_where_one_shape_is_unknown():
    found = forecast([stage("a")], {}, 2)

    assert found.seconds is None
    assert found.compared(Cost(stages=1, seconds=9.0, memory_bytes=1.0, disk_bytes=1.0)) == ""


@pytest.mark.parametrize(
    ("taken", "words"),
    [(150.0, "25 % more than planned"), (90.0, "25 % less than planned"), (120.2, "as planned")],
)
def test_afterwards_it_is_said_how_far_off_it_was(taken, words):
    found = forecast([stage(str(n)) for n in range(4)], known(memory=None), 2)
    cost = Cost(stages=4, seconds=taken, memory_bytes=None, disk_bytes=4.0 * MEGABYTE)

    assert words in found.compared(cost)
    assert found.compared(cost).endswith("disk 4.0 MiB (as planned)")


@pytest.mark.slow
def test_a_run_of_stages_like_earlier_ones_tells_how_wrong_its_plan_was(tmp_path, fresh_process):
    from tests.support.desk import Desk

    desk = Desk(tmp_path)
    desk.write(TWO_STAGES)
    first = desk.train("run", "small.toml", "--seeds", "0:1").stderr
    second = desk.train("run", "small.toml", "--seeds", "1:2").stderr

    assert "icckd: took" not in first
    [line] = [line for line in second.splitlines() if "icckd: took" in line]
    assert line.startswith("icckd: took ")
    assert "disk " in line
