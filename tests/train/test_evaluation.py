"""Probes on hand-made data, and the stability of a made-up run."""

import numpy as np
import pytest
import torch

from icckd.train.data.splits import Split
from icckd.train.evaluate import stability
from icckd.train.metrics.base import soft_probabilities
from icckd.train.metrics.predictions import top1
from icckd.train.metrics.probes import cosine, nearness, subclass_accuracy
from icckd.train.precision import environment


def split(labels, subclasses):
    pixels = torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8)
    return Split(images=pixels, labels=torch.tensor(labels), subclasses=torch.tensor(subclasses))


def line(*positions):
    return torch.tensor(positions, dtype=torch.float32)[:, None]


def probe(test_at, test, train_at, train):
    return subclass_accuracy(line(*test_at), test, line(*train_at), train, nearness)


def test_the_majority_of_the_five_nearest_decides():
    train = split([0] * 6, [1, 1, 1, 2, 2, 2])

    assert probe([0], split([0], [1]), [1, 2, 3, 4, 5, 6], train) == 100
    assert probe([7], split([0], [2]), [1, 2, 3, 4, 5, 6], train) == 100
    assert probe([7], split([0], [1]), [1, 2, 3, 4, 5, 6], train) == 0


def test_a_tie_goes_to_the_nearest_of_the_tied():
    train = split([0] * 5, [3, 2, 1, 1, 2])

    assert probe([0], split([0], [2]), [1, 2, 3, 4, 5], train) == 100


def test_images_of_another_label_do_not_vote_even_if_they_are_nearer():
    train = split([1, 1, 1, 1, 1, 0], [9, 9, 9, 9, 9, 4])

    assert probe([0], split([0], [4]), [1, 1, 1, 1, 1, 50], train) == 100


def test_accuracy_is_over_all_test_images_in_chunks(monkeypatch):
    monkeypatch.setattr("icckd.train.metrics.probes.IMAGES_AT_ONCE", 2)
    train = split([0, 0], [1, 2])

    value = probe([0, 1, 9, 10, 11], split([0] * 5, [1, 1, 2, 2, 1]), [0, 10], train)

    assert value == 80


def test_the_probe_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    train_rows, test_rows = torch.randn(2, 60, 3, generator=generator)
    train_sub, test_sub = torch.randint(6, (2, 60), generator=generator)
    train = split((train_sub // 2).tolist(), train_sub.tolist())
    test = split((test_sub // 2).tolist(), test_sub.tolist())
    right = 0
    for row, label, true in zip(test_rows, test.labels, test.subclasses, strict=True):
        own = [
            (float(torch.cosine_similarity(row, other, dim=0)), int(sub))
            for other, sub, known in zip(train_rows, train_sub, train.labels, strict=True)
            if known == label
        ]
        votes = [sub for _, sub in sorted(own, reverse=True)[:5]]
        right += max(votes, key=lambda sub: (votes.count(sub), -votes.index(sub))) == int(true)

    value = subclass_accuracy(test_rows, test, train_rows, train, cosine)

    assert value == pytest.approx(100 * right / 60)


@pytest.mark.parametrize("similarity", [cosine, nearness])
def test_only_images_of_one_label_are_compared(similarity):
    labels = [0] * 30 + [1] * 10 + [2] * 20
    images, compared = split(labels, list(range(60))), []

    def counted(a_ND, b_RD):
        compared.append(len(a_ND) * len(b_RD))
        return similarity(a_ND, b_RD)

    subclass_accuracy(torch.randn(60, 3), images, torch.randn(60, 3), images, counted)

    assert sum(compared) == 30 * 30 + 10 * 10 + 20 * 20


def test_a_label_that_was_not_learnt_is_never_right():
    train = split([0, 0], [1, 1])

    assert probe([0, 0], split([0, 7], [1, 1]), [1, 2], train) == 50


def test_cosine_ignores_length_and_nearness_does_not():
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0, 0.0], [0.0, 1.0]])

    assert cosine(a, b).tolist() == [[1.0, 0.0]]
    assert nearness(a, b).tolist() == [pytest.approx([-4.0, -(2**0.5)])]


def test_soft_probabilities_are_at_temperature_4():
    expected = torch.tensor([[8.0, 0.0]]).div(4).softmax(1)

    assert torch.equal(soft_probabilities(torch.tensor([[8.0, 0.0]])), expected)


def test_top1_is_in_percent():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])

    assert top1(logits, torch.tensor([0, 1, 1])) == pytest.approx(200 / 3)


def test_a_steady_descent_is_perfectly_stable():
    assert stability(np.linspace(3, 1, 50), 7) == pytest.approx(0, abs=1e-12)
    assert stability(np.array([2.0]), 7) == 0


def test_stability_equals_a_loop_over_steps():
    ce = np.random.default_rng(0).random(23)
    squares = []
    for t in range(23):
        half = min(4, t, 22 - t)
        squares.append((ce[t] - ce[t - half : t + half + 1].mean()) ** 2)

    assert stability(ce, 4) == pytest.approx(np.sqrt(np.mean(squares)))


def test_the_environment_names_versions_and_devices():
    found = environment()

    assert found["torch"] == torch.__version__
    assert found["cpu"]
    assert all(isinstance(value, str) for value in found.values())
