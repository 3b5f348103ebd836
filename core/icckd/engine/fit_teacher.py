"""Training of a teacher: cross-entropy, and the losses that its settings switch on.

Shape suffixes: B batch, C classes, D features, V views * batch (view 1 first).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from icckd.engine.arithmetic import PLAIN, Arithmetic
from icckd.engine.checkpoint import Checkpoints
from icckd.engine.data.balanced import balanced_order
from icckd.engine.data.stream import Batch, TrainStream
from icckd.engine.drift import observe_cache
from icckd.engine.fit import Fit, fit
from icckd.engine.groups import group_by_class
from icckd.engine.losses import LOSSES, LossInputs, TeacherLoss
from icckd.engine.losses.base import Forward
from icckd.engine.losses.intra_part import IntraPart
from icckd.engine.material import Material
from icckd.engine.models import Classifier, build_model
from icckd.engine.protocol import Recorder, TeacherJob
from icckd.engine.seeding import Key
from icckd.engine.step import StepValues
from icckd.spec.teacher import Teacher

SMALLEST_NORM = 1e-12
"""Least gradient norm that the strength of a loss is divided by."""


class TeacherStep:
    """Sets a teacher's gradients.

    Cross-entropy and each further loss are differentiated apart, down to the pooled features, so
    that the strength weight * |grad L| / |grad CE| there is known at every step; their weighted sum
    then goes through the network in one backward pass.
    """

    def __init__(
        self,
        model: Classifier,
        losses: Mapping[str, TeacherLoss],
        settings: Teacher,
        arithmetic: Arithmetic = PLAIN,
    ) -> None:
        self._model, self._losses, self._arithmetic = model, losses, arithmetic
        self._forward = arithmetic.forward(model)
        self._views_in_ce, self._smoothing = settings.views_in_ce, settings.label_smoothing
        self._head = list(model.classifier.parameters())
        self.state: nn.Module = nn.ModuleDict(losses)
        self.losses: tuple[str, ...] = ("ce", *losses)
        self.diagnostics: tuple[str, ...] = tuple(
            word for name, loss in losses.items() for word in (f"{name}_ratio", *loss.diagnostics)
        )

    def __call__(self, batch: Batch, *, step: int, epoch: int) -> StepValues:
        """Set the gradients of one step."""
        features_VD = self._forward(batch.images).features
        leaf_VD = features_VD.detach().requires_grad_()
        logits_VC = self._model.classifier(leaf_VD[: self._views_in_ce * len(batch.labels)])
        optimised, ce = self._cross_entropy(logits_VC, batch.labels)
        ce_grad_VD, *head_grads = torch.autograd.grad(optimised, [leaf_VD, *self._head])
        for parameter, gradient in zip(self._head, head_grads, strict=True):
            parameter.grad = self._arithmetic.scaled(gradient)
        if not self._losses:
            self._backward(features_VD, ce_grad_VD)
            return StepValues(losses=(ce,))
        seen = Forward(
            model=self._model,
            features=leaf_VD,
            logits=logits_VC[: len(batch.labels)].detach(),
            batch=batch,
            groups=group_by_class(batch.labels, logits_VC.shape[1], batch.largest_class),
            step=step,
            epoch=epoch,
        )
        return self._with_losses(seen, features_VD, ce_grad_VD, ce)

    def _cross_entropy(self, logits_VC: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is optimised, and the plain cross-entropy of view 1, which is logged."""
        labels_V = labels_B if self._views_in_ce == 1 else labels_B.repeat(2)
        optimised = functional.cross_entropy(logits_VC, labels_V, label_smoothing=self._smoothing)
        if self._views_in_ce == 1 and not self._smoothing:
            return optimised, optimised.detach()
        view1_BC = logits_VC[: len(labels_B)].detach()
        return optimised, functional.cross_entropy(view1_BC, labels_B)

    def _with_losses(
        self, seen: Forward, features_VD: Tensor, ce_grad_VD: Tensor, ce: Tensor
    ) -> StepValues:
        ce_norm = ce_grad_VD.norm().clamp_min(SMALLEST_NORM)
        total_VD, values, diagnostics = ce_grad_VD, [ce], []
        for loss in self._losses.values():
            term = loss.term(seen)
            own = list(loss.parameters())
            gradient_VD, *own_grads = torch.autograd.grad(term.loss, [seen.features, *own])
            for parameter, gradient in zip(own, own_grads, strict=True):
                parameter.grad = self._arithmetic.scaled(loss.weight * gradient)
            loss.remember(seen, term)
            total_VD = total_VD + loss.weight * gradient_VD
            values.append(term.loss.detach())
            diagnostics += [loss.weight * gradient_VD.norm() / ce_norm, *term.diagnostics]
        self._backward(features_VD, total_VD)
        return StepValues(losses=tuple(values), diagnostics=tuple(diagnostics))

    def _backward(self, outputs: Tensor, gradient: Tensor) -> None:
        """Continue the chain rule from `gradient`, the loss's derivative by `outputs`.

        The product's derivative is exactly `gradient`; handing it to torch.autograd.backward
        instead would import a symbolic algebra package, a second and 100 MB of every worker.
        """
        torch.autograd.backward(self._arithmetic.scaled((outputs * gradient).sum()))


def fit_teacher(
    job: TeacherJob, material: Material, recorder: Recorder, checkpoints: Checkpoints
) -> tuple[Classifier, dict[str, float]]:
    """Return the trained teacher and the outcomes of its training, without the stage kind.

    Raises:
        NonFiniteError: If a loss or the gradient norm is not finite.
        StagePaused: If the stage was asked to stop.
        StageError: If the sampler asks for more than the classes hold.
    """
    settings, key = job.teacher, ("teacher", job.seed)
    model = build_model(
        settings.model,
        in_channels=material.in_channels,
        n_classes=material.n_classes,
        key=(*key, "init"),
        device=material.device,
    )
    stream = train_stream(settings, material, key)
    losses = build_losses(settings, model, material, key)
    intra = losses.get("intra")

    def observe(epoch: int) -> dict[str, float]:
        if not isinstance(intra, IntraPart):
            return {}
        return observe_cache(intra, model, stream, epoch, parts=settings.training.accumulate)

    arithmetic = Arithmetic(job.numerics, material.device)
    done = fit(
        "teacher",
        model,
        TeacherStep(model, losses, settings, arithmetic),
        stream,
        material=material,
        training=settings.training,
        recorder=recorder,
        checkpoints=checkpoints,
        observe=observe,
        arithmetic=arithmetic,
    )
    return model, done.outcomes() | _loss_outcomes(losses, done)


def train_stream(settings: Teacher, material: Material, key: Key) -> TrainStream:
    """Return the training batches, in the order that the settings ask for.

    Raises:
        StageError: If the sampler asks for more than the classes hold.
    """
    order = None
    if settings.sampler != "off":
        labels_N = material.train.labels.cpu()
        order = balanced_order(labels_N, settings.sampler, (*key, "sampler"))
    return TrainStream(
        material.train,
        material.normalise,
        material.augment,
        batch_size=settings.training.batch_size,
        views=settings.views,
        key=key,
        order=order,
    )


def build_losses(
    settings: Teacher, model: Classifier, material: Material, key: Key
) -> dict[str, TeacherLoss]:
    """Return the losses that the settings switch on, besides cross-entropy, on the device."""
    _, height, width, channels = material.train.images.shape
    found: dict[str, TeacherLoss] = {}
    for name, build in LOSSES.items():
        part = getattr(settings, name)
        if part != "off":
            inputs = LossInputs(
                n_classes=material.n_classes,
                n_features=model.classifier.in_features,
                image_shape=(channels, height, width),
                key=(*key, name),
            )
            found[name] = build(part, inputs).to(material.device)
    return found


def _loss_outcomes(losses: Mapping[str, TeacherLoss], done: Fit) -> dict[str, float]:
    """Return the step means that are outcomes, and the size of the cache."""
    means = {f"{name}_ratio": float(done.terms[f"{name}_ratio"].mean()) for name in losses}
    intra = losses.get("intra")
    if not isinstance(intra, IntraPart):
        return {"cache_bytes": 0, **means}
    for name in ("anchor_share", "negatives", "positive_cosine", "negative_cosine"):
        means[name] = float(done.terms[name].mean())
    skipped = float(done.terms["skipped_rows"].sum())
    return {"cache_bytes": intra.cache_bytes, "skipped_rows": skipped, **means}
