"""A stage that was stopped and resumed ends as if it had never stopped (design law 7)."""

import json
import shutil
from functools import partial

import pytest
from pydantic import TypeAdapter

from icckd.errors import StagePaused
from icckd.study.teacher import BalancedSampler
from icckd.study.training import Numerics, Optimizer, Training
from icckd.train.losses.base import ClassMean, ProjectionHead
from icckd.train.losses.contrastive import IntraLoss, MarginFilter, NegativeCache
from icckd.train.losses.supcon import SupConLoss
from tests.support.lanes import slow_but
from tests.train.conftest import teachers_in
from tests.train.distiller_sample import SETTINGS, case, settings_of

FIVE = Training(epochs=5, batch_size=32)
CACHED = IntraLoss(weight=0.5, margin=MarginFilter(threshold=0.0), cache=NegativeCache(per_class=9))
KEEPS_MUCH = IntraLoss(
    weight=0.5,
    margin="off",
    cache=NegativeCache(per_class=9, mode="reencode"),
    head=ProjectionHead(features=6),
    centering=ClassMean(kind="class-mean"),
)
SUPCON = SupConLoss(weight=0.5, head=ProjectionHead(features=6))
SAMPLER = BalancedSampler(classes=4, per_class=8)
OPTIMIZER = TypeAdapter(Optimizer)
TIMES = ("seconds", "memory", "images_per_second", "energy", "data_share")


class Pause:
    """Asks a stage to stop after some epochs."""

    def __init__(self, after):
        self.left = after

    def __call__(self):
        self.left -= 1
        return self.left == 0


def without_times(values):
    return {k: v for k, v in values.items() if not any(word in k for word in TIMES)}


def assert_equal_but_for_times(resumed, whole):
    assert resumed.weights == whole.weights
    assert without_times(resumed.values) == without_times(whole.values)
    assert [without_times(e) for e in resumed.epochs] == [without_times(e) for e in whole.epochs]
    assert set(resumed.values) == set(whole.values)


RESUMED = ("kd", "fitnet", "cc", "vid", "crd", "crd, drawn", "reviewkd", "sum")
"""Every distiller with parameters or buffers of its own, and one without."""


@pytest.fixture
def interrupt(tmp_path):
    """Run something until each of some epochs, every part in a run of its own, then to its end."""

    def parts(run, *after):
        place = {"checkpoint_folder": tmp_path / "kept", "stage": "a", "attempt": "first"}
        for epochs in after:
            with pytest.raises(StagePaused):
                run(place={**place, "should_stop": Pause(epochs)})
        return run(place={**place, "attempt": "last"})

    return parts


@pytest.mark.parametrize("after", [(1,), (4,), (2, 1)])
def test_a_resumed_teacher_ends_bit_identical_cache_included(after, device, run_teacher, interrupt):
    run = partial(run_teacher, training=FIVE, device=device, intra=CACHED)

    resumed = interrupt(run, *after)

    assert resumed.resumed_after == sum(after)
    assert_equal_but_for_times(resumed, run())


@pytest.mark.parametrize("kept", [{"intra": KEEPS_MUCH}, {"supcon": SUPCON, "sampler": SAMPLER}])
def test_a_resumed_teacher_ends_bit_identical_whatever_its_losses_keep(
    kept, device, run_teacher, interrupt
):
    run = partial(run_teacher, training=FIVE, device=device, **kept)

    resumed = interrupt(run, 2)

    assert resumed.resumed_after == 2
    assert_equal_but_for_times(resumed, run())


@pytest.mark.parametrize("distiller", RESUMED)
def test_a_resumed_student_ends_bit_identical_whatever_its_distiller_keeps(
    distiller, device, teacher_folder, run_student, interrupt
):
    run = partial(run_student, teacher_folder, device=device, distiller=settings_of(distiller))

    resumed = interrupt(run, 2)

    assert resumed.resumed_after == 2
    assert_equal_but_for_times(resumed, run())


def test_the_distillers_above_are_all_that_keep_anything():
    keeping = {name for name in SETTINGS if case(name).distiller.state_dict()}

    assert {name.split(",")[0] for name in keeping} == {n.split(",")[0] for n in RESUMED} - {"kd"}


def test_a_resumed_stage_that_lost_its_cache_would_end_otherwise(
    run_teacher, interrupt, monkeypatch
):
    """The check above can fail: it sees a state that a checkpoint forgot."""
    from icckd.train import trainer

    run = partial(run_teacher, training=FIVE, intra=CACHED)
    whole = run()
    original = trainer.TrainingState._take_over

    def forgetful(self, tensors):
        original(self, tensors)
        for name, value in self._modules["state"].state_dict().items():
            if name.endswith("Q_id"):
                value.fill_(-1)

    monkeypatch.setattr(trainer.TrainingState, "_take_over", forgetful)

    assert interrupt(run, 2).weights != whole.weights


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("precision", slow_but(["bf16", "fp16"], "fp16"))
def test_moments_and_loss_scale_are_kept(optimizer, precision, run_teacher, interrupt):
    training = Training(
        epochs=4, batch_size=32, lr=0.01, accumulate=2, clip_norm=1.0,
        optimizer=OPTIMIZER.validate_python({"kind": optimizer}),
    )  # fmt: skip
    run = partial(
        run_teacher, training=training, intra=CACHED, numerics=Numerics(precision=precision)
    )

    resumed, whole = interrupt(run, 2), run()

    assert resumed.resumed_after == 2
    assert_equal_but_for_times(resumed, whole)


def test_training_seconds_add_up_over_attempts(run_teacher, interrupt):
    resumed = interrupt(partial(run_teacher, training=FIVE), 3)

    seconds = [epoch["teacher.train_seconds"] for epoch in resumed.epochs]
    assert len(seconds) == 5
    assert seconds == sorted(seconds)
    assert resumed.values["teacher.seconds"] == seconds[-1]


def test_checkpoints_come_at_epoch_ends_after_the_declared_time_and_only_the_newest_stays(
    run_teacher, tmp_path
):
    folder = tmp_path / "kept"
    seen = []

    def look():
        seen.append(sorted(path.name for path in folder.glob("*")))
        return False

    place = {"checkpoint_folder": folder, "should_stop": look}
    run_teacher(training=FIVE, place={**place, "checkpoint_seconds": 0.0})
    assert seen == [[], *([f"epoch-{n:06}"] for n in (1, 2, 3))]

    seen.clear()
    run_teacher(training=FIVE, place={**place, "checkpoint_seconds": 3600.0, "stage": "other"})
    assert seen == [["epoch-000004"]] * 4


def test_a_checkpoint_holds_no_pickle_and_json_that_anyone_reads(run_teacher, tmp_path):
    kept = tmp_path / "kept"
    with pytest.raises(StagePaused) as paused:
        run_teacher(place={"checkpoint_folder": kept, "should_stop": Pause(2), "attempt": "me"})

    assert paused.value.epoch == 2
    assert [path.name for path in kept.iterdir()] == ["epoch-000002"]
    files = {path.name for path in (kept / "epoch-000002").iterdir()}
    assert files == {"checkpoint.json", "state.safetensors"}
    about = json.loads((kept / "epoch-000002" / "checkpoint.json").read_text())
    assert about["snapshot"]["attempt"] == "me"
    assert [epoch["teacher.lr"] > 0 for epoch in about["snapshot"]["series"]] == [True, True]


@pytest.fixture(scope="module")
def paused(tmp_path_factory):
    """The checkpoints of a teacher that was paused after two epochs of three; only read."""
    root = tmp_path_factory.mktemp("paused")
    place = {"checkpoint_folder": root / "kept", "stage": "a", "should_stop": Pause(2)}
    with pytest.raises(StagePaused):
        teachers_in(root)(place=place)
    return root / "kept"


@pytest.fixture
def left(paused, run_teacher, tmp_path):
    """A checkpoint after two epochs of three, and how to go on from it."""
    shutil.copytree(paused, tmp_path / "kept")
    place = {"checkpoint_folder": tmp_path / "kept", "stage": "a"}
    return tmp_path / "kept" / "epoch-000002", partial(run_teacher, place=place)


def edited(path, key, value):
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, key: value}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            lambda at: edited(at / "checkpoint.json", "code_epoch", 1),
            "training version 1 -> 2: this",
        ),
        (lambda at: edited(at / "checkpoint.json", "stage", "b"), "its stage is 'b', not 'a'"),
        (lambda at: edited(at / "checkpoint.json", "torch", "1.0"), "its torch is '1.0', not"),
        (lambda at: (at / "checkpoint.json").write_text("{"), "it cannot be read"),
        (lambda at: (at / "checkpoint.json").write_text("[]"), "it cannot be read"),
        (lambda at: (at / "state.safetensors").unlink(), "it cannot be read"),
        (lambda at: (at / "state.safetensors").write_bytes(b"x" * 99), "it is damaged"),
        (lambda at: edited(at / "checkpoint.json", "snapshot", {}), "it cannot be read"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_with_its_reason_and_the_stage_restarts(
    damage, reason, left, teacher_folder
):
    checkpoint, go_on = left
    damage(checkpoint)

    notes = go_on()

    assert notes.resumed_after == 0
    assert notes.weights == (teacher_folder / "model.safetensors").read_bytes()
    [line] = notes.lines
    assert line.startswith("checkpoint epoch-000002 is not used: ")
    assert reason in line


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"intra": "off"}, "state.intra.cache.Q_emb is unknown"),
        (
            {"intra": IntraLoss(cache=NegativeCache(per_class=8))},
            "state.intra.cache.Q_emb is float32[5, 64, 8], but this stage has float32[5, 8, 8]",
        ),
        (
            {"training": Training(epochs=3, batch_size=32, momentum=0.0)},
            "optimizer.momentum.0 is unknown",
        ),
        ({"training": Training(epochs=3, batch_size=64)}, "log is float32[10, 14], but"),
    ],
)
def test_a_checkpoint_of_other_shapes_is_refused(settings, reason, left):
    notes = left[1](**settings)

    assert notes.resumed_after == 0
    assert reason in notes.lines[0]


def test_a_disk_that_takes_no_checkpoint_costs_a_line_and_no_training(run_teacher, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")

    place = {"checkpoint_folder": blocked / "kept", "checkpoint_seconds": 0.0}
    notes = run_teacher(place=place)

    assert notes.weights == run_teacher().weights
    assert [line.split(":")[0] for line in notes.lines] == [
        "no checkpoint after epoch 1", "no checkpoint after epoch 2",
    ]  # fmt: skip
