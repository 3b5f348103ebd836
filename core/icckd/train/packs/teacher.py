"""Packs of teachers: what `icckd.train.teacher` trains one by one, all replicas at once.

Shape suffixes: R replicas, V rows of a step (views * batch), B batch, C classes, D features, P
parameters of one replica.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from icckd.study.records import EngineKind
from icckd.study.teacher import Teacher
from icckd.train.contract import TeacherJob
from icckd.train.losses.base import EpochEnd, TeacherLoss
from icckd.train.losses.contrastive import IntraClass
from icckd.train.packs.batches import Feed, PackedBatch
from icckd.train.packs.fit import Member, PackedStep, Part
from icckd.train.packs.intra import PackedIntra
from icckd.train.packs.network import PackedCnn, nll
from icckd.train.packs.stage import Ended, Place, dataset_of, network_of, part_of, train_places
from icckd.train.teacher import build_losses, loss_outcomes, train_stream
from icckd.train.trainer import SMALLEST_NORM, Fit, Trained


def train_teachers(places: Sequence[Place[TeacherJob]], ended: Ended) -> None:
    """Train teachers of one shape; each ends as `icckd.train.stage.train_teacher` would end it.

    What is wrong with the pack as a whole is raised.
    """
    dataset = dataset_of(places)
    parts: dict[int, Part] = {}
    for number, place in enumerate(places):
        settings, key = place.job.teacher, ("teacher", place.job.seed)
        model = network_of(settings.model, dataset, (*key, "init"))
        state = nn.ModuleDict(build_losses(settings, model, dataset, key))
        stream = train_stream(settings, dataset, key)
        parts[number] = part_of(place, settings.training, model, state, stream)

    def trained(number: int, fit: Fit) -> Trained:
        part = parts[number]
        outcomes = fit.outcomes() | loss_outcomes(_losses(part.state), fit)
        return Trained(model=part.model, state=part.state, fit=fit, outcomes=outcomes)

    role = _Teachers({n: place.job.teacher for n, place in enumerate(places)}, parts)
    model_settings = places[0].job.teacher.model
    train_places(role, places, parts, dataset, model_settings, trained=trained, ended=ended)


class _Teachers:
    """What a pack of teachers is made of: their settings and parts, by number."""

    kind: EngineKind = "teacher"

    def __init__(self, settings: Mapping[int, Teacher], parts: Mapping[int, Part]) -> None:
        self._settings, self._parts = settings, parts

    def step(self, net: PackedCnn, numbers: Sequence[int]) -> "PackedTeacherStep":
        losses = [_losses(self._parts[number].state) for number in numbers]
        intra = [cast(IntraClass, each["intra"]) for each in losses if "intra" in each]
        return PackedTeacherStep(net, [self._settings[number] for number in numbers], intra)

    def store(self, step: PackedStep, replica: int, state: nn.Module) -> None:
        for loss in _losses(state).values():
            cast(PackedTeacherStep, step).store(replica, cast(IntraClass, loss))

    def observe(
        self, step: PackedStep, feed: Feed, members: Sequence[Member], epoch: int
    ) -> list[dict[str, float]]:
        found = []
        for part in (member.part for member in members):
            part.model.train()
            end = EpochEnd(model=part.model, stream=part.stream, epoch=epoch)
            each = [loss.observe(end) for loss in _losses(part.state).values()]
            found.append({name: value for values in each for name, value in values.items()})
        return found


def _losses(state: nn.Module) -> Mapping[str, TeacherLoss]:
    return dict(cast(nn.ModuleDict, state).items())  # type: ignore[arg-type]  # losses are modules


class PackedTeacherStep:
    """Finds the gradients of teachers that differ in numbers alone.

    Attributes:
        losses: Names of the loss terms.
        diagnostics: Names of what else each step tells.
    """

    def __init__(
        self, net: PackedCnn, settings: Sequence[Teacher], losses: Sequence[IntraClass]
    ) -> None:
        self._net = net
        self._views_in_ce = settings[0].views_in_ce
        self._smoothing = settings[0].label_smoothing
        flat = net.rows.flat
        self._intra = PackedIntra(losses, flat.dtype, flat.device) if losses else None
        self.losses: tuple[str, ...] = ("ce", "intra") if losses else ("ce",)
        self.diagnostics: tuple[str, ...] = ()
        if self._intra is not None:
            self.diagnostics = ("intra_ratio", *self._intra.diagnostics)

    def store(self, replica: int, loss: IntraClass) -> None:
        """Write what the loss of a replica keeps into one outside a pack."""
        assert self._intra is not None
        self._intra.store(replica, loss)

    def __call__(
        self, batch: PackedBatch, *, step: int, epoch: int
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return the gradients [R, P], the losses and the diagnostics, each of shape (R)."""
        net, rows = self._net, self._net.rows
        features_RVD = net.features(batch.images)
        leaf_RVD = features_RVD.detach().requires_grad_()
        seen_RVD = leaf_RVD[:, : self._views_in_ce * batch.labels.shape[1]]
        logits_RVC = net.logits(seen_RVD)
        optimised_R, ce_R = self._cross_entropy(logits_RVC, batch.labels)
        head = [rows.layers[name] for name in ("classifier.weight", "classifier.bias")]
        total_RVD, *head_gradients = torch.autograd.grad(optimised_R.sum(), [leaf_RVD, *head])
        losses, diagnostics = [ce_R], []
        if self._intra is not None:
            told, pull_RVD = self._pull(leaf_RVD, logits_RVC.detach(), batch, step, epoch)
            ce_norm_R = _norm(total_RVD).clamp_min(SMALLEST_NORM)
            weight_R = self._intra.weights
            losses.append(told[0])
            diagnostics = [weight_R * _norm(pull_RVD) / ce_norm_R, *told[1:]]
            total_RVD = total_RVD + weight_R[:, None, None] * pull_RVD
        body = [layer for name, layer in rows.layers.items() if not name.startswith("classifier.")]
        found = torch.autograd.grad((features_RVD * total_RVD).sum(), body)
        return rows.joined([*found, *head_gradients]), losses, diagnostics

    def _cross_entropy(self, logits_RVC: Tensor, labels_RB: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is optimised, and the plain cross-entropy of view 1, which is logged."""
        labels_RV = labels_RB if self._views_in_ce == 1 else labels_RB.repeat(1, 2)
        log_p_RVC = logits_RVC.log_softmax(2)
        nll_RV = nll(log_p_RVC, labels_RV)
        optimised_R = nll_RV.sum(1) / nll_RV.shape[1]
        ce_R = nll_RV.detach()[:, : labels_RB.shape[1]].contiguous().sum(1) / labels_RB.shape[1]
        if self._smoothing:
            spread_R = -log_p_RVC.sum(2).sum(1) / (log_p_RVC.shape[1] * log_p_RVC.shape[2])
            optimised_R = (1 - self._smoothing) * optimised_R + self._smoothing * spread_R
        return optimised_R, ce_R

    def _pull(
        self, leaf_RVD: Tensor, logits_RVC: Tensor, batch: PackedBatch, step: int, epoch: int
    ) -> tuple[list[Tensor], Tensor]:
        """Return what the intra-class loss tells, itself first, and its gradient.

        The caches are filled.
        """
        assert self._intra is not None
        size = batch.labels.shape[1]
        logits = [logits_RVC[:, :size].contiguous()]
        if self._intra.needs_second_view:
            with torch.no_grad():
                logits.append(self._net.logits(leaf_RVD[:, size:]))
        term = self._intra.term(leaf_RVD, logits, batch, epoch=epoch)
        [gradient_RVD] = torch.autograd.grad(term.loss.sum(), [leaf_RVD])
        self._intra.remember(term, batch, step=step)
        return [term.loss.detach(), *term.diagnostics], gradient_RVD


def _norm(x_RVD: Tensor) -> Tensor:
    norm_R: Tensor = torch.linalg.vector_norm(x_RVD.flatten(1), dim=1)
    return norm_R
