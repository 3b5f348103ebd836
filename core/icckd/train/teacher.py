"""Training of a teacher: cross-entropy, and the losses that its settings switch on.

Shape suffixes: B batch, C classes, D features, V views * batch (view 1 first).
"""

from collections.abc import Hashable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from icckd.study.teacher import TEACHER_LOSSES, Teacher
from icckd.train.checkpoint import Checkpoints
from icckd.train.contract import Recorder, TeacherJob
from icckd.train.data.batch import Batch
from icckd.train.data.dataset import Dataset
from icckd.train.data.stream import TrainStream, balanced_order
from icckd.train.losses.base import EpochEnd, Forward, LossInputs, TeacherLoss, group_by_class
from icckd.train.networks import build_model
from icckd.train.networks.base import Classifier
from icckd.train.precision import PLAIN, Arithmetic
from icckd.train.seeding import Key
from icckd.train.trainer import SMALLEST_NORM, Fit, StageMemory, StepValues, Trained, fit


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

    def variant(self, epoch: int) -> Hashable:
        """Return what of a step the epoch decides, besides values."""
        return tuple(loss.variant(epoch) for loss in self._losses.values())

    def __call__(self, batch: Batch, *, step: int | Tensor, epoch: int) -> StepValues:
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
    job: TeacherJob,
    dataset: Dataset,
    recorder: Recorder,
    checkpoints: Checkpoints,
    memory: StageMemory,
) -> Trained:
    """Return the trained teacher.

    Raises:
        NonFiniteError: If a loss or the gradient norm is not finite.
        StagePaused: If the stage was asked to stop.
        StageError: If the sampler asks for more than the classes hold.
    """
    settings, key = job.teacher, ("teacher", job.seed)
    model = build_model(
        settings.model,
        in_channels=dataset.in_channels,
        n_classes=dataset.n_classes,
        key=(*key, "init"),
        device=dataset.device,
        precision=dataset.precision,
    )
    stream = train_stream(settings, dataset, key)
    losses = build_losses(settings, model, dataset, key)

    def observe(epoch: int) -> dict[str, float]:
        end = EpochEnd(model=model, stream=stream, epoch=epoch, parts=settings.training.accumulate)
        return {name: v for loss in losses.values() for name, v in loss.observe(end).items()}

    arithmetic = Arithmetic(job.numerics, dataset.device)
    step = TeacherStep(model, losses, settings, arithmetic)
    done = fit(
        "teacher",
        model,
        step,
        stream,
        dataset=dataset,
        training=settings.training,
        recorder=recorder,
        checkpoints=checkpoints,
        memory=memory,
        observe=observe,
        arithmetic=arithmetic,
    )
    outcomes = done.outcomes() | loss_outcomes(losses, done)
    return Trained(model=model, state=step.state, fit=done, outcomes=outcomes)


def train_stream(settings: Teacher, dataset: Dataset, key: Key) -> TrainStream:
    """Return the training batches, in the order that the settings ask for.

    Raises:
        StageError: If the sampler asks for more than the classes hold.
    """
    order = None
    if settings.sampler != "off":
        order = balanced_order(dataset.host_labels, settings.sampler, (*key, "sampler"))
    return TrainStream(
        dataset.train,
        dataset.normalise,
        dataset.augment,
        batch_size=settings.training.batch_size,
        views=settings.views,
        key=key,
        order=order,
        host_labels=dataset.host_labels,
    )


def build_losses(
    settings: Teacher, model: Classifier, dataset: Dataset, key: Key
) -> dict[str, TeacherLoss]:
    """Return the losses that the settings switch on, besides cross-entropy, on the device."""
    _, height, width, channels = dataset.train.images.shape
    made: dict[str, TeacherLoss] = {}
    for name, loss in settings.losses().items():
        inputs = LossInputs(
            n_classes=dataset.n_classes,
            n_features=model.classifier.in_features,
            image_shape=(channels, height, width),
            key=(*key, name),
            precision=dataset.precision,
        )
        made[name] = TEACHER_LOSSES[name](loss, inputs).to(dataset.device)
    return made


def loss_outcomes(losses: Mapping[str, TeacherLoss], done: Fit) -> dict[str, float]:
    """Return the outcomes that the losses declare, also of those that are off."""
    values: dict[str, float] = {}
    for part in TEACHER_LOSSES.parts():
        name, loss = part.kind, losses.get(part.kind)
        if loss is None:
            absent = {d.name: d.when_off for d in part.settings.diagnostics}
            values |= {name: value for name, value in absent.items() if value is not None}
            continue
        values |= {f"{name}_ratio": float(done.terms[f"{name}_ratio"].mean()), **loss.outcomes()}
        for told in part.settings.told("step"):
            if told.outcome is not None:
                steps = done.terms[told.name]
                values[told.name] = float(steps.mean() if told.outcome == "mean" else steps.sum())
    return values
