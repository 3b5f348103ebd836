"""Training settings: presets become plain values, and what cannot work is refused."""

import pytest

from icckd.errors import SpecError
from icckd.study.arms import arms, expand
from icckd.study.load import parse
from icckd.study.presets import PRESETS, resolve_presets
from icckd.study.training import MultistepSchedule, Training

BODY = """
[study]
name = "s"
baseline = "full"
seeds = { count = 1 }
[data]
kind = "cifar100"
[teacher]
training = { preset = "cifar100", epochs = 200, schedule = { factor = 0.2 } }
[student.training]
preset = "cifar100-short"
[[arm]]
name = "full"
[[arm]]
name = "longer"
set = { "student.training" = { preset = "cifar100" } }
"""


def load(*overrides, body=BODY):
    return parse(body, where="x", overrides=overrides)


def test_a_preset_is_replaced_by_its_values_and_keys_beside_it_win():
    study = load()

    assert study.teacher.training == Training(
        epochs=200, batch_size=64, lr=0.05, momentum=0.9, weight_decay=5e-4,
        schedule=MultistepSchedule(kind="multistep", milestones=(150, 180, 210), factor=0.2),
    )  # fmt: skip
    assert study.student.training.epochs == 80
    assert "preset" not in study.written()["teacher"]["training"]


def test_the_standard_cifar100_schedule_first_lowers_its_rate_in_epoch_151():
    from icckd.train.optim import learning_rate

    training = load("teacher.training.epochs=240", "teacher.training.schedule.factor=0.1")
    rates = [learning_rate(training.teacher.training, epoch) for epoch in range(1, 241)]

    assert rates == pytest.approx([0.05] * 150 + [0.005] * 30 + [5e-4] * 30 + [5e-5] * 30)


@pytest.mark.parametrize(
    ("network", "rate"),
    [("mobilenetv2", 0.01), ("shufflenetv1", 0.01), ("shufflenetv2", 0.01), ("resnet56", 0.05)],
)
def test_the_cifar100_rate_depends_on_the_architecture(network, rate):
    tables = {"student": {"model": {"kind": "cifar", "name": network},
                          "training": {"preset": "cifar100"}}}  # fmt: skip

    assert resolve_presets(tables)["student"]["training"]["lr"] == rate
    tables["student"]["training"]["lr"] = 0.3
    assert resolve_presets(tables)["student"]["training"]["lr"] == 0.3


def test_an_arm_may_take_a_preset_and_shows_the_plain_values_it_changes():
    _, longer = arms(load())

    assert {change.path: (change.before, change.after) for change in longer.changes} == {
        "student.training.epochs": (80, 240),
        "student.training.schedule.milestones": ([50, 60, 70], [150, 180, 210]),
    }


def test_an_arm_that_sets_the_name_of_a_preset_alone_is_told_what_to_write():
    whole = '"student.training" = { preset = "cifar100" }'
    body = BODY.replace(whole, '"student.training.preset" = "cifar100"')

    with pytest.raises(SpecError, match="stands for many settings") as caught:
        expand(load(body=body))
    assert "'student.training' as a whole" in caught.value.hint


def test_an_unknown_preset_is_an_error_that_names_the_key():
    with pytest.raises(SpecError, match=r"'teacher.training.preset'|teacher.training.preset"):
        load("teacher.training.preset=cifar")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_a_valid_training(name):
    for role in ("teacher", "student"):
        study = load(f"{role}.training.preset={name}")
        assert getattr(study, role).training.preset is None


def test_a_preset_that_nobody_resolved_is_no_training():
    with pytest.raises(ValueError, match="resolved when a study is read"):
        Training(preset="cifar100")


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("optimizer.kind=adam", None),
        ("accumulate=4", None),
        ("accumulate=7", "does not split batch_size 64"),
        ("accumulate=64", "at least 2 images"),
        ("clip_norm=0", "clip_norm"),
        ("clip_norm=off", None),
        ("warmup={ epochs = 200 }", "warmup takes 200 of 200"),
        ('optimizer={ kind = "sgd", nesterov = true }', None),
        ("optimizer.beta1=0.5", "optimizer.beta1"),
    ],
)
def test_settings_that_cannot_work_together_are_refused(setting, why):
    if why is None:
        load(f"teacher.training.{setting}")
        return
    with pytest.raises(SpecError, match=why):
        load(f"teacher.training.{setting}")


def test_momentum_belongs_to_sgd():
    with pytest.raises(SpecError, match="momentum belongs to sgd"):
        load("teacher.training.optimizer.kind=adamw", "teacher.training.momentum=0.8")
    with pytest.raises(SpecError, match="nesterov needs a momentum"):
        load("teacher.training.optimizer.nesterov=true", "teacher.training.momentum=0.0")
