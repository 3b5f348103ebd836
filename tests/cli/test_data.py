"""Data sets as a user meets them: absent, synthetic, and what a plan can say."""

import pytest

SYNTHETIC = """
[study]
name = "drawn"
baseline = "full"
metrics = ["student.agreement", "teacher.subclass_linear_soft"]
seeds = { count = 1 }
[data]
kind = "synthetic"
train = 64
[teacher.training]
epochs = 1
[student.training]
epochs = 1
[[arm]]
name = "full"
"""


def test_a_study_is_planned_without_its_data_and_is_not_run(desk):
    planned = desk.run("plan", "small.toml", "data.kind=cifar100").stdout
    refused = desk.run("run", "small.toml", "data.kind=cifar100", code=4)

    line = next(line for line in planned.splitlines() if line.startswith("data not here"))
    assert "icckd fetch cifar100" in line
    assert "no stage on them counts as complete" in line
    assert "2 arms x 2 seeds = 4 trials" in planned
    assert "to train: 8 stages" in planned
    assert "icckd fetch cifar100" in refused.stderr
    assert not desk.state.exists()


def test_a_plan_that_has_its_data_says_nothing_about_absence(desk):
    assert "data not here" not in desk.run("plan", "small.toml").stdout


def test_synthetic_data_are_named_so_wherever_their_results_are_shown(desk):
    desk.write(SYNTHETIC, "drawn.toml")
    shown = {
        "plan": desk.run("plan", "drawn.toml").stdout,
        "run": desk.run("run", "drawn.toml").stdout,
        **{
            " ".join(verb): desk.run(*verb).stdout
            for verb in (
                ("report",),
                ("report", "--format", "md"),
                ("report", "--format", "json"),
                ("report", "--format", "html"),
                ("report", "--format", "latex"),
                ("status",),
                ("ls",),
            )
        },
    }

    assert [verb for verb, text in shown.items() if "synthetic" not in text] == []


def test_real_data_are_not_called_synthetic(finished):
    for verb in (("plan", "small.toml"), ("report",), ("status",), ("ls",)):
        assert "synthetic" not in finished.run(*verb).stdout


@pytest.mark.parametrize("name", ["imagenet", "image-folder"])
def test_a_set_that_is_not_downloaded_says_where_to_put_it(desk, name):
    assert "ICCKD_DATA_DIR" in desk.run("fetch", name, code=2).stderr
