"""The plan of a study with many arms is short, and whole where somebody asks."""

from icckd.api.planning import MOST_ARMS, plan_study
from icckd.journal.folder import StateFolder
from icckd.study.load import parse

STUDY = """
[study]
name = "many"
baseline = "base"
seeds = 2
design = "one-at-a-time"
[[factor]]
name = "lr"
path = "student.training.lr"
levels = {levels}
"""


def text(tmp_path, arms, **options):
    levels = [round(0.01 + n / 1000, 4) for n in range(arms)]
    study = parse(STUDY.format(levels=levels), where="many.toml")
    folder = StateFolder(tmp_path / "none")
    return plan_study(study, folder, "cpu", say=lambda told: None, **options).text


def test_the_arms_of_a_large_study_are_named_in_part(tmp_path):
    folded, whole = text(tmp_path, 120), text(tmp_path, 120, every_arm=True)

    assert "and 100 more arms, the last lr=0.129 (--all names them all)" in folded
    assert len(folded.splitlines()) < 80
    assert "lr=0.1  (variant)" in whole
    assert "more arms" not in whole


def test_the_arms_of_a_small_study_are_all_named(tmp_path):
    assert f"lr={round(0.01 + (MOST_ARMS - 1) / 1000, 4)}" in text(tmp_path, MOST_ARMS)
