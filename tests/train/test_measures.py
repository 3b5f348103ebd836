"""Measures and probes against loops written from their formulas, and against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss, top_k_accuracy_score

from icckd.train.data.splits import Split
from icckd.train.evaluate import series_on_validation
from icckd.train.metrics import predictions, scatter
from icckd.train.metrics.base import Evaluation, Seen
from icckd.train.metrics.probes import (
    RIDGE,
    cosine,
    linear_scores,
    linear_subclass_accuracy,
    linear_superclass_accuracy,
    subclass_accuracy,
)


def drawn(seed, n=60, classes=7, scale=4.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator)
    return logits, torch.randint(classes, (n,), generator=generator)


def softmax(row, temperature=1.0):
    exps = [math.exp(float(z) / temperature) for z in row]
    return [e / sum(exps) for e in exps]


SEEDS = st.integers(0, 50)


@given(SEEDS)
def test_top5_and_nll_are_those_of_scikit_learn(seed):
    logits, labels = drawn(seed)
    known = np.arange(7)
    p = logits.double().softmax(1).numpy()

    expected = 100 * top_k_accuracy_score(labels, logits.double().numpy(), k=5, labels=known)
    assert predictions.top5(logits, labels) == pytest.approx(expected)
    expected = log_loss(labels, p / p.sum(1, keepdims=True), labels=known)
    assert predictions.nll(logits, labels) == pytest.approx(expected)


def test_nll_of_a_hopeless_guess_is_finite():
    assert predictions.nll(torch.tensor([[1e4, -1e4]]), torch.tensor([1])) == pytest.approx(2e4)


@given(SEEDS)
def test_the_calibration_error_equals_a_loop_over_bins(seed):
    logits, labels = drawn(seed)
    total = 0.0
    for number in range(1, 16):
        bin_ = []
        for row, label in zip(logits, labels, strict=True):
            p = softmax(row)
            confidence = max(p)
            if (number - 1) / 15 < confidence <= number / 15:
                bin_.append((p.index(confidence) == int(label), confidence))
        if bin_:
            accuracy, confidence = (sum(x) / len(bin_) for x in zip(*bin_, strict=True))
            total += len(bin_) / len(logits) * abs(accuracy - confidence)

    assert predictions.calibration_error(logits, labels) == pytest.approx(100 * total)


def test_sure_and_right_is_calibrated_and_sure_and_wrong_is_not():
    logits = torch.tensor([[60.0, 0.0], [60.0, 0.0]])

    assert predictions.calibration_error(logits, torch.tensor([0, 0])) == pytest.approx(0, abs=1e-9)
    assert predictions.calibration_error(logits, torch.tensor([1, 1])) == pytest.approx(100)


@given(SEEDS)
def test_entropy_and_divergence_equal_loops(seed):
    logits, _ = drawn(seed)
    other, _ = drawn(seed + 1000)
    entropy = divergence = 0.0
    for own, told in zip(logits, other, strict=True):
        p, q = softmax(own), softmax(told)
        entropy -= sum(x * math.log(x) for x in p) / len(logits)
        divergence += sum(b * (math.log(b) - math.log(a)) for a, b in zip(p, q, strict=True))

    assert predictions.entropy(logits) == pytest.approx(entropy)
    assert predictions.divergence(logits, other) == pytest.approx(divergence / len(logits))
    assert predictions.divergence(logits, logits) == pytest.approx(0, abs=1e-12)


def test_agreement_counts_equal_predictions_right_or_wrong():
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 9.0]])
    teacher = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])

    assert predictions.agreement(student, teacher) == 75


@given(SEEDS, st.sampled_from([3, 12]))
def test_nc1_is_the_trace_with_a_pseudo_inverse(seed, features):
    h, _ = drawn(seed, classes=features)
    labels = drawn(seed, classes=4)[1]
    x = h.double().numpy()
    means = {c: x[labels.numpy() == c].mean(0) for c in range(4)}
    middle = np.mean(list(means.values()), axis=0)
    within = np.zeros((features, features))
    for row, label in zip(x, labels.tolist(), strict=True):
        within += np.outer(row - means[label], row - means[label]) / len(x)
    between = sum(np.outer(m - middle, m - middle) for m in means.values()) / 4
    expected = np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / 4

    assert scatter.nc1(h, labels) == pytest.approx(expected)


@given(SEEDS, st.floats(0.1, 10), st.integers(1, 9))
def test_nc1_does_not_change_with_scale_rotation_shift_or_absent_classes(seed, scale, shift):
    h, labels = drawn(seed)
    h = h.double()
    noise = torch.randn(7, 7, generator=torch.Generator().manual_seed(seed)).double()
    turned = torch.linalg.qr(noise)[0]
    before = scatter.nc1(h, labels)

    assert scatter.nc1(scale * h @ turned + 3, labels + shift) == pytest.approx(before, rel=1e-4)


def test_collapsed_classes_have_nc1_0_and_equal_classes_have_none():
    rows = torch.eye(3)[torch.tensor([0, 0, 1, 2])]

    assert scatter.nc1(rows, torch.tensor([0, 0, 1, 2])) == pytest.approx(0, abs=1e-20)
    assert math.isnan(scatter.nc1(torch.ones(4, 3), torch.tensor([0, 0, 1, 1])))


@given(SEEDS)
def test_soft_variance_equals_a_loop_over_images_and_other_classes(seed):
    logits, labels = drawn(seed)
    p = [softmax(row, 4.0) for row in logits]
    total = 0.0
    for own, label in zip(p, labels.tolist(), strict=True):
        peers = [q for q, other in zip(p, labels.tolist(), strict=True) if other == label]
        for k in range(7):
            if k != label:
                total += (own[k] - sum(q[k] for q in peers) / len(peers)) ** 2

    assert scatter.soft_variance(logits, labels) == pytest.approx(total / len(p))


def test_soft_variance_does_not_see_how_sure_the_target_is_among_equal_others():
    same = torch.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0]])

    assert scatter.soft_variance(same, torch.tensor([0, 0])) == 0
    spread = torch.tensor([[3.0, 1.0, 0.0], [3.0, 0.0, 1.0]])
    assert scatter.soft_variance(spread, torch.tensor([0, 0])) > 1e-3


def split(labels, subclasses=None, superclasses=None):
    pixels = torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8)
    return Split(images=pixels, labels=labels, subclasses=subclasses, superclasses=superclasses)


@given(SEEDS)
def test_the_linear_probe_is_scikit_learns_ridge_on_standardised_features(seed):
    train, target = drawn(seed, n=80)
    test, _ = drawn(seed + 1000, n=20)
    train[:, 2] = 1.5  # a feature that never changes must not divide by zero
    mean, std = train.double().mean(0), train.double().std(0, unbiased=False)
    std[2] = 1
    x, y = (train.double() - mean) / std, torch.eye(7)[target].double()
    theirs = Ridge(alpha=RIDGE * 80, solver="cholesky").fit(x.numpy(), y.numpy())

    scores = linear_scores(test, train, target)

    expected = theirs.predict(((test.double() - mean) / std).numpy())
    torch.testing.assert_close(scores, torch.from_numpy(expected)[:, : scores.shape[1]])


@given(SEEDS)
def test_the_linear_sub_class_probe_is_a_ridge_for_each_label(seed):
    train, sub_train = drawn(seed, n=80, classes=6)
    test, sub_test = drawn(seed + 1000, n=30, classes=6)
    right = 0
    for label in range(3):
        mine, own = sub_test // 2 == label, sub_train // 2 == label
        names = sorted(set(sub_train[own].tolist()))
        target = torch.tensor([names.index(sub) for sub in sub_train[own].tolist()])
        scores = linear_scores(test[mine], train[own], target)
        found = [names[place] for place in scores.argmax(1).tolist()]
        right += sum(map(int.__eq__, found, sub_test[mine].tolist()))

    value = linear_subclass_accuracy(
        test, split(sub_test // 2, sub_test), train, split(sub_train // 2, sub_train)
    )

    assert value == pytest.approx(100 * right / 30)


def test_a_label_without_training_images_is_never_right_by_chance():
    rows = torch.eye(4)
    trained = split(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 1, 0, 1]))
    asked = split(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]))

    assert linear_subclass_accuracy(rows, asked, rows, trained) == 50


def test_the_linear_super_class_probe_finds_a_level_that_is_linear_in_the_features():
    fine = torch.arange(60) % 6
    rows = torch.eye(6)[fine] + 0.01 * drawn(0, classes=6)[0]
    of_fine = split(fine, superclasses=fine // 2)
    shuffled = split(fine, superclasses=drawn(3, classes=2)[1])

    assert linear_superclass_accuracy(rows, of_fine, rows, of_fine) == 100
    assert linear_superclass_accuracy(rows, shuffled, rows, of_fine) < 70


def test_among_themselves_images_leave_themselves_out():
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [1.0, 1.0]])
    sub = torch.tensor([0, 0, 1, 1, 2])
    one = split(torch.zeros(5, dtype=torch.int64), sub)
    votes = []
    for i in range(5):
        order = sorted(
            (j for j in range(5) if j != i),
            key=lambda j: -float(torch.cosine_similarity(rows[i], rows[j], dim=0)),
        )
        near = [int(sub[j]) for j in order]
        votes.append(max(near, key=lambda s: (near.count(s), -near.index(s))) == int(sub[i]))

    assert subclass_accuracy(rows, one, rows, one, cosine) == pytest.approx(20 * sum(votes))


def test_an_image_without_any_neighbour_is_not_right_by_chance():
    alone = split(torch.tensor([0, 1]), torch.tensor([0, 0]))

    assert subclass_accuracy(torch.eye(2), alone, torch.eye(2), alone, cosine) == 0


def test_diagnoses_without_a_value_are_left_out():
    dead = Seen(features=torch.zeros(4, 3), logits=torch.zeros(4, 2))

    seen = Evaluation(
        model=None,
        normalise=None,
        split=split(torch.tensor([0, 0, 1, 1])),
        n_classes=2,
        outputs=dead,
    )

    assert set(series_on_validation(seen, is_diagnosed=False)) == {"val_top1"}
    assert set(series_on_validation(seen, is_diagnosed=True)) == {"val_top1", "val_soft_variance"}
