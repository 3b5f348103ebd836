"""An import that is killed leaves the whole study or nothing, and the next one mends the rest."""

import os
import signal
import subprocess
import sys

import pytest

from icckd.journal.folder import StateFolder
from icckd.results.query import open_results
from tests.imports.conftest import wide, write_csv

# Kills itself at the n-th rename of a folder, after it or before it.
KILLER = """
import os, pathlib, sys
left, when = int(sys.argv[1]), sys.argv[2]
rename = pathlib.Path.rename
def dying(self, target):
    global left
    left -= 1
    if left == 0 and when == "before":
        os.kill(os.getpid(), 9)
    found = rename(self, target)
    if left == 0:
        os.kill(os.getpid(), 9)
    return found
pathlib.Path.rename = dying
from icckd.cli.main import main
sys.argv = ["icckd", *sys.argv[3:]]
main()
"""
COMMAND = ("import", "csv", "runs.csv", "--arm", "method", "--metric", "acc")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("renames", "when"),
    [(1, "before"), (1, "after"), (9, "after"), (24, "after"), (25, "before"), (25, "after")],
)
def test_a_killed_import_leaves_the_whole_study_or_nothing(desk, renames, when):
    rows = wide()
    write_csv(desk.folder / "runs.csv", rows)
    command = [sys.executable, "-c", KILLER, str(renames), when, *COMMAND]

    done = subprocess.run(command, cwd=desk.folder, env=dict(os.environ), capture_output=True)

    assert done.returncode == -signal.SIGKILL
    with open_results(StateFolder(desk.state)) as results:
        seen = [(study.trials, study.complete) for study in results.studies()]
    assert seen == ([(24, 24)] if (renames, when) == (25, "after") else [])
    desk.run(*COMMAND)
    desk.run(*COMMAND, "--metric", "loss")
    assert "whole: " in desk.run("fsck").stdout
    assert list(desk.state.glob(".import-*")) == []


def test_a_full_disk_imports_nothing(desk, monkeypatch):
    write_csv(desk.folder / "runs.csv", wide())
    import pathlib

    rename, left = pathlib.Path.rename, [5]

    def full(self, target):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "rename", full)
        error = desk.run(*COMMAND, code=4).stderr

    assert "No space left on device" in error
    assert list(desk.state.glob("*/*/journal.jsonl")) == []
    assert "imported 24 runs" in desk.run(*COMMAND).stderr
