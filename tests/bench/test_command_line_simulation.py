"""Whole studies through the commands: what the simulation reads is what they print."""

import pytest
from command_line_simulation import (
    ARMS,
    NOISES,
    STUDY,
    Outcome,
    limit,
    printed_verdicts,
    run_one,
    table,
)

from icckd.study.load import parse
from tests.support.lanes import long_but

REPORT = """
Arm higher changes student.top1 by -0.07 points

verdicts on student.top1
  arm      verdict                      d_z     p        corrected p
  higher   equivalent to the baseline   -0.17   0.443    0.738
  lower    the part helps               -1.48   <0.001   <0.001
"""


def test_verdicts_are_those_that_a_report_prints():
    assert printed_verdicts(REPORT) == {
        "higher": "equivalent to the baseline",
        "lower": "the part helps",
    }
    with pytest.raises(RuntimeError, match="verdicts on"):
        printed_verdicts(REPORT.replace("  lower ", "  other "))


def test_a_thousand_studies_may_err_in_seventy_three():
    assert limit(1000) == 73
    outcomes = [
        Outcome(is_false=number < 3, is_decided=True, is_extended=True) for number in range(10)
    ]
    found = list(table({("ceiling", "null", 3): outcomes}))

    assert "| ceiling | null | 3 | 10 | 10 | 10 | 3 | 4 |" in found
    assert "30.00 % of all studies" in found[-1]


@pytest.mark.parametrize("name", NOISES)
def test_the_study_asks_about_what_the_noise_makes_different(name):
    study = parse(STUDY.format(bound=NOISES[name].bound, count=6), where="x")

    assert study.study.smallest_effect == NOISES[name].bound
    assert tuple(study.study.family) == ARMS


CELLS = [("normal, counted", "half", 3), ("ceiling", "null", 6)]


@pytest.mark.parametrize("cell", long_but(CELLS, CELLS[0]))
def test_studies_followed_through_the_commands_seldom_get_a_false_verdict(cell):
    studies = 6
    found = [run_one(cell, number) for number in range(studies)]

    assert sum(each.is_extended for each in found) >= studies / 2
    assert sum(each.is_decided for each in found) >= studies / 2
    assert sum(each.is_false for each in found) <= limit(studies)
