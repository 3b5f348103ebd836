"""Training of a teacher: cross-entropy on view 1, plus the intra-class loss over two views.

Shape suffixes: B batch, V views, D features, C classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from icckd.engine.cache import NegativeCache
from icckd.engine.checkpoint import Checkpoints
from icckd.engine.data.stream import Batch, TrainStream
from icckd.engine.fit import Fit, StepValues, fit
from icckd.engine.groups import ClassGroups, group_by_class
from icckd.engine.losses.intra import IntraTerm, intra_class_contrastive
from icckd.engine.material import Material
from icckd.engine.models import Classifier, build_model
from icckd.engine.protocol import Recorder, TeacherJob
from icckd.spec.teacher import IntraLoss, Teacher

SMALLEST_NORM = 1e-12
"""Least gradient norm that the strength of the intra-class loss is divided by."""


class IntraPart(nn.Module):
    """The intra-class loss with its cache, as a teacher's settings describe it."""

    def __init__(
        self, settings: IntraLoss, *, n_classes: int, n_features: int, device: str
    ) -> None:
        super().__init__()
        self.weight = settings.weight
        self._settings = settings
        self._threshold = None if settings.margin == "off" else settings.margin.threshold
        self._cache: NegativeCache | None = None
        self._warmup_epochs = 0
        if settings.cache != "off" and settings.cache.per_class > 0:
            cache = NegativeCache(n_classes, settings.cache.per_class, n_features)
            self._cache = cache.to(device)
            self._warmup_epochs = settings.cache.warmup_epochs

    @property
    def cache_bytes(self) -> int:
        """Size of the cache's buffers; 0 without a cache."""
        return 0 if self._cache is None else self._cache.nbytes

    def loss(
        self,
        features_VBD: Tensor,
        logits_BC: Tensor,
        ids_B: Tensor,
        groups: ClassGroups,
        *,
        epoch: int,
    ) -> IntraTerm:
        """Return the loss; cached entries are negatives once the warm-up epochs have passed."""
        view1_BD, view2_BD = features_VBD.chunk(2)
        return intra_class_contrastive(
            view1_BD,
            view2_BD,
            logits_BC,
            ids_B,
            groups,
            temperature=self._settings.temperature,
            threshold=self._threshold,
            cache=self._cache if epoch > self._warmup_epochs else None,
        )

    def remember(self, term: IntraTerm, ids_B: Tensor, groups: ClassGroups, *, step: int) -> None:
        """Put view 2 into the cache, after the loss's gradient: that still reads the cache."""
        if self._cache is not None:
            self._cache.push(term.keys, ids_B, step, groups)


class TeacherStep:
    """Sets a teacher's gradients.

    Both losses are differentiated apart, down to the pooled features, so that the strength
    weight * |grad L_intra| / |grad CE| there is known at every step; their weighted sum then goes
    through the network in one backward pass.
    """

    def __init__(self, model: Classifier, intra: IntraPart | None) -> None:
        self._model, self._intra = model, intra
        self._head = list(model.classifier.parameters())
        self.state: nn.Module = nn.Module() if intra is None else intra
        self.losses: tuple[str, ...] = ("ce",) if intra is None else ("ce", "intra")
        self.diagnostics: tuple[str, ...] = (
            () if intra is None else ("intra_ratio", "anchor_share", "negatives")
        )

    def __call__(self, batch: Batch, *, step: int, epoch: int) -> StepValues:
        """Set the gradients of one step."""
        features_VBD = self._model.maps(batch.images).features
        leaf_VBD = features_VBD.detach().requires_grad_()
        logits_BC = self._model.classifier(leaf_VBD[: len(batch.labels)])
        ce = functional.cross_entropy(logits_BC, batch.labels)
        ce_grad_VBD, *head_grads = torch.autograd.grad(ce, [leaf_VBD, *self._head])
        for parameter, gradient in zip(self._head, head_grads, strict=True):
            parameter.grad = gradient
        if self._intra is None:
            _backward(features_VBD, ce_grad_VBD)
            return StepValues(losses=(ce.detach(),))
        groups = group_by_class(batch.labels, logits_BC.shape[1], batch.largest_class)
        term = self._intra.loss(leaf_VBD, logits_BC, batch.ids, groups, epoch=epoch)
        (intra_grad_VBD,) = torch.autograd.grad(term.loss, leaf_VBD)
        self._intra.remember(term, batch.ids, groups, step=step)
        _backward(features_VBD, ce_grad_VBD + self._intra.weight * intra_grad_VBD)
        ce_norm = ce_grad_VBD.norm().clamp_min(SMALLEST_NORM)
        ratio = self._intra.weight * intra_grad_VBD.norm() / ce_norm
        return StepValues(
            losses=(ce.detach(), term.loss.detach()),
            diagnostics=(ratio, term.anchor_share, term.negatives),
        )


def _backward(outputs: Tensor, gradient: Tensor) -> None:
    """Continue the chain rule from `gradient`, the loss's derivative by `outputs`.

    The product's derivative is exactly `gradient`; handing it to torch.autograd.backward instead
    would import a symbolic algebra package, a second and 100 MB of every worker.
    """
    torch.autograd.backward((outputs * gradient).sum())


def fit_teacher(
    job: TeacherJob, material: Material, recorder: Recorder, checkpoints: Checkpoints
) -> tuple[Classifier, dict[str, float]]:
    """Return the trained teacher and the outcomes of its training, without the stage kind.

    Raises:
        NonFiniteError: If a loss or the gradient norm is not finite.
        StagePaused: If the stage was asked to stop.
    """
    settings, key = job.teacher, ("teacher", job.seed)
    model = build_model(
        settings.model,
        in_channels=material.in_channels,
        n_classes=material.n_classes,
        key=(*key, "init"),
        device=material.device,
    )
    stream = TrainStream(
        material.train,
        material.normalise,
        material.augment,
        batch_size=settings.training.batch_size,
        views=settings.views,
        key=key,
    )
    intra = _intra_part(settings, model, material)
    done = fit(
        "teacher",
        model,
        TeacherStep(model, intra),
        stream,
        material=material,
        training=settings.training,
        recorder=recorder,
        checkpoints=checkpoints,
    )
    return model, done.outcomes() | _intra_outcomes(intra, done)


def _intra_part(settings: Teacher, model: Classifier, material: Material) -> IntraPart | None:
    if settings.intra == "off":
        return None
    return IntraPart(
        settings.intra,
        n_classes=material.n_classes,
        n_features=model.classifier.in_features,
        device=material.device,
    )


def _intra_outcomes(intra: IntraPart | None, done: Fit) -> dict[str, float]:
    if intra is None:
        return {"cache_bytes": 0}
    means = {
        name: float(done.terms[name].mean())
        for name in ("intra_ratio", "anchor_share", "negatives")
    }
    return {"cache_bytes": intra.cache_bytes, **means}
