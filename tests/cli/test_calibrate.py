"""`icckd calibrate`, end to end, with real teachers on real data."""

import json
import re

import pytest

SMALL = """# my study
[study]
name = "small"
baseline = "full"
seeds = { count = 2 }
calibration_seeds = { first = 1000, count = 2 }   # outside
[data]
kind = "digits"
train = 170
validation = 40
[teacher.model]
kind = "cnn"
widths = [4, 4, 8]
[teacher.training]
epochs = 3
batch_size = 32
[[arm]]
name = "full"
[[ablation]]
name = "Remove the cache"
arm = "no-cache"
part = "teacher.intra.cache"
action = "REMOVE"
[[arm]]
name = "matched"   # by calibration
control_for = "no-cache"
set = { "teacher.intra.cache" = "off", "teacher.intra.weight" = 0.04 }
[teacher.intra]
margin = "off"
"""


def strengths(desk, study):
    sql = (
        f"select arm, value from outcome where study = '{study}' and metric = 'teacher.intra_ratio'"
    )
    rows = json.loads(desk.run("report", "--format", "json", "--sql", sql).stdout)
    arms = {}
    for row in rows:
        arms.setdefault(row["arm"], []).append(row["value"])
    return {arm: sum(values) / len(values) for arm, values in arms.items()}


@pytest.mark.slow
def test_the_weight_found_is_written_matches_and_is_found_again_without_training(desk):
    name = desk.write(SMALL)

    first = desk.train("calibrate", name, "--tolerance", "10")
    text = (desk.folder / name).read_text()
    weight = re.search(r'"teacher.intra.weight" = ([0-9.]+) }', text).group(1)
    again = desk.train("calibrate", name, "--tolerance", "10")

    assert text == SMALL.replace("0.04 }", f"{weight} }}")
    assert f"teacher.intra.weight 0.04 -> {weight} (written to {name})" in first.stdout
    assert "% of the baseline's" in first.stdout
    means = strengths(desk, "small-calibration")
    assert abs(means[f"matched={weight}"] / means["full"] - 1) <= 0.1
    assert "0 of 4 stages to train" in again.stderr
    assert f"{weight} -> {weight} (as it was)" in again.stdout
    assert (desk.folder / name).read_text() == text
    kinds = desk.run("report", "--sql", "select distinct kind from stage_state").stdout
    assert "student" not in kinds


def test_a_study_that_cannot_be_calibrated_is_an_error_of_the_study(desk):
    name = desk.write(SMALL.replace("calibration_seeds", "# "))

    done = desk.run("calibrate", name, code=3)

    assert "no calibration seeds" in done.stderr
    assert "hint: add calibration_seeds" in done.stderr
