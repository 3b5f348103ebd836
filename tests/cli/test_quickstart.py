"""The page of the first hour is what its script prints, and the script runs."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "quickstart.py"
ICCKD = Path(sys.executable).with_name("icckd")


@pytest.fixture(scope="module")
def quickstart():
    return runpy.run_path(str(SCRIPT))


def test_the_page_has_every_step_of_the_script_in_order(quickstart):
    lines = SCRIPT.with_suffix(".md").read_text().splitlines()

    assert [line[2:] for line in lines if line.startswith("$ ")] == [
        step.command for step in quickstart["STEPS"]
    ]
    assert [step.text for step in quickstart["STEPS"] if step.text not in lines] == []
    page = "\n".join(lines) + "\n"
    assert page.startswith(quickstart["HEAD"])
    assert page.endswith(quickstart["END"])


def test_what_differs_from_run_to_run_is_not_on_the_page(quickstart):
    lines = [
        "21:43:07 complete a/0 in 1 min 40 s",
        "wrote /tmp/x/report.html",
        "revision 56e1a4811a76f67f",
    ]

    assert quickstart["normalised"](lines, Path("/tmp/x")) == [
        "12:00:00 complete a/0 in … s",
        "wrote ~/report.html",
        "revision 0123456789ab",
    ]


def test_numbers_and_verdicts_may_differ_and_other_words_may_not(quickstart):
    def page(command, text):
        return f"```console\n$ {command}\n{text}\n```\n"

    comparable, report = quickstart["comparable"], "icckd report digits"
    assert comparable(page(report, "full  89.27 (6)")) == comparable(page(report, "full   9.1 (6)"))
    assert comparable(page(report, "the part helps")) == comparable(page(report, "undecided"))
    assert comparable(page(report, "full  89 (6)")) != comparable(page(report, "full  89 of 6"))
    plan = "icckd plan digits.toml"
    assert comparable(page(plan, "3 arms x 6 seeds")) != comparable(page(plan, "3 arms, 6 seeds"))


def test_a_screen_is_read_as_a_terminal_shows_it(quickstart):
    screen = quickstart["Screen"](6, 3)
    screen.take("\x1b[?1049h\x1b[2;3H\x1b[1;31mab\x1b[0m\r\ncd\x1b]0;title\x07\x1b[1;1Hx")

    assert screen.lines() == ["x", "  ab", "cd"]


@pytest.mark.long
def test_the_first_hour_runs_and_prints_what_the_page_says():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--icckd", str(ICCKD), "--check"],
        capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
