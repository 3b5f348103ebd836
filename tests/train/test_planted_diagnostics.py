"""Every diagnostic of training reads what was planted at a known strength.

Those of a trained model are random and have a smallest strength: tests/bench/test_planted.py.
"""

import math

import numpy as np
import pytest
import torch

from icckd.study.teacher import TEACHER_LOSSES, Teacher
from icckd.study.training import Training
from icckd.train.data.batch import Batch
from icckd.train.evaluate import stability
from icckd.train.losses.base import NORM_EPS, Forward, LossInputs, group_by_class
from icckd.train.losses.contrastive import IntraLoss, MarginFilter, NegativeCache, observe_cache
from icckd.train.losses.spread import SpreadLoss
from icckd.train.losses.supcon import SupConLoss
from icckd.train.networks import build_model
from icckd.train.networks.cnn import CnnModel
from icckd.train.optim import make_optimizer
from icckd.train.teacher import TeacherStep, build_losses, train_stream

CLASS_SIZES = (1, 3, 6)
SIZE, CLASSES = sum(CLASS_SIZES), len(CLASS_SIZES)
FEATURES = 1 + 2 * SIZE
LABELS = torch.arange(CLASSES).repeat_interleave(torch.tensor(CLASS_SIZES))


def read(features, logits, **settings):
    """Return the diagnostics of the intra-class loss on one batch of planted outputs."""
    inputs = LossInputs(
        n_classes=CLASSES, n_features=FEATURES, image_shape=(1, 8, 8), key=("planted",)
    )
    part = TEACHER_LOSSES["intra"](IntraLoss(cache="off", **settings), inputs)
    batch = Batch(
        images=torch.zeros(2 * SIZE, 1, 8, 8), labels=LABELS, ids=torch.arange(SIZE),
        largest_class=max(CLASS_SIZES),
    )  # fmt: skip
    seen = Forward(
        model=None, features=features.requires_grad_(), logits=logits, batch=batch,
        groups=group_by_class(LABELS, CLASSES, max(CLASS_SIZES)), step=0, epoch=1,
    )  # fmt: skip
    found = part.term(seen).diagnostics
    return dict(zip(part.diagnostics, map(float, found), strict=True))


def embeddings(own, others):
    """Return both views of a batch: cosine `own` of a sample's views, `others` of two samples."""
    common, image = torch.zeros(SIZE, FEATURES), torch.zeros(SIZE, FEATURES)
    common[:, 0] = math.sqrt(others)
    image[:, 1 : 1 + SIZE] = torch.eye(SIZE)
    noise = image.roll(SIZE, dims=1)
    share = (own - others) / (1 - others)
    second = share * image + math.sqrt(1 - share**2) * noise
    return torch.cat([common + math.sqrt(1 - others) * part for part in (image, second)])


def leads(margins):
    """Return logits of two probable classes whose label leads by the margins."""
    probabilities = torch.full((SIZE, CLASSES), 1e-12, dtype=torch.float64)
    rows = torch.arange(SIZE)
    probabilities[rows, LABELS] = (1 + margins) / 2
    probabilities[rows, (LABELS + 1) % CLASSES] = (1 - margins) / 2
    return probabilities.log()


CLEAR = leads(torch.full((SIZE,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize(("own", "others"), [(0.9, 0.2), (0.5, 0.4), (0.3, 0.0)])
def test_cosines_of_views_and_of_negatives_are_the_planted_ones(own, others):
    seen = read(embeddings(own, others), CLEAR)

    assert seen["positive_cosine"] == pytest.approx(own, abs=1e-5)
    assert seen["negative_cosine"] == pytest.approx(others, abs=1e-5)


def test_negatives_are_the_other_samples_of_a_class():
    seen = read(embeddings(0.9, 0.2), CLEAR)

    assert seen["negatives"] == pytest.approx((0 + 3 * 2 + 6 * 5) / SIZE)


@pytest.mark.parametrize("sure", [0, 2, 5, 9])
def test_anchors_and_the_histogram_of_margins_are_the_planted_shares(sure):
    margins = torch.full((SIZE,), 0.3, dtype=torch.float64)
    margins[SIZE - sure :] = 0.8  # the first sample has no negative, and is never an anchor

    seen = read(embeddings(0.9, 0.2), leads(margins), margin=MarginFilter(threshold=0.5))

    share = 100 * sure / SIZE
    assert seen["anchor_share"] == pytest.approx(share)
    assert seen["margin_over_75"] == pytest.approx(share)
    assert (seen["margin_over_25"], seen["margin_over_90"]) == (100, 0)


@pytest.mark.parametrize("short", [0, 1, 7])
def test_rows_too_short_to_pull_on_are_counted(short):
    features = embeddings(0.9, 0.2)
    features[:short] *= NORM_EPS / 2
    features[short:] *= 2 * NORM_EPS

    assert read(features, CLEAR)["skipped_rows"] == short


@pytest.mark.parametrize("deviation", [1e-3, 0.03, 1.0])
def test_stability_is_the_deviation_of_noise_around_a_falling_loss(deviation):
    steps, epochs = 20, 100
    falling = 2.3 * np.exp(-np.arange(steps * epochs) / (50 * steps))
    noise = np.random.default_rng(1).normal(0, deviation, falling.size)

    found = stability(falling + noise, steps)

    mean_of_window = math.sqrt(1 - 1 / (2 * steps + 1))
    assert found == pytest.approx(deviation * mean_of_window, rel=0.05)


@pytest.mark.parametrize("norm", [1e-4, 0.5, 300.0])
def test_the_norm_of_the_gradient_is_the_planted_one_over_all_parameters(norm):
    model = torch.nn.Linear(5, 2)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, norm / math.sqrt(5 * 2 + 2))

    assert float(make_optimizer(model.parameters(), Training()).gradient_norm()) == pytest.approx(
        norm
    )


def network(material):
    widths = CnnModel(widths=(4, 4, 8))
    key = ("planted", 0)
    model = build_model(widths, in_channels=1, n_classes=material.n_classes, key=key, device="cpu")
    return model.train()


LOSSES = {
    "intra": lambda weight: {"intra": IntraLoss(weight=weight, margin="off")},
    "supcon": lambda weight: {"intra": "off", "supcon": SupConLoss(weight=weight)},
    "spread": lambda weight: {"intra": "off", "spread": SpreadLoss(weight=weight)},
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_ratio_of_a_loss_to_cross_entropy_is_the_planted_one(material, name):
    def ratio(weight):
        settings = Teacher(views=2, training=Training(batch_size=32), **LOSSES[name](weight))
        losses = build_losses(settings, network(material), material, ("k",))
        step = TeacherStep(network(material), losses, settings)
        batch = next(train_stream(settings, material, ("k",)).epoch(1))
        told = step(batch, step=0, epoch=1).diagnostics
        return float(dict(zip(step.diagnostics, told, strict=True))[f"{name}_ratio"])

    one = ratio(1.0)
    assert one > 0
    for planted in (0.01, 1.0, 40.0):
        assert ratio(planted / one) == pytest.approx(planted, rel=1e-4)
    assert ratio(0.0) == 0


@pytest.mark.parametrize("cosine", [1.0, 0.9, 0.5, 0.0])
def test_drift_is_the_cosine_by_which_entries_were_turned(material, cosine):
    intra = IntraLoss(cache=NegativeCache(per_class=8))
    settings = Teacher(views=2, intra=intra, training=Training(batch_size=32))
    model = network(material)
    losses = build_losses(settings, model, material, ("k",))
    stream = train_stream(settings, material, ("k",))
    step = TeacherStep(model, losses, settings)
    for number, batch in enumerate(stream.epoch(1)):
        step(batch, step=number, epoch=1)
    entries = losses["intra"].cache.Q_emb
    drawn = torch.randn(entries.shape, generator=torch.Generator().manual_seed(0))
    across = drawn - (drawn * entries).sum(-1, keepdim=True) * entries
    across = torch.nn.functional.normalize(across, dim=-1)
    entries.copy_(cosine * entries + math.sqrt(1 - cosine**2) * across)

    found = observe_cache(losses["intra"], model, stream, 1)

    assert found["cache_drift"] == pytest.approx(cosine, abs=1e-5)
