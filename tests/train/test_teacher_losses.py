"""What every loss of the teacher must hold to, and the parts that losses are built from."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from icckd.study.teacher import TEACHER_LOSSES, Teacher
from icckd.testing import losses
from icckd.testing.losses import CLASSES, FEATURES, SIZE, drawn, forward, network
from icckd.train.losses.base import (
    NORM_EPS,
    BatchMean,
    ClassMean,
    Embedding,
    LossInputs,
    ProjectionHead,
)
from icckd.train.losses.contrastive import IntraLoss, NegativeCache
from icckd.train.losses.spread import SpreadLoss
from icckd.train.losses.supcon import SupConLoss, supervised_contrastive
from icckd.train.teacher import TeacherStep

INPUTS = LossInputs(n_classes=CLASSES, n_features=FEATURES, image_shape=(1, 8, 8), key=("loss",))
HEAD = ProjectionHead(features=5)
VARIANTS = {
    "intra": IntraLoss(weight=0.3, margin="off"),
    "intra, everything on": IntraLoss(
        weight=0.3,
        margin="off",
        head=HEAD,
        centering=ClassMean(kind="class-mean"),
        cache=NegativeCache(per_class=4, warmup_epochs=0, mode="reencode"),
        reduction="anchors",
        normalize="log-negatives",
    ),
    "supcon": SupConLoss(weight=0.3),
    "supcon, with a head": SupConLoss(weight=0.3, head=HEAD),
    "supcon, mean inside": SupConLoss(weight=0.3, reduction="inside", head=HEAD),
    "spread": SpreadLoss(weight=0.3),
    "spread, with a head": SpreadLoss(weight=0.3, head=HEAD),
}
each = pytest.mark.parametrize("variant", list(VARIANTS))


@each
@pytest.mark.parametrize("law", losses.LAWS, ids=lambda law: law.__name__)
def test_it_keeps_the_laws_that_everybody_can_try(law, variant):
    law(losses.LossCase(variant.split(",")[0], VARIANTS[variant]))


@each
def test_a_loss_is_more_than_zero(variant):
    assert made(variant).term(forward(network(), drawn(0))).loss.item() > 0


def made(variant):
    return losses.LossCase(variant.split(",")[0], VARIANTS[variant]).build()


@pytest.mark.parametrize("variant", [name for name in VARIANTS if "," in name])
def test_own_parameters_are_trained_with_the_weight_of_their_loss(variant):
    model, batch, loss = network(), drawn(0), made(variant)
    step = TeacherStep(model, {"it": loss}, Teacher(intra="off"))

    step(batch, step=0, epoch=1)

    fresh = made(variant)
    expected = torch.autograd.grad(fresh.term(forward(model, batch)).loss, list(fresh.parameters()))
    assert set(step.state.parameters()) == set(loss.parameters())
    for parameter, gradient in zip(loss.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, 0.3 * gradient)


def slow_supcon(embeddings, labels, temperature, reduction="outside"):
    """Equations 2 and 3 of Khosla et al., row by row."""
    z = [row / (row @ row + NORM_EPS**2).sqrt() for row in embeddings]
    total = embeddings.sum() * 0
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        scores = torch.stack([z[i] @ z[a] / temperature for a in others])
        logs = [z[i] @ z[p] / temperature - scores.logsumexp(0) for p in positives]
        if logs and reduction == "outside":
            total = total - sum(logs) / len(logs)
        elif logs:
            total = total - (sum(log.exp() for log in logs) / len(logs)).log()
    return total / len(z)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(2, 16), tau=st.sampled_from([0.07, 0.1, 0.5]))
def test_supcon_equals_a_loop_over_its_rows(seed, size, tau):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(size, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (size,), generator=generator)
    order = torch.randperm(size, generator=generator)

    for reduction in ("outside", "inside"):
        form = {"temperature": tau, "reduction": reduction}
        loss = supervised_contrastive(embeddings, labels, **form)
        torch.testing.assert_close(loss, slow_supcon(embeddings, labels, **form))
        again = supervised_contrastive(embeddings[order], labels[order], **form)
        torch.testing.assert_close(again, loss)


def test_the_mean_inside_the_logarithm_is_never_more_than_outside():
    embeddings = torch.randn(12, 5, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(12) % 4
    outside, inside = (
        supervised_contrastive(embeddings, labels, temperature=0.1, reduction=reduction)
        for reduction in ("outside", "inside")
    )

    assert 0 < inside < outside


def slow_spread_within(view1, view2, labels, temperature):
    """The class-conditional InfoNCE of Chen et al., row by row."""
    z, keys = ([row / (row @ row + NORM_EPS**2).sqrt() for row in view] for view in (view1, view2))
    total = view1.sum() * 0
    for i in range(len(z)):
        own = [z[i] @ keys[j] / temperature for j in range(len(z)) if labels[j] == labels[i]]
        total = total + torch.stack(own).logsumexp(0) - z[i] @ keys[i] / temperature
    return total / len(z)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_spread_is_supcon_and_infonce_within_classes_in_the_shares_declared(share):
    batch, model = drawn(5), network()
    seen = forward(model, batch)
    loss = TEACHER_LOSSES["spread"](SpreadLoss(share=share, temperature=0.5), INPUTS)
    view1, view2 = seen.features.chunk(2)
    alike = slow_supcon(seen.features, batch.labels.repeat(2), 0.5)
    within = slow_spread_within(view1, view2, batch.labels, 0.5)

    torch.testing.assert_close(loss.term(seen).loss, (1 - share) * alike + share * within)


def test_spread_needs_two_views():
    with pytest.raises(ValidationError, match="the spread loss needs views = 2"):
        Teacher(views=1, intra="off", spread=SpreadLoss())


def test_the_gradient_of_supcon_passes_gradcheck_and_pulls_a_class_together():
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(8, 4, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])

    def loss(x):
        return supervised_contrastive(x, labels, temperature=0.1)

    assert torch.autograd.gradcheck(loss, (embeddings,))
    (gradient,) = torch.autograd.grad(loss(embeddings), embeddings)
    moved = torch.nn.functional.normalize((embeddings - 0.01 * gradient)[:2].detach())
    before = torch.nn.functional.normalize(embeddings[:2].detach())
    assert moved[0] @ moved[1] > before[0] @ before[1]


def test_supcon_without_a_positive_is_exactly_zero_with_zero_gradients():
    embeddings = torch.randn(4, 3).requires_grad_()

    for reduction in ("outside", "inside"):
        loss = supervised_contrastive(
            embeddings, torch.arange(4), temperature=0.1, reduction=reduction
        )
        (gradient,) = torch.autograd.grad(loss, embeddings)

        assert loss.item() == 0
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_intra_and_supcon_are_opposite_forces_on_a_pair_of_one_class():
    batch, model = drawn(3), network()
    cosines = []
    for name, part in (("intra", IntraLoss(margin="off", cache="off")), ("supcon", SupConLoss())):
        seen = forward(model, batch)
        term = TEACHER_LOSSES[name](part, INPUTS).term(seen)
        (gradient,) = torch.autograd.grad(term.loss, seen.features)
        moved = torch.nn.functional.normalize(seen.features.detach() - 1e-3 * gradient)
        same = (batch.labels[:, None] == batch.labels) & ~torch.eye(SIZE, dtype=torch.bool)
        view1, view2 = moved.chunk(2)
        cosines.append((view1 @ view2.T)[same].mean())

    assert cosines[0] < cosines[1]


def test_batch_mean_is_subtracted_over_both_views_with_its_gradient():
    embedding = Embedding(INPUTS, head="off", centering=BatchMean(kind="batch-mean"))
    features = torch.randn(6, FEATURES, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])

    centred = embedding.center(embedding.project(features), labels)

    torch.testing.assert_close(centred, features - features.mean(0))
    assert torch.autograd.gradcheck(lambda x: embedding.center(x, labels), (features,))


@settings(max_examples=25, deadline=None)
@given(
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    batches=st.lists(st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=6), max_size=5),
)
def test_class_means_run_as_a_loop_over_classes_says(momentum, batches):
    settings_of_mean = ClassMean(kind="class-mean", momentum=momentum)
    embedding = Embedding(INPUTS, head="off", centering=settings_of_mean)
    generator = torch.Generator().manual_seed(len(batches))
    means = [None] * CLASSES
    for labels in batches:
        features = torch.randn(len(labels), FEATURES, generator=generator)
        for label in set(labels):
            own = torch.stack([f for f, y in zip(features, labels, strict=True) if y == label])
            old = means[label]
            means[label] = (
                own.mean(0) if old is None else momentum * old + (1 - momentum) * own.mean(0)
            )
        embedding.remember(features, torch.tensor(labels))

    probe, known = torch.randn(CLASSES, FEATURES), torch.arange(CLASSES)
    expected = torch.stack([p if m is None else p - m for p, m in zip(probe, means, strict=True)])
    torch.testing.assert_close(embedding.center(probe, known), expected)


def test_the_mean_view_filters_by_the_mean_probability_of_both_views():
    model, batch = network(), drawn(2)
    part = TEACHER_LOSSES["intra"](
        IntraLoss.model_validate({"margin": {"threshold": 0.0, "view": "mean"}}), INPUTS
    )
    seen = forward(model, batch)
    probs = model.classifier(seen.features.detach()).softmax(1)
    mean = (probs[:SIZE] + probs[SIZE:]) / 2
    rest = mean.scatter(1, batch.labels[:, None], -1)
    expected = mean.gather(1, batch.labels[:, None])[:, 0] - rest.amax(1)

    shares = dict(zip(part.diagnostics, part.term(seen).diagnostics, strict=True))

    assert shares["margin_over_0"].item() == pytest.approx(100 * (expected > 0).float().mean())


def test_reencoded_negatives_are_what_the_model_makes_of_the_inputs_now():
    model, old, batch = network(), drawn(4), drawn(5)
    setting = IntraLoss(
        margin="off", cache=NegativeCache(per_class=20, warmup_epochs=0, mode="reencode")
    )
    part = TEACHER_LOSSES["intra"](setting, INPUTS)
    part.remember(forward(model, old), SimpleNamespace(keys=None))
    before = [buffer.clone() for buffer in model.buffers()]
    changed = network(seed=1)

    term = part.term(forward(changed, batch, features=torch.randn(2 * SIZE, FEATURES)))
    entries = part._encoded(part.inputs, changed)
    changed.eval()
    features = changed.maps(old.images[SIZE:]).features

    negatives = dict(zip(part.diagnostics, term.diagnostics, strict=True))["negatives"]
    counted = [
        sum(bool(a == b and i != j) for b, j in zip(pool.labels, pool.ids, strict=True))
        for a, i in zip(batch.labels, batch.ids, strict=True)
        for pool in (batch, old)
    ]
    assert negatives.item() == pytest.approx(sum(counted) / SIZE)
    for label, sample, feature in zip(old.labels, old.ids, features, strict=True):
        place = (entries.Q_id[label] == sample).nonzero().item()
        unit = torch.nn.functional.normalize(feature, dim=0)
        torch.testing.assert_close(entries.Q_emb[label, place], unit, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))


def test_encoding_cached_inputs_leaves_batch_norm_alone_and_the_model_in_training_mode():
    model, batch = network(), drawn(4)
    part = made("intra, everything on")
    seen = forward(model, batch)
    part.remember(seen, part.term(seen))
    before = [buffer.clone() for buffer in model.buffers()]

    part.term(forward(model, batch, features=torch.randn(2 * SIZE, FEATURES)))

    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))
