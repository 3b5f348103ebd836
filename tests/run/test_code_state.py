"""The state of the code beside a session: commit and patch, without secrets, running nothing."""

import json
import os
import subprocess

import pytest

from icckd import __version__
from icckd.run.code_state import capture_code, code_state, own_code


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit."""
    folder = tmp_path / "repository"
    folder.mkdir()

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)

    git("init")
    (folder / "code.py").write_text("x = 1\n")
    (folder / ".env").write_text("A=1\n")
    git("add", "-A")
    git("commit", "-m", "first")
    return folder


def test_a_clean_repository_is_its_commit(repository):
    state = code_state(repository)

    assert len(state["commit"]) == 40
    assert (state["is_clean"], state["patch"], state["untracked"]) == (True, "", [])


def test_changes_are_kept_and_what_looks_like_a_secret_is_not(repository):
    (repository / "code.py").write_text('x = 2\napi_key = "hunter2"\nu = "https://me:pw9@host/"\n')
    (repository / ".env").write_text("A=very-private\n")
    (repository / "new.txt").write_text("not shown\n")
    state = code_state(repository)

    assert "+x = 2" in state["patch"]
    for secret in ("hunter2", "pw9", "very-private", "not shown"):
        assert secret not in state["patch"]
    assert state["patch"].count("left out") == 3
    assert state["untracked"] == ["new.txt"]
    assert state["is_clean"] is False


def test_nothing_that_the_repository_configures_is_run(repository):
    trap = repository / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {repository}/sprung\n")
    trap.chmod(0o700)
    for key in ("core.fsmonitor", "diff.external", "core.pager"):
        subprocess.run(["git", "config", key, str(trap)], cwd=repository, check=True)
    (repository / "code.py").write_text("x = 3\n")

    assert "+x = 3" in code_state(repository)["patch"]
    assert not (repository / "sprung").exists()


def test_outside_a_repository_the_file_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    before = os.umask(0o027)
    try:
        capture_code(tmp_path, tmp_path)
    finally:
        os.umask(before)

    found = json.loads((tmp_path / "code.json").read_text())
    assert found["commit"] is None
    assert (found["icckd"]["version"], len(found["icckd"]["source"])) == (__version__, 16)
    assert os.stat(tmp_path / "code.json").st_mode & 0o777 == 0o640


def test_icckd_itself_is_named_by_its_commit_or_without_git_by_its_files(monkeypatch, tmp_path):
    assert len(own_code()["commit"]) == 40  # this checkout's

    monkeypatch.setattr("icckd.run.code_state.PACKAGE", tmp_path)
    found = own_code()
    assert (found["commit"], found["version"], len(found["source"])) == (None, __version__, 16)
