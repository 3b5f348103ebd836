"""What doctor looks at besides devices, on machines with something wrong."""

import importlib.metadata
import io
import os
import shutil
from collections import namedtuple

import pytest

from icckd.cli import surroundings
from icckd.cli.surroundings import disk, language, look_around, rights_and_clock, terminal, versions

usage = namedtuple("usage", "total used free")


def advice(checks):
    return [check.advice for check in checks if check.advice]


def test_nothing_is_left_behind_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setenv("ICCKD_HOME", str(tmp_path / "not" / "there"))

    found = look_around()

    assert list(tmp_path.iterdir()) == []
    assert {"disk", "rights", "clock", "terminal", "locale", "Python", "torch", "duckdb"} <= {
        check.what for check in found
    }


def test_a_disk_that_is_nearly_full_is_told(tmp_path, monkeypatch):
    assert advice(disk(tmp_path)) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10 << 30, 9 << 30, 5 << 20))

    [check] = disk(tmp_path)

    assert check.found.startswith("5.0 MiB free of 10.0 GiB")
    assert "icckd clean" in check.advice


def test_a_network_file_system_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("icckd.resources.network_file_system", lambda path: "nfs")

    assert [check.found for check in disk(tmp_path)][1:] == ["nfs"]
    assert "local disk" in advice(disk(tmp_path))[0]


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs /proc")
def test_a_folder_that_cannot_be_written_is_told_by_trying():
    from pathlib import Path

    [check] = rights_and_clock(Path("/proc"))  # not even root may write there

    assert "/proc cannot be written" in check.found
    assert "ICCKD_HOME" in check.advice


@pytest.mark.parametrize(
    ("offset", "told"), [(0.0, []), (1.0, []), (60.0, ["set both clocks"]), (-5.0, ["set both"])]
)
def test_a_clock_that_differs_from_the_file_systems_is_told(tmp_path, offset, told):
    import time

    found = list(rights_and_clock(tmp_path, lambda: time.time() + offset))

    assert [text[: len(start)] for text, start in zip(advice(found), told, strict=True)] == told
    assert f"files {-offset:+.0f}"[:9] in found[1].found or abs(offset) <= 1


def test_a_clock_that_was_never_set_is_told(tmp_path):
    assert (
        "set the clock of this machine" in advice(rights_and_clock(tmp_path, lambda: 86_400.0))[0]
    )


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("variables", "size", "told"),
    [
        ({"TERM": "xterm-256color"}, (120, 40), ""),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, (80, 24), ""),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, (80, 24), ""),
        ({"TERM": "xterm"}, (80, 24), "COLORTERM"),
        ({"TERM": "dumb"}, (80, 24), "set TERM"),
        ({}, (80, 24), "set TERM"),
        ({"TERM": "xterm-256color"}, (79, 24), "80 x 24"),
        ({"TERM": "xterm-256color"}, (80, 23), "80 x 24"),
    ],
)
def test_a_terminal_that_lacks_something_is_told(monkeypatch, variables, size, told):
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size(size))

    [check] = terminal(variables, Screen())

    assert told in check.advice
    assert bool(check.advice) is bool(told)
    assert f"{size[0]} x {size[1]}" in check.found


@pytest.mark.parametrize(
    ("encoding", "is_good"),
    [("utf-8", True), ("UTF8", True), ("ascii", False), ("latin-1", False), ("", False)],
)
def test_an_encoding_without_all_letters_is_told(encoding, is_good):
    first, *_ = language(encoding)

    assert (first.advice == "") is is_good


def test_a_locale_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")

    assert "xx_XX.UTF-8 is not installed on this machine" in [c.found for c in language("utf-8")]


def test_versions_out_of_range_and_packages_that_are_missing_are_told(monkeypatch):
    installed = {"torch": None, "duckdb": "0.9.2", "textual": "8.2.8", "numpy": "2.4.6"}
    needs = ["torch>=2.11,<3", "duckdb>=1.5,<3", "textual>=8.2,<9", "numpy>=2.0,<3",
             "wandb>=1; extra == 'export-wandb'", "old>=1; python_version < '3.0'"]  # fmt: skip

    def version(name):
        if installed[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(surroundings.importlib.metadata, "requires", lambda name: needs)
    monkeypatch.setattr(surroundings.importlib.metadata, "version", version)

    found = {check.what: check for check in versions()}

    assert list(found) == ["Python", "torch", "duckdb", "textual"]
    assert found["torch"].found == "not installed"
    assert "nothing is trained here" in found["torch"].advice
    assert found["duckdb"].advice == "pip install 'duckdb<3,>=1.5'"
    assert (found["textual"].found, found["textual"].advice) == ("8.2.8", "")
