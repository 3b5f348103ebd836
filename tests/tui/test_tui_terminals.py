"""The monitor on real pseudo-terminals of many kinds: poor, small, restless, vanishing."""

import shutil
import signal
import subprocess
import time

import pytest
from terminal import WATCH, Terminal

from tests.store.conftest import Lab, planned

SIXTEEN = {*map(str, (*range(30, 38), 39, *range(40, 48), 49, *range(90, 98), *range(100, 108)))}
PLAIN = {"", "0", "1", "2", "3", "4", "7", "22", "23", "24", "27"}
IGNORING = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
IGNORING += "sys.argv = ['icckd', 'watch']; from icckd.cli.main import main; main()"


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """A state folder with a small finished study."""
    lab = Lab(tmp_path_factory.mktemp("terminals") / "state")
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.train_all()
    return lab.folder.root


@pytest.mark.parametrize("ignoring", [False, True], ids=["", "where SIGHUP is ignored"])
def test_a_terminal_that_vanishes_without_a_signal_ends_the_monitor(state, ignoring):
    command = (WATCH[0], "-c", IGNORING) if ignoring else WATCH
    with Terminal(state, *command) as terminal:
        terminal.until("icc-ablations", "no-margin")
        terminal.hang_up()
        ended = terminal.process.wait(8)
    assert ended == (129 if ignoring else -signal.SIGHUP)
