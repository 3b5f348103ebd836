"""What a teacher's settings do to a whole stage, and that those switched off do nothing."""

import pytest
import torch
from pydantic import ValidationError
from torch.utils._python_dispatch import TorchDispatchMode

from icckd.study.teacher import BalancedSampler, Teacher
from icckd.study.training import Training
from icckd.train.data.batch import parts_of
from icckd.train.data.stream import TrainStream
from icckd.train.losses import contrastive
from icckd.train.losses import contrastive as intra
from icckd.train.losses.base import BatchMean, ClassMean, ProjectionHead
from icckd.train.losses.contrastive import IntraLoss, MarginFilter, NegativeCache, observe_cache
from icckd.train.losses.supcon import SupConLoss
from icckd.train.networks import build_model
from icckd.train.networks.cnn import CnnModel
from icckd.train.optim import Sgd
from icckd.train.teacher import TeacherStep, build_losses, train_stream

STRONG = {"weight": 0.5, "margin": MarginFilter(threshold=0.0)}
CLASS_MEAN = ClassMean(kind="class-mean")
SWITCHED = {
    "reduction": {"reduction": "anchors"},
    "normalize": {"normalize": "log-negatives"},
    "min_negatives": {"min_negatives": 8},
    "negatives_view": {"negatives_view": "same"},
    "head": {"head": ProjectionHead(features=16)},
    "batch-mean": {"centering": BatchMean(kind="batch-mean")},
    "class-mean": {"centering": CLASS_MEAN},
    "margin view": {"margin": MarginFilter(threshold=0.0, view="mean")},
    "reencode": {"cache": NegativeCache(per_class=8, mode="reencode")},
}
SMALL_CACHE = {"cache": NegativeCache(per_class=8)}


def test_every_switch_of_the_loss_changes_the_weights_and_repeats_bit_by_bit(run_teacher):
    runs = {name: IntraLoss(**{**STRONG, **SMALL_CACHE, **s}) for name, s in SWITCHED.items()}
    runs["none"] = IntraLoss(**STRONG, **SMALL_CACHE)
    weights = {name: run_teacher(intra=intra).weights for name, intra in runs.items()}
    again = run_teacher(intra=runs["class-mean"]).weights

    assert len(set(weights.values())) == len(runs)
    assert again == weights["class-mean"]


@pytest.mark.parametrize("name", ["head", "class-mean", "reencode"])
def test_at_weight_0_what_a_loss_keeps_for_itself_leaves_the_teacher_alone(name, run_teacher):
    kept = IntraLoss(**{**STRONG, "weight": 0.0, **SMALL_CACHE, **SWITCHED[name]})

    assert run_teacher(intra=kept).weights == run_teacher(intra="off").weights


def test_supcon_of_weight_0_has_the_bits_of_two_view_cross_entropy(run_teacher):
    evaluated = run_teacher(intra="off", supcon=SupConLoss(weight=0.0))
    on = run_teacher(intra="off", supcon=SupConLoss(weight=0.5))

    assert evaluated.weights == run_teacher(intra="off").weights != on.weights
    assert on.values["teacher.supcon_ratio"] > 0
    assert all(epoch["teacher.supcon"] > 0 for epoch in on.epochs)
    assert evaluated.values["teacher.supcon_ratio"] == 0


def test_smoothing_and_both_views_change_what_is_optimised_not_what_ce_means(run_teacher):
    plain = run_teacher(intra="off")
    smoothed = run_teacher(intra="off", label_smoothing=0.1)
    both = run_teacher(intra="off", views_in_ce=2)

    assert len({plain.weights, smoothed.weights, both.weights}) == 3
    for other in (smoothed, both):
        assert other.epochs[0]["teacher.ce"] != plain.epochs[0]["teacher.ce"]


def test_the_optimised_cross_entropy_is_the_mean_over_views_with_smoothed_targets(material):
    settings = Teacher(views=2, views_in_ce=2, label_smoothing=0.3)
    model, reference = (network(material) for _ in range(2))
    batch = next(train_stream(settings, material, ("k",)).epoch(1))
    values = TeacherStep(model, {}, settings)(batch, step=0, epoch=1)

    logits = reference(batch.images)
    log_probs = logits.log_softmax(1)
    target = torch.full_like(logits, 0.3 / 5)
    target[torch.arange(len(logits)), batch.labels.repeat(2)] += 0.7
    (-(target * log_probs).sum(1).mean()).backward()

    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    first = torch.nn.functional.cross_entropy(logits[: len(batch.labels)], batch.labels)
    torch.testing.assert_close(values.losses[0], first.detach())


def test_a_teacher_stopped_early_has_the_weights_of_the_long_run_at_that_epoch(run_teacher):
    whole = run_teacher(training=Training(epochs=5, batch_size=32))
    stopped = run_teacher(training=Training(epochs=5, batch_size=32, stop_epoch=3))
    short = run_teacher(training=Training(epochs=3, batch_size=32))

    assert len(stopped.epochs) == 3
    for ours, theirs in zip(stopped.epochs, whole.epochs, strict=False):
        assert ours["teacher.ce"] == theirs["teacher.ce"]
        assert ours["teacher.lr"] == theirs["teacher.lr"]
        assert ours["teacher.val_top1"] == theirs["teacher.val_top1"]
    assert stopped.weights not in (whole.weights, short.weights)


def test_a_sampled_teacher_sees_more_of_its_class_and_the_streams_of_views_stay(run_teacher):
    sampled = run_teacher(
        intra=IntraLoss(**STRONG, cache="off"), sampler=BalancedSampler(classes=2, per_class=16)
    )
    plain = run_teacher(intra=IntraLoss(**STRONG, cache="off"))

    assert all(epoch["teacher.negatives"] == 15 for epoch in sampled.epochs)
    assert all(epoch["teacher.negatives"] < 8 for epoch in plain.epochs)


def test_the_sampler_changes_which_images_come_not_how_an_image_is_augmented(material):
    settings = Teacher(
        views=2,
        sampler=BalancedSampler(classes=2, per_class=16),
        training=Training(batch_size=32),
    )
    sampled = next(train_stream(settings, material, ("k",)).epoch(1))
    plain = TrainStream(
        material.train, material.normalise, material.augment, batch_size=170, views=2, key=("k",)
    )
    whole = next(plain.epoch(1))

    row = {int(sample): number for number, sample in enumerate(whole.ids)}
    for number, sample in enumerate(sampled.ids.tolist()):
        for view in range(2):
            ours, theirs = (
                sampled.images[32 * view + number],
                whole.images[170 * view + row[sample]],
            )
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": 1, "intra": {}}, "intra-class loss needs views = 2"),
        ({"views": 1, "intra": "off", "views_in_ce": 2}, "views_in_ce = 2 needs views = 2"),
        ({"sampler": {"classes": 5, "per_class": 8}}, "= 40 is not training.batch_size = 64"),
        ({"training": {"epochs": 5, "stop_epoch": 6}}, "stop_epoch = 6, there are 5 epochs"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Teacher.model_validate(settings)


def network(material, seed=0):
    widths, key = CnnModel(widths=(4, 4, 8)), ("net", seed)
    model = build_model(widths, in_channels=1, n_classes=material.n_classes, key=key, device="cpu")
    return model.train()


class Trained:
    """A teacher after some epochs of its steps, with all that is needed to look into its cache."""

    def __init__(self, material, intra, *, epochs, lr, parts=1):
        self.parts = parts
        settings = Teacher(views=2, intra=intra, training=Training(batch_size=32))
        self.model = network(material)
        self.losses = build_losses(settings, self.model, material, ("k",))
        self.stream = train_stream(settings, material, ("k",))
        self.epochs = epochs
        step = TeacherStep(self.model, self.losses, settings)
        optimiser = Sgd([*self.model.parameters(), *step.state.parameters()], settings.training)
        for epoch in range(1, epochs + 1):
            for number, batch in enumerate(self.stream.epoch(epoch)):
                optimiser.clear()
                for part in parts_of(batch, parts):
                    step(part, step=(epoch - 1) * self.stream.steps + number, epoch=epoch)
                optimiser.step(lr)

    def observed(self):
        return observe_cache(
            self.losses["intra"], self.model, self.stream, self.epochs, parts=self.parts
        )


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("more", [{}, SWITCHED["head"], SWITCHED["batch-mean"]])
def test_entries_of_a_network_that_stands_still_do_not_drift(material, more, parts):
    intra = IntraLoss(cache=NegativeCache(per_class=8), **more)

    still, slow, quick = (
        Trained(material, intra, epochs=2, lr=lr, parts=parts).observed() for lr in (0, 1e-3, 0.05)
    )

    assert still["cache_drift"] == pytest.approx(1.0, abs=1e-6)
    assert 1 > slow["cache_drift"] > quick["cache_drift"]


def test_fill_and_age_are_counted_over_the_entries_in_use(material):
    small = Trained(material, IntraLoss(cache=NegativeCache(per_class=8)), epochs=2, lr=0.01)
    large = Trained(material, IntraLoss(cache=NegativeCache(per_class=500)), epochs=2, lr=0.01)
    entries = 2 * 5 * 32

    assert small.observed()["cache_fill"] == 100
    assert 1 < small.observed()["cache_age"] < 3
    assert large.observed()["cache_fill"] == pytest.approx(100 * entries / 2500)
    assert large.observed()["cache_age"] == pytest.approx(5.5)


def test_looking_into_the_cache_changes_nothing_and_draws_from_no_stream(material):
    trained = Trained(material, IntraLoss(cache=NegativeCache(per_class=8)), epochs=1, lr=0.01)
    states = [trained.model.state_dict(), trained.losses["intra"].state_dict()]
    before = [{name: value.clone() for name, value in state.items()} for state in states]
    random = torch.random.get_rng_state()

    trained.observed()

    assert torch.equal(torch.random.get_rng_state(), random)
    assert trained.model.training
    for state, old in zip(states, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in state.items())


def test_inputs_that_are_encoded_anew_have_fill_and_age_but_no_drift(material):
    reencode = IntraLoss(cache=NegativeCache(per_class=8, mode="reencode"))

    assert set(Trained(material, reencode, epochs=1, lr=0.01).observed()) == {
        "cache_fill",
        "cache_age",
    }
    assert Trained(material, IntraLoss(cache="off"), epochs=1, lr=0.01).observed() == {}


def test_the_memory_of_a_cache_of_inputs_is_counted_exactly(run_teacher):
    notes = run_teacher(intra=IntraLoss(**SWITCHED["reencode"]))

    assert notes.values["teacher.cache_bytes"] == 5 * 8 * (64 * 4 + 8 + 8) + 5 * 8


class Counted(TorchDispatchMode):
    """Counts the operations that compute something."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def operations_of_a_step(material):
    settings = Teacher(views=2, intra=IntraLoss())
    model = network(material)
    losses = build_losses(settings, model, material, ("k",))
    step, stream = TeacherStep(model, losses, settings), train_stream(settings, material, ("k",))
    step(stream.batch(1, 0), step=0, epoch=1)
    with Counted() as counted:
        step(stream.batch(2, 0), step=2, epoch=2)
    return counted.count


def test_the_diagnostics_of_a_step_are_few_operations(material, monkeypatch):
    whole = operations_of_a_step(material)
    nothing = torch.zeros(())
    monkeypatch.setattr(intra, "mean_scores", lambda *_: (nothing, nothing))
    monkeypatch.setattr(contrastive, "margin_over", lambda *_: torch.zeros(5))
    monkeypatch.setattr(contrastive, "near_zero", lambda *_: nothing)

    assert 0 < whole - operations_of_a_step(material) <= 15


def test_a_look_into_the_cache_is_two_forward_passes(material, monkeypatch):
    trained = Trained(material, IntraLoss(cache=NegativeCache(per_class=8)), epochs=1, lr=0.01)
    passes = []
    original = trained.model.maps
    monkeypatch.setattr(trained.model, "maps", lambda x: passes.append(len(x)) or original(x))

    trained.observed()

    assert passes == [64, 64]
