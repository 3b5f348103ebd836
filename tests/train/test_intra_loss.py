"""The intra-class loss against a loop over anchors, and its limits."""

import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.train.losses.base import NORM_EPS, group_by_class
from icckd.train.losses.contrastive import (
    EmbeddingCache,
    IntraLoss,
    MarginFilter,
    intra_class_contrastive,
    margin_of,
    margin_over,
)

TAU = 0.1
CLASSES = 4
THRESHOLDS = st.sampled_from([None, -2.0, 0.0, 0.3])
ALL_SWITCHED = {
    "reduction": "anchors",
    "normalize": "log-negatives",
    "min_negatives": 2,
    "negatives_view": "same",
}
SWITCHES = st.fixed_dictionaries(
    {},
    optional={
        "reduction": st.sampled_from(["batch", "anchors"]),
        "normalize": st.sampled_from(["off", "log-negatives"]),
        "min_negatives": st.integers(1, 4),
        "negatives_view": st.sampled_from(["other", "same"]),
    },
)


def settings_of(threshold=None, **more):
    margin = "off" if threshold is None else MarginFilter(threshold=threshold)
    return IntraLoss(temperature=TAU, margin=margin, **more)


def fast(view1, view2, logits, labels, ids, *, threshold=None, cache=None, spare=0, **more):
    capacity = int(labels.bincount().max()) + spare
    groups = group_by_class(labels, logits.shape[1], capacity)
    margin = margin_of(logits.softmax(1), labels)
    chosen = settings_of(threshold, **more)
    entries = None if cache is None else cache.entries()
    return intra_class_contrastive(
        view1, view2, margin, ids, groups, settings=chosen, cache=entries
    )


def slow(view1, view2, logits, labels, ids, *, threshold=None, cache=None, min_negatives=1,
         reduction="batch", normalize="off", negatives_view="other"):  # fmt: skip
    """The definition, one anchor at a time."""
    z = [row / (row @ row + NORM_EPS**2).sqrt() for row in view1]
    zp = [row / (row @ row + NORM_EPS**2).sqrt() for row in view2]
    near = zp if negatives_view == "other" else z
    total, anchors, negatives, cosines = view1.sum() * 0, 0, 0, []
    for i in range(len(labels)):
        others = [
            near[j] for j in range(len(labels)) if labels[j] == labels[i] and ids[j] != ids[i]
        ]
        if cache is not None:
            entries = zip(cache.Q_emb[labels[i]], cache.Q_id[labels[i]], strict=True)
            others += [q.to(view1.dtype) for q, key in entries if key >= 0 and key != ids[i]]
        negatives += len(others)
        cosines += [(z[i] @ other).item() for other in others]
        probabilities = logits[i].softmax(0)
        rest = [p for k, p in enumerate(probabilities) if k != labels[i]]
        margin = probabilities[labels[i]] - max(rest)
        if len(others) >= min_negatives and (threshold is None or margin > threshold):
            scores = torch.stack([z[i] @ zp[i], *(z[i] @ other for other in others)]) / TAU
            loss = -scores.log_softmax(0)[0]
            total = total + (loss / math.log(1 + len(others)) if normalize != "off" else loss)
            anchors += 1
    n = len(labels)
    positive = sum((a @ b).item() for a, b in zip(z, zp, strict=True)) / n
    return Slow(
        total / (n if reduction == "batch" else max(1, anchors)), 100 * anchors / n,
        negatives / n, positive, sum(cosines) / max(1, len(cosines)),
    )  # fmt: skip


class Slow(NamedTuple):
    loss: torch.Tensor
    anchor_share: float
    negatives: float
    positive_cosine: float
    negative_cosine: float


def batch(seed, size, *, distinct=True, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    view1, view2 = torch.randn(2, size, 6, generator=generator, dtype=dtype).relu()
    logits = 3 * torch.randn(size, CLASSES, generator=generator, dtype=dtype)
    labels = torch.randint(CLASSES, (size,), generator=generator)
    ids = torch.randperm(size, generator=generator)
    return view1, view2, logits, labels, ids if distinct else ids // 2


def half_filled_cache(seed, per_class=3):
    """A cache with a full ring, a partly filled one, an empty one, and repeated samples."""
    generator = torch.Generator().manual_seed(seed)
    cache = EmbeddingCache(CLASSES, per_class, 6)
    for step in range(3):
        labels = torch.randint(CLASSES - 1, (4,), generator=generator)
        keys = torch.nn.functional.normalize(torch.randn(4, 6, generator=generator), dim=1)
        ids = torch.randint(8, (4,), generator=generator)
        cache.push(keys, ids, step, group_by_class(labels, CLASSES, 4))
    return cache


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 24),
    distinct=st.booleans(),
    with_cache=st.booleans(),
    threshold=THRESHOLDS,
    spare=st.integers(0, 2),
    switches=SWITCHES,
)
def test_loss_and_diagnostics_equal_a_loop_over_anchors(
    seed, size, distinct, with_cache, threshold, spare, switches
):
    inputs = batch(seed, size, distinct=distinct)
    cache = half_filled_cache(seed) if with_cache else None

    term = fast(*inputs, threshold=threshold, cache=cache, spare=spare, **switches)
    expected = slow(*inputs, threshold=threshold, cache=cache, **switches)

    assert term.loss.item() == pytest.approx(expected.loss.item(), rel=1e-9, abs=1e-12)
    for name in Slow._fields[1:]:
        assert getattr(term, name).item() == pytest.approx(
            getattr(expected, name), rel=1e-5, abs=1e-12
        ), name


@pytest.mark.parametrize("with_cache", [False, True])
@pytest.mark.parametrize("threshold", [None, 0.0])
@pytest.mark.parametrize("switches", [{}, ALL_SWITCHED])
def test_gradient_is_that_of_the_loop_and_passes_gradcheck(with_cache, threshold, switches):
    view1, view2, logits, labels, ids = batch(3, 10)
    cache = half_filled_cache(3) if with_cache else None
    chosen = {"threshold": threshold, "cache": cache, **switches}

    def loss(a, b):
        return fast(a, b, logits, labels, ids, **chosen).loss

    view1.add_(0.1).requires_grad_()
    view2.add_(0.1).requires_grad_()
    ours = torch.autograd.grad(loss(view1, view2), (view1, view2))
    reference = slow(view1, view2, logits, labels, ids, **chosen).loss
    theirs = torch.autograd.grad(reference, (view1, view2))

    assert torch.autograd.gradcheck(loss, (view1, view2))
    torch.testing.assert_close(ours, theirs)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(2, 24), switches=SWITCHES)
def test_the_order_of_the_batch_does_not_matter(seed, size, switches):
    inputs = batch(seed, size)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    cache = half_filled_cache(seed)

    loss = fast(*inputs, threshold=0.0, cache=cache, **switches).loss
    shuffled = fast(*(part[order] for part in inputs), threshold=0.0, cache=cache, **switches).loss

    torch.testing.assert_close(loss, shuffled)


def test_one_class_without_cache_and_filter_is_one_direction_infonce():
    view1, view2, logits, labels, ids = batch(0, 12)
    cosine = torch.nn.functional.normalize(view1 + 1) @ torch.nn.functional.normalize(view2 + 1).T

    term = fast(view1 + 1, view2 + 1, logits, torch.zeros_like(labels), ids)
    infonce = torch.nn.functional.cross_entropy(cosine / TAU, torch.arange(12))

    torch.testing.assert_close(term.loss, infonce, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("switches", [{}, ALL_SWITCHED])
@pytest.mark.parametrize("why", ["no negative", "no anchor", "all rows zero and no negative"])
def test_without_anchors_the_loss_is_exactly_zero_with_zero_gradients(why, switches):
    view1, view2, logits, _, ids = batch(1, CLASSES, dtype=torch.float32)
    labels = torch.arange(CLASSES) if "negative" in why else torch.zeros(CLASSES, dtype=torch.int64)
    scale = 0.0 if "zero" in why else 1.0
    leaf = (view1 * scale).requires_grad_()

    threshold = 1.0 if why == "no anchor" else None
    term = fast(leaf, view2, logits, labels, ids, threshold=threshold, **switches)
    (gradient,) = torch.autograd.grad(term.loss, leaf)

    assert term.loss.item() == 0.0
    assert torch.equal(gradient, torch.zeros_like(gradient))
    assert term.anchor_share.item() == 0.0


def test_a_zero_row_keeps_the_gradient_bounded():
    view1, view2, logits, labels, ids = batch(5, 8, dtype=torch.float32)
    leaf = view1.clone()
    leaf[0] = 0.0
    leaf.requires_grad_()

    (gradient,) = torch.autograd.grad(fast(leaf, view2, logits, labels * 0, ids).loss, leaf)

    assert gradient.isfinite().all()
    assert gradient.norm() <= 2 / TAU / NORM_EPS


def test_a_sample_is_no_negative_of_itself():
    view, _, logits, _, _ = batch(2, 3)
    labels, ids = torch.tensor([1, 1, 1]), torch.tensor([7, 7, 7])
    cache = EmbeddingCache(CLASSES, 2, 6)
    cache.push(view[:1].float(), ids[:1], 0, group_by_class(labels[:1], CLASSES, 1))

    term = fast(view, view, logits, labels, ids, cache=cache)

    assert term.negatives.item() == 0
    assert term.loss.item() == 0


def test_filter_off_differs_from_threshold_zero_on_a_wrong_sample():
    view1, view2, _, _, ids = batch(4, 4)
    labels = torch.zeros(4, dtype=torch.int64)
    wrong = torch.tensor([[0.0, 1.0, 0.0, 0.0]], dtype=torch.float64).expand(4, -1)

    assert fast(view1, view2, wrong, labels, ids).anchor_share.item() == 100
    assert fast(view1, view2, wrong, labels, ids, threshold=0.0).anchor_share.item() == 0


def test_filter_off_keeps_a_sample_whose_margin_is_exactly_minus_one():
    view1, view2, _, _, ids = batch(4, 4, dtype=torch.float32)
    labels = torch.zeros(4, dtype=torch.int64)
    hopeless = torch.tensor([[0.0, 1e4, 0.0, 0.0]]).expand(4, -1)

    assert margin_of(hopeless.softmax(1), labels).tolist() == [-1.0] * 4
    assert fast(view1, view2, hopeless, labels, ids).anchor_share.item() == 100
    assert fast(view1, view2, hopeless, labels, ids, threshold=-1.0).anchor_share.item() == 0


@pytest.mark.parametrize("with_cache", [False, True])
def test_threshold_minus_two_has_the_bits_of_filter_off(with_cache):
    view1, view2, logits, labels, ids = batch(8, 32, dtype=torch.float32)
    cache = half_filled_cache(8) if with_cache else None
    grads, losses = [], []
    for threshold in (None, -2.0):
        leaf = view1.clone().requires_grad_()
        loss = fast(leaf, view2, logits, labels, ids, threshold=threshold, cache=cache).loss
        losses.append(loss)
        grads.append(torch.autograd.grad(loss, leaf)[0])

    assert torch.equal(*losses)
    assert torch.equal(*grads)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 5e-3), (torch.bfloat16, 5e-2)])
def test_half_precision_features_give_the_float32_loss_within_tolerance(dtype, tolerance):
    view1, view2, logits, labels, ids = batch(9, 64, dtype=torch.float32)
    cache = half_filled_cache(9)

    exact = fast(view1, view2, logits, labels, ids, cache=cache).loss
    half = fast(view1.to(dtype), view2.to(dtype), logits.to(dtype), labels, ids, cache=cache).loss

    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("switches", [{}, ALL_SWITCHED])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_does_not_touch_the_loss(dtype, switches):
    view1, view2, logits, labels, ids = batch(9, 64, dtype=torch.float32)
    cache = half_filled_cache(9)
    chosen = {"threshold": 0.0, "cache": cache, **switches}

    exact = fast(view1, view2, logits, labels, ids, **chosen).loss
    with torch.autocast("cpu", dtype):
        under = fast(view1, view2, logits, labels, ids, **chosen).loss

    assert torch.equal(under, exact)


def test_sharp_temperatures_stay_finite_with_features_that_coincide():
    view, _, logits, _, ids = batch(9, 16, dtype=torch.float32)
    same = view[:1].expand(16, -1).half()
    labels = torch.zeros(16, dtype=torch.int64)
    groups = group_by_class(labels, CLASSES, 16)
    chosen = IntraLoss(temperature=0.01, margin="off")

    term = intra_class_contrastive(
        same, same, logits[:, 0], ids, groups, settings=chosen, cache=None
    )

    assert term.loss.item() == pytest.approx(math.log(16), rel=1e-3)


def test_a_full_batch_of_negatives_at_chance_has_a_normalized_loss_of_one():
    view, _, logits, _, ids = batch(9, 16)
    same = view[:1].expand(16, -1) + 1
    labels = torch.zeros(16, dtype=torch.int64)

    assert fast(same, same, logits, labels, ids, normalize="log-negatives").loss == pytest.approx(1)


def test_no_gradient_reaches_the_logits_or_the_cache():
    view1, view2, logits, labels, ids = batch(9, 16)
    logits.requires_grad_()
    view1.requires_grad_()

    cache = half_filled_cache(1)
    margin = margin_of(logits.softmax(1), labels)
    groups = group_by_class(labels, CLASSES, int(labels.bincount().max()))
    term = intra_class_contrastive(
        view1, view2, margin, ids, groups, settings=settings_of(0.0), cache=cache.entries()
    )
    term.loss.backward()

    assert logits.grad is None
    assert not any(buffer.requires_grad for buffer in cache.buffers())
    assert not any(value.requires_grad for value in term[1:])


@given(st.integers(1, 8), st.integers(2, 6), st.integers(0, 2**31 - 1))
def test_margin_is_positive_exactly_where_the_teacher_is_right(size, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, classes, generator=generator)
    labels = torch.randint(classes, (size,), generator=generator)

    margin = margin_of(logits.softmax(1), labels)

    assert torch.equal(margin > 0, logits.argmax(1) == labels)
    assert margin.abs().max() <= 1


def test_the_margin_histogram_counts_samples_above_each_threshold():
    margin = torch.tensor([-1.0, 0.0, 0.3, 0.8])

    assert margin_over(margin, torch.tensor([-1.0, 0.0, 0.9])).tolist() == [75.0, 50.0, 0.0]
