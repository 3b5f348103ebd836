"""Class-balanced batches: what each holds, how often each class comes, and their streams."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.errors import StageError
from icckd.study.teacher import BalancedSampler
from icckd.train.data.stream import balanced_order

LABELS = torch.tensor([0] * 9 + [1] * 5 + [2] * 7 + [3] * 6)


@settings(max_examples=40, deadline=None)
@given(classes=st.integers(1, 4), per_class=st.integers(2, 5), epoch=st.integers(1, 50))
def test_a_batch_holds_per_class_different_images_of_each_of_its_classes(classes, per_class, epoch):
    chosen = BalancedSampler(classes=classes, per_class=per_class)

    order = balanced_order(LABELS, chosen, ("k",))(epoch)

    assert order.shape == (len(LABELS) // (classes * per_class), classes * per_class)
    for batch in order:
        assert len(set(batch.tolist())) == len(batch)
        counts = LABELS[batch].bincount(minlength=4)
        assert sorted(counts.tolist()) == [0] * (4 - classes) + [per_class] * classes


def test_classes_come_equally_often_and_images_before_any_comes_twice():
    labels = torch.arange(4).repeat(30)
    order = balanced_order(labels, BalancedSampler(classes=2, per_class=5), ("k",))(1)

    seen = order.flatten()
    assert labels[seen].bincount().tolist() == [30] * 4
    assert seen.bincount().tolist() == [1] * 120


def test_an_epoch_has_its_own_streams_and_repeats_itself():
    order = balanced_order(LABELS, BalancedSampler(classes=2, per_class=3), ("k",))
    other_seed = balanced_order(LABELS, BalancedSampler(classes=2, per_class=3), ("l",))

    assert torch.equal(order(3), order(3))
    assert not torch.equal(order(3), order(4))
    assert not torch.equal(order(3), other_seed(3))


@pytest.mark.parametrize(("classes", "per_class"), [(5, 2), (2, 6)])
def test_a_batch_that_the_classes_cannot_fill_is_refused(classes, per_class):
    with pytest.raises(StageError, match="the training images have 4 classes of 5 images"):
        balanced_order(LABELS, BalancedSampler(classes=classes, per_class=per_class), ("k",))
