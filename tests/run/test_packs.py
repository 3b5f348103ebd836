"""Packs in real sessions: what one member does, or does to its process, costs no other member."""

import json
import signal

import pytest

from icckd.journal.folder import StateFolder
from icckd.journal.requests import Wanted, submit
from tests.support.desk import Desk, epochs_recorded, workers_of
from tests.support.studies import ONE_ARM
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_process")]

EIGHT = (
    ONE_ARM.replace("count = 2", "count = 8")
    + """
[data]
kind = "digits"
train = 170
validation = 40
"""
)
SABOTAGE = '''"""Spoils a teacher wherever it is: kills the process, or wants much memory."""
import os, signal, sys
if any("icckd" in word for word in sys.orig_argv):
    from icckd.train.data import stream
    drawn = stream.generator
    def generator(key):
        if key[0] == "teacher" and key[2:] == ("order", 2):
            if str(key[1]) == os.environ.get("KILLS"):
                os.kill(os.getpid(), signal.SIGKILL)
            if str(key[1]) == os.environ.get("HUNGERS"):
                stream.torch.empty(1 << 60)
        return drawn(key)
    stream.generator = generator
'''


def values(desk: Desk) -> dict[tuple[str, int], float]:
    """Return outcomes by metric and seed."""
    query = "select metric, seed, value from outcome where metric like '%.nll' order by all"
    rows = json.loads(desk.run("sql", "--format", "json", query).stdout)
    return {(row["metric"], row["seed"]): row["value"] for row in rows}


def stages(desk: Desk) -> dict[tuple[str, int], str]:
    rows = json.loads(
        desk.run("sql", "--format", "json",
                 "select kind, seed, state, reason from stage_of_trial order by all").stdout
    )  # fmt: skip
    return {(row["kind"], row["seed"]): f"{row['state']}: {row['reason']}" for row in rows}


def packs(desk: Desk) -> list[int]:
    """Return the sizes of the packs that teachers were trained in, in their order."""
    rows = json.loads(
        desk.run("sql", "--format", "json",
                 "select any_value(members) as n from attempt where kind = 'teacher' and pack <> ''"
                 " group by pack order by min(ordinal)").stdout
    )  # fmt: skip
    return [row["n"] for row in rows]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, fresh_process):
    desk = Desk(tmp_path_factory.mktemp("undisturbed"), EIGHT)
    desk.write(EIGHT)
    desk.train("run", "small.toml", "-j", "1")
    assert packs(desk) == [8]
    return values(desk)


@pytest.fixture
def spoilt(tmp_path):
    """A desk whose workers read `SABOTAGE` as they start."""
    (tmp_path / "sabotage").mkdir()
    (tmp_path / "sabotage" / "sitecustomize.py").write_text(SABOTAGE)
    desk = Desk(tmp_path, EIGHT, {"PYTHONPATH": str(tmp_path / "sabotage")})
    desk.write(EIGHT)
    return desk


def test_a_member_that_kills_its_process_and_one_that_wants_too_much_memory_end_alone(
    spoilt, undisturbed
):
    spoilt.environment |= {"KILLS": "3", "HUNGERS": "5"}
    spoilt.run("run", "small.toml", "-j", "1", code=1)

    found, sizes = values(spoilt), packs(spoilt)
    assert found == {key: value for key, value in undisturbed.items() if key[1] not in (3, 5)}
    ends = stages(spoilt)
    assert ends["teacher", 3].startswith("failed: worker killed by signal 9")
    assert "out of memory" in ends["teacher", 5]
    assert sizes[0] == 8
    assert max(sizes[1:]) == 4
    by_itself = "select seed, count(*) as n from attempt where kind = 'teacher' and members = 1"
    rows = spoilt.run("sql", "--format", "json", f"{by_itself} group by seed").stdout
    counts = {row["seed"]: row["n"] for row in json.loads(rows)}
    assert (counts[3], counts[5]) == (3, 2), "as often as their causes are tried"


def test_a_killed_worker_costs_its_members_an_attempt_and_no_bit(tmp_path, undisturbed):
    desk = Desk(tmp_path, EIGHT, {"ICCKD_CHECKPOINT_SECONDS": "0"})
    desk.write(EIGHT)
    session = desk.start("run", "small.toml", "-j", "1")
    wait_for(lambda: epochs_recorded(desk) >= 8, process=session)
    for worker in workers_of(session):
        worker.send_signal(signal.SIGKILL)

    _, err = session.communicate(timeout=120)
    assert session.returncode == 0, err
    assert values(desk) == undisturbed


def test_an_interrupted_pack_is_saved_and_goes_on(tmp_path):
    study = EIGHT.replace("epochs = 2", "epochs = 30", 1)  # of teachers
    whole = Desk(tmp_path / "whole", study)
    stopped = Desk(tmp_path / "stopped", study)
    for desk in (whole, stopped):
        desk.folder.mkdir()
        desk.write(study)
    whole.train("run", "small.toml", "-j", "1")
    session = stopped.start_forked("run", "small.toml", "-j", "1")
    wait_for(lambda: epochs_recorded(stopped) >= 1)
    session.send_signal(signal.SIGTERM)
    assert session.wait(60) == 130

    stopped.train("run", "small.toml", "-j", "1")
    assert values(stopped) == values(whole)
    resumed = json.loads(
        stopped.run("sql", "--format", "json", "select count(*) as n from resumption").stdout
    )
    assert resumed[0]["n"] == 8


def test_a_cancelled_member_leaves_its_pack_and_the_worker_lives(tmp_path):
    study = EIGHT.replace("epochs = 2", "epochs = 60")
    desk = Desk(tmp_path, study)
    desk.write(study)
    session = desk.start_forked("run", "small.toml", "-j", "1")
    wait_for(lambda: epochs_recorded(desk) >= 8)
    submit(StateFolder(desk.state), Wanted(kind="cancel", study="small", arm="full", seed=1))
    wait_for(lambda: stages(desk)["teacher", 1].startswith("cancelled"))
    submit(StateFolder(desk.state), Wanted(kind="stop", study="small"))
    session.wait(120)

    ends = stages(desk)
    assert ends["teacher", 1].startswith("cancelled")
    assert {ends["teacher", seed].partition(":")[0] for seed in (0, 2, 3, 4, 5, 6, 7)} == {
        "complete"
    }
    assert packs(desk) == [8]
