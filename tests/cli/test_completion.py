"""What the shell offers after Tab, as a real bash asks for it, and what it costs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.cli import completion
from tests.support.lab import planned

HEAVY = {"torch", "duckdb", "numpy", "rich", "textual"}  # typer itself needs pydantic
SCRIPT = f"""
import atexit, sys
sys.argv[0] = "icckd"
atexit.register(lambda: print(*({HEAVY} & sys.modules.keys()), file=sys.stderr))
from icckd.cli import main
main()
"""


@pytest.fixture
def desk_of_two(lab, tmp_path, monkeypatch):
    """A folder with two studies that were run, and two TOML files of which one is a study."""
    with lab.finished("s1", planned(seeds=(0,)), study="first", ordinal=1):
        pass
    with lab.finished("s2", planned(seeds=(0,), salt="x"), study="second", ordinal=2):
        pass
    (tmp_path / "study.toml").write_text('[study]\nname = "first"\n')
    (tmp_path / "other.toml").write_text("[tool]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ICCKD_HOME", raising=False)
    return lab


@pytest.fixture
def icckd(tmp_path):
    """A command of this name whose heavy imports can be seen."""
    command = tmp_path / "bin" / "icckd"
    command.parent.mkdir()
    script = tmp_path / "bin" / "run.py"
    script.write_text(SCRIPT)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    command.chmod(0o755)
    return command


def bash(icckd, *words):
    """Return what a real bash gets for the last word, and what was imported for it."""
    line = " ".join(f'"{word}"' for word in words)
    script = f"""
eval "$(_ICCKD_COMPLETE=source_bash icckd 2>/dev/null)"
complete -p icckd >/dev/null
COMP_WORDS=(icckd {line}); COMP_CWORD={len(words)}
_icckd_completion icckd
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True,
        env={**os.environ, "PATH": f"{icckd.parent}:{os.environ['PATH']}",
             "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr.split()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_is_offered_what_is_there_and_nothing_heavy_is_imported(desk_of_two, icckd):
    for words, expected in (
        (("report", "fi"), ["first"]),
        (("run", "st"), ["study.toml"]),
        (("show", "no-m"), ["no-margin", "no-margin-matched"]),
        (("compare", "full", "--metric", "student"), ["student.top1"]),
    ):
        offered, imported = bash(icckd, *words)
        assert (words, offered, imported) == (words, expected, [])


def test_studies_that_were_run_come_first_then_files_then_those_of_the_package(desk_of_two):
    offered = completion.studies("")

    assert offered[:3] == ["first", "second", "study.toml"]
    assert "shipped:ablations" in offered
    assert "other.toml" not in offered
    assert completion.studies("./st") == ["./study.toml"]


class Context:
    def __init__(self, **params):
        self.params = params


def test_arms_are_those_of_the_study_named_or_of_the_newest(desk_of_two):
    for named in ({}, {"study": "first"}, {"study": "study.toml"}):
        assert completion.arms(Context(**named), "no-c") == ["no-cache"]
    assert completion.arms(Context(study="nobody"), "") == []
    assert completion.metrics(Context(), "student.t") == ["student.top1"]


@settings(max_examples=25, deadline=None)
@given(content=st.one_of(st.binary(max_size=300), st.just(b"[" * 100_000), st.just(b"{}\n{}\n")))
def test_nothing_that_lies_there_makes_it_raise(tmp_path_factory, content):
    home = tmp_path_factory.mktemp("home")
    (home / "sessions" / "s").mkdir(parents=True)
    (home / "sessions" / "s" / "journal.jsonl").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICCKD_HOME", str(home))
        patch.chdir(home)
        (home / "x.toml").write_bytes(content)
        assert all(text.startswith("shipped:") for text in completion.studies("shi"))
        assert completion.arms(Context(), "") == []
        assert completion.metrics(Context(study="x.toml"), "") == []
    shutil.rmtree(home)


def test_a_folder_that_is_gone_or_a_home_that_is_none_offers_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("ICCKD_HOME", "~nobody-here/x")
    assert completion.arms(Context(), "") == []
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert completion.studies("x") == []
    assert Path("/").is_dir()
