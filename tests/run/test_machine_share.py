"""Runs on one machine know of each other as long as they live; nobody's death stops another."""

import os
import signal
import subprocess
import sys

import pytest

from icckd.journal.locks import try_lock
from icckd.run import machine_share
from icckd.run.admission import Claim, Party
from icckd.run.machine_share import PREFIX, TURN, MachineShare
from icckd.variables import machine_folder
from tests.support.waiting import wait_for

JOINS = """
import sys, time
from pathlib import Path
from icckd.run.admission import Claim, Party
from icckd.run.machine_share import MachineShare
share = MachineShare(Path(sys.argv[1]))
share.say(Party(claims=(Claim(pool="cpu", weight=2, pid=7),), waits_since=3.0, asked=4.0))
print("joined", flush=True)
time.sleep(60)
"""


def others(share):
    with share.deciding() as found:
        return found


@pytest.fixture
def shares(tmp_path):
    made = [MachineShare(tmp_path / "machine") for _ in range(2)]
    yield made
    for share in made:
        share.close()


def test_each_run_sees_what_the_others_claim_until_they_leave(shares):
    first, second = shares
    party = Party(
        claims=(Claim(pool="cuda", device="GPU-1", needs=1e9, pid=12), Claim(pool="cpu", weight=3)),
        waits_since=1.5, asked=2.5,
    )  # fmt: skip
    first.say(party)
    assert others(second) == [party]
    first.say(Party(claims=(Claim(pool="cpu"),)))
    assert others(second) == [Party(claims=(Claim(pool="cpu"),))]
    first.close()
    first.say(party)
    assert others(second) == []


def test_a_run_that_was_stopped_or_killed_claims_nothing(shares, tmp_path):
    first, second = shares
    second.close()
    child = subprocess.Popen(
        [sys.executable, "-c", JOINS, str(tmp_path / "machine")], stdout=subprocess.PIPE
    )
    try:
        assert child.stdout.readline() == b"joined\n"
        assert [party.held("cpu") for party in others(first)] == [2]
        os.kill(child.pid, signal.SIGSTOP)  # as by Ctrl-Z: it would keep its claims for ever
        wait_for(lambda: others(first) == [])
        os.kill(child.pid, signal.SIGCONT)
        wait_for(lambda: [party.held("cpu") for party in others(first)] == [2])
    finally:
        child.kill()
        child.communicate()
    wait_for(lambda: others(first) == [])
    assert len(list((tmp_path / "machine").glob(f"{PREFIX}*"))) == 1


def test_one_that_was_stopped_while_it_decided_is_not_waited_for(shares, tmp_path, monkeypatch):
    monkeypatch.setattr(machine_share, "TURN_SECONDS", 0.05)
    held = try_lock(tmp_path / "machine" / TURN)
    try:
        assert others(shares[0]) == [Party()]
    finally:
        os.close(held)


@pytest.mark.parametrize("said", [b"", b"[]", b'{"claims": [{"pool": "x", "y": 1}]}', b"\xff"])
def test_what_cannot_be_read_is_nobodys(shares, tmp_path, said):
    path = tmp_path / "machine" / f"{PREFIX}1-strange"
    lock = try_lock(path)
    try:
        path.write_bytes(said)
        assert others(shares[0]) == [Party()]
    finally:
        os.close(lock)


def test_a_folder_that_is_somebody_elses_or_no_folder_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("ICCKD_MACHINE_DIR", str(tmp_path / "machine"))
    assert machine_folder() == tmp_path / "machine"
    share = MachineShare.join()
    assert share is not None
    share.close()
    if os.getuid() == 0:
        os.chown(tmp_path / "machine", 4321, -1)
        assert MachineShare.join() is None
    (tmp_path / "link").symlink_to(tmp_path)
    for place in (tmp_path / "link", "/dev/null", "/dev/null/below"):
        monkeypatch.setenv("ICCKD_MACHINE_DIR", str(place))
        assert MachineShare.join() is None


def test_a_folder_that_was_cleaned_up_stops_nobody(shares, tmp_path):
    for path in (tmp_path / "machine").iterdir():
        path.unlink()
    (tmp_path / "machine").rmdir()
    assert others(shares[0]) == []
    shares[0].say(Party())
