"""What a report says of how strong losses were: matched controls, and losses that dwarf."""

import pytest

from icckd.report.notes import notes
from icckd.report.strength import Course
from icckd.report.warnings import report_warnings
from icckd.results.query import open_results
from tests.support.lab import planned


def trained(lab, ratios):
    """Train every trial; `ratios` gives the series of an arm's teacher and student."""
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        for trial in session.plan.trials:
            for position, kind in enumerate(("teacher", "student")):
                series = ratios(trial.arm, kind)
                outcomes = {k: v for k, v in series.items() if k == "teacher.intra_ratio"}
                stage = session.stage(trial.arm, trial.seed, position)
                session.train(stage, series=series, outcomes=outcomes)


def test_a_loss_whose_gradient_dwarfs_cross_entropy_is_warned_of_with_its_arms(lab):
    def ratios(arm, kind):
        strong = 40.0 if arm == "no-cache" else 9.0
        return {"student.at_ratio": strong} if kind == "student" else {"teacher.intra_ratio": 3.0}

    trained(lab, ratios)
    with open_results(lab.folder) as read:
        warned = [text for text in report_warnings(read, read.study()) if "times" in text]

    assert len(warned) == 1
    assert "the student's AT is 40 times cross-entropy" in warned[0]
    assert "no-cache 40" in warned[0]
    assert "full" not in warned[0]


def test_losses_below_ten_times_cross_entropy_are_not_warned_of(lab):
    trained(lab, lambda arm, kind: {f"{kind}.intra_ratio": 9.9})
    with open_results(lab.folder) as read:
        assert not [text for text in report_warnings(read, read.study()) if "times" in text]


def test_the_course_of_a_matched_control_names_the_epoch_that_is_furthest_off():
    course = Course(epochs=(1, 2, 3, 4), shares=(100.0, 55.0, 170.0, 101.0))

    assert course.worst == (2, 55.0)  # further off as a factor than 170 %


def test_a_report_tells_the_course_of_each_matched_control(lab):
    strengths = {"full": 1.0, "no-margin-matched": 1.08}
    trained(lab, lambda arm, kind: {"teacher.intra_ratio": strengths.get(arm, 2.0)}
            if kind == "teacher" else {})  # fmt: skip
    with open_results(lab.folder) as read:
        told = next(text for text in notes(read, read.study()) if "no-margin-matched: eff" in text)

    assert "is 108 % of the baseline's over 2 seeds" in told
    assert "Epoch by epoch it is 108 to 108 %" in told


@pytest.mark.parametrize("shares", [(100.0,), (0.0, 100.0)])
def test_a_course_of_one_epoch_or_with_an_epoch_of_no_strength_has_a_worst_one(shares):
    course = Course(epochs=tuple(range(1, len(shares) + 1)), shares=shares)

    assert course.worst[0] == 1
