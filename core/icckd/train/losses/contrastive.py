"""Intra-class contrastive loss of the teacher: settings, margin filter, negative cache, the loss.

docs/method.md defines it.

Shape suffixes: B batch, C classes, D features, E embedding, M places per class, Q cache entries per
class, N = M + Q (in the cache C * Q), V views * batch, K channels, H height, W width.
"""

from collections.abc import Hashable
from math import prod
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from icckd.study.settings import Off, Settings, known_as
from icckd.study.teacher import Diagnostic, LossSettings, teacher_loss
from icckd.study.training import Precision
from icckd.train.data.batch import Batch, parts_of
from icckd.train.lazy import Module, Tensor, no_grad, torch
from icckd.train.losses.base import (
    Centering,
    ClassGroups,
    Embedding,
    EpochEnd,
    Forward,
    LossInputs,
    ProjectionHead,
    TeacherLoss,
    Term,
    any_order,
    full_precision,
    near_zero,
    precise,
    unit,
)
from icckd.train.networks import memory_format
from icckd.train.networks.base import Classifier

if TYPE_CHECKING:
    from icckd.train.data.stream import TrainStream


# The settings.


class MarginFilter(Settings):
    """Only samples whose true-class probability leads by more than `threshold` are anchors."""

    threshold: float = Field(
        default=0.5,
        ge=-2,
        le=1,
        description="softmax margin, -2 keeps all",
        json_schema_extra=known_as(
            "margin threshold",
            "margin value",
            "threshold of the margin",
            "margin",
            "delta",
            unit="1",
            odd=(1.0, "the lead of a probability cannot exceed 1, so no image is an anchor"),
        ),
    )
    view: Literal["first", "mean"] = Field(
        default="first", description="probabilities of view 1, or the mean over both views"
    )


class NegativeCache(Settings):
    """Ring buffer of the past per class, used as extra negatives.

    `fifo` keeps embeddings as they were; `reencode` keeps the inputs and encodes them anew at
    every step.
    """

    per_class: int = Field(
        default=64,
        ge=0,
        le=65_536,
        description="entries per class",
        json_schema_extra=known_as(
            "cache size",
            "size of the cache",
            "number of cached negatives",
            "queue size",
            "memory bank size",
            unit="entries",
        ),
    )
    warmup_epochs: int = Field(default=1, ge=0, description="epochs before entries are used")
    mode: Literal["fifo", "reencode"] = Field(
        default="fifo", description="keep embeddings, or inputs that are encoded at every step"
    )


MARGINS = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Margins at which the share of samples above is logged: a cumulative histogram."""


class IntraLoss(LossSettings):
    """Intra-class contrastive loss of the teacher; see docs/method.md for the definition."""

    title = "the intra-class loss"
    aliases = (
        "intra-class contrastive loss",
        "intra-class contrastive learning",
        "contrastive loss",
        "contrastive learning",
    )
    about = "intra-class contrastive loss, mean over the batch, before its weight"
    views = 2
    diagnostics = (
        Diagnostic(
            name="cache_bytes",
            unit="bytes",
            direction="lower",
            about="exact size of the negative cache's buffers",
            told="stage",
            when_off=0,
        ),
        Diagnostic(
            name="anchor_share",
            unit="%",
            about="share of samples that were anchors, mean over steps",
            outcome="mean",
        ),
        Diagnostic(
            name="negatives",
            unit="1",
            about="negatives per sample, mean over steps",
            outcome="mean",
        ),
        Diagnostic(
            name="positive_cosine",
            unit="1",
            about="cosine of a sample's two views, mean over samples and steps",
            outcome="mean",
        ),
        Diagnostic(
            name="negative_cosine",
            unit="1",
            about="cosine of a sample and its negatives, mean over pairs, then over steps",
            outcome="mean",
        ),
        Diagnostic(
            name="skipped_rows",
            unit="1",
            direction="lower",
            about="rows too short to pull on, over all steps",
            outcome="sum",
        ),
        *(
            Diagnostic(
                name=f"margin_over_{round(100 * margin)}",
                unit="%",
                about=f"share of samples with a margin above {margin:g}",
            )
            for margin in MARGINS
        ),
        Diagnostic(name="cache_fill", unit="%", about="entries of the cache in use", told="epoch"),
        Diagnostic(
            name="cache_age",
            unit="steps",
            about="steps since an entry was stored, mean over entries",
            told="epoch",
        ),
        Diagnostic(
            name="cache_drift",
            unit="1",
            direction="higher",
            about="cosine between a cached entry and its encoding now, oldest and newest batch",
            told="epoch",
        ),
    )

    weight: float = Field(
        default=0.02,
        ge=0,
        description="lambda in CE + lambda * L_intra",
        json_schema_extra=known_as(
            "weight of the intra-class loss",
            "weight of the intra-class contrastive loss",
            "balance parameter",
            "balance hyperparameter",
            "lambda",
            unit="1",
        ),
    )
    temperature: float = Field(
        default=0.1,
        gt=0,
        description="tau of the contrastive scores",
        json_schema_extra=known_as(
            "contrastive temperature",
            "temperature of the contrastive loss",
            "intra-class temperature",
            "tau",
            unit="1",
        ),
    )
    margin: MarginFilter | Off = Field(
        default=MarginFilter(),
        json_schema_extra=known_as(
            "margin filter",
            "margin-based filtering",
            "margin loss",
            "margin-based anchor selection",
            "margin",
        ),
    )
    cache: NegativeCache | Off = Field(
        default=NegativeCache(),
        json_schema_extra=known_as(
            "pipeline cache",
            "pipeline-based caching",
            "negative cache",
            "negative sample cache",
            "cache",
            "memory bank",
            "memory queue",
        ),
    )
    reduction: Literal["batch", "anchors"] = Field(
        default="batch", description="divide the sum by the batch size, or by the anchors"
    )
    normalize: Literal["log-negatives"] | Off = Field(
        default="off", description="divide a sample's loss by log(1 + its negatives)"
    )
    min_negatives: int = Field(default=1, ge=1, description="negatives that an anchor needs")
    negatives_view: Literal["other", "same"] = Field(
        default="other", description="view of the batch's own negatives"
    )
    head: ProjectionHead | Off = "off"
    centering: Centering | Off = "off"

    def cost(self) -> bool | Settings:
        """Return what decides the cost of a step: encoding a cache anew is many times a step's."""
        return self.cache if self.cache != "off" and self.cache.mode == "reencode" else True


# Margin filter: which samples may serve as contrastive anchors.


def margin_of(probs_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Return the true-class probability minus the best other probability.

    Args:
        probs_BC: Class probabilities, float, shape (batch, classes).
        labels_B: Class indices, int64, shape (batch,).

    Returns:
        Margins p_y - max p_k in [-1, 1], shape (batch,). Negative where misclassified.

    >>> margin_of(torch.tensor([[0.9, 0.1], [0.75, 0.25]]), torch.tensor([0, 1]))
    tensor([ 0.8000, -0.5000])
    """
    true_B1 = probs_BC.gather(1, labels_B[:, None])
    is_true_BC = labels_B[:, None] == torch.arange(probs_BC.shape[1], device=labels_B.device)
    others_BC = probs_BC.masked_fill(is_true_BC, -torch.inf)
    return true_B1.squeeze(1) - others_BC.amax(dim=1)


def margin_over(margin_B: Tensor, thresholds_T: Tensor) -> Tensor:
    """Return the share of samples, in percent, whose margin exceeds each threshold.

    >>> margin_over(torch.tensor([-0.5, 0.2, 0.6, 0.8]), torch.tensor([0.0, 0.5]))
    tensor([75., 50.])
    """
    return (margin_B[:, None] > thresholds_T).sum(dim=0) * (100.0 / len(margin_B))


# Negative cache: the last embeddings, or the last inputs, of each class, one ring per class.


class Entries(NamedTuple):
    """Unit embeddings [C, Q, E] with the sample each is of, [C, Q], -1 where empty."""

    Q_emb: Tensor
    Q_id: Tensor


class EmbeddingCache(Module):
    """Rings of detached unit embeddings with the sample and step they came from.

    Buffers: `Q_emb` [C, Q, D] float32, `Q_id` [C, Q] int64 (-1 where empty), `Q_step` [C, Q]
    int64 and `Q_ptr` [C] int64, the next entry to be written. They are all its memory and state.
    """

    Q_emb: Tensor
    Q_id: Tensor
    Q_step: Tensor
    Q_ptr: Tensor

    def __init__(self, n_classes: int, per_class: int, n_features: int) -> None:
        super().__init__()
        shape = (n_classes, per_class)
        self.register_buffer("Q_emb", torch.zeros(*shape, n_features))
        self.register_buffer("Q_id", torch.full(shape, -1))
        self.register_buffer("Q_step", torch.full(shape, -1))
        self.register_buffer("Q_ptr", torch.zeros(n_classes, dtype=torch.int64))

    @property
    def nbytes(self) -> int:
        """Exact size of the buffers in bytes."""
        return sum(buffer.nbytes for buffer in self.buffers())

    def entries(self) -> Entries:
        """Return what is held."""
        return Entries(self.Q_emb, self.Q_id)

    @no_grad
    def push(self, keys_BD: Tensor, ids_B: Tensor, step: int | Tensor, groups: ClassGroups) -> None:
        """Append a batch, row by row, each to the ring of its class.

        A class with more rows than its ring holds keeps the last ones: the rows that would be
        overwritten write their successor's values, so that equal targets carry equal values.

        Args:
            keys_BD: Embeddings, float, shape (batch, features).
            ids_B: Sample indices, int64, shape (batch,).
            step: Optimiser step of the batch, a number or a scalar int64.
            groups: The batch's layout by class.
        """
        per_class = self.Q_id.shape[1]
        labels_B, rank_B = groups.labels, groups.rank
        later_B = (groups.counts[labels_B] - 1 - rank_B) // per_class * per_class
        source_B = groups.rows()[labels_B, rank_B + later_B]
        target_B = labels_B * per_class + (self.Q_ptr[labels_B] + rank_B) % per_class
        fresh_BD = keys_BD[source_B].to(self.Q_emb.dtype)
        with any_order():
            self.Q_emb.flatten(0, 1).index_copy_(0, target_B, fresh_BD)
            self.Q_id.flatten().index_copy_(0, target_B, ids_B[source_B])
        if isinstance(step, int):
            self.Q_step.flatten().index_fill_(0, target_B, step)
        else:
            with any_order():
                self.Q_step.flatten().index_copy_(0, target_B, step.expand_as(target_B))
        self.Q_ptr.add_(groups.counts).remainder_(per_class)


class InputCache(Module):
    """Rings of inputs instead of embeddings; whoever uses them encodes them first.

    `ring` is a `EmbeddingCache` whose embeddings are flattened float32 images.
    """

    def __init__(
        self,
        n_classes: int,
        per_class: int,
        image_shape: tuple[int, int, int],
        precision: Precision = "fp32",
    ) -> None:
        super().__init__()
        self._precision = precision
        self._image_shape = image_shape
        self.ring = EmbeddingCache(n_classes, per_class, prod(image_shape))

    def push(
        self, images_BKHW: Tensor, ids_B: Tensor, step: int | Tensor, groups: ClassGroups
    ) -> None:
        """Append a batch of normalised images, each to the ring of its class."""
        self.ring.push(images_BKHW.flatten(1), ids_B, step, groups)

    def images(self) -> Tensor:
        """Return every entry as an image, shape (N, K, H, W); empty ones are black."""
        flat_NX = self.ring.Q_emb.flatten(0, 1)
        layout = memory_format(flat_NX.device.type, self._precision)
        return flat_NX.view(-1, *self._image_shape).contiguous(memory_format=layout)


# Intra-class contrastive loss: a sample against others of its own class.
#
# The positive of a sample is its other view; its negatives are the batch's samples of the same
# class and, where there is a cache, past ones of that class. The same within-class term is
# `l_spread` of Chen et al. 2022 (arXiv 2204.07596). It is a documented definition consistent with
# arXiv 2509.22053, not the authors' implementation.


class IntraTerm(NamedTuple):
    """The loss in nats and what it saw, all on the device.

    `anchor_share` is the share of samples that were anchors, in percent; `negatives` the mean
    number of negatives of a sample; the cosines are means over samples, and over all pairs of a
    sample and its negative (0 without a pair); `keys` are the detached unit embeddings of view 2.
    """

    loss: Tensor
    anchor_share: Tensor
    negatives: Tensor
    positive_cosine: Tensor
    negative_cosine: Tensor
    keys: Tensor


class Scores(NamedTuple):
    """Scores of places against their class, which are negatives, and each place's positive."""

    values: Tensor
    is_negative: Tensor
    positive: Tensor


def intra_class_contrastive(
    view1_BD: Tensor,
    view2_BD: Tensor,
    margin_B: Tensor,
    ids_B: Tensor,
    groups: ClassGroups,
    *,
    settings: IntraLoss,
    cache: Entries | None,
) -> IntraTerm:
    """Return the loss over the anchors, divided by the batch size or by their number.

    A sample is an anchor if its margin exceeds the threshold and it has enough negatives. Without
    anchors the loss is exactly 0 and its gradients are zeros. Computed in float32 at least, also
    under autocast.

    Args:
        view1_BD: Embeddings of view 1, the side of the anchors, float, shape (batch, features).
        view2_BD: Embeddings of view 2, float, shape (batch, features).
        margin_B: Lead of the true class, shape (batch,), without gradient.
        ids_B: Sample indices from 0, int64, shape (batch,): a sample is not a negative of itself.
        groups: The batch's layout by class.
        settings: Temperature, filter, reduction, negatives; the cache's are not looked at.
        cache: Further negatives, or None. No gradient flows into them.
    """
    with full_precision(view1_BD):
        z_BD, keys_BD = unit(precise(view1_BD)), unit(precise(view2_BD))
        scores = _scores(z_BD, keys_BD, ids_B, groups, settings, cache)
        count_CM = scores.is_negative.sum(dim=2)
        anchor_CM = count_CM >= settings.min_negatives
        if settings.margin != "off":
            passed_B = margin_B > settings.margin.threshold
            anchor_CM = anchor_CM & groups.spread(passed_B, fill=False)
        return _term(scores, count_CM, anchor_CM, keys_BD.detach(), settings)


def _scores(
    z_BD: Tensor,
    keys_BD: Tensor,
    ids_B: Tensor,
    groups: ClassGroups,
    settings: IntraLoss,
    cache: Entries | None,
) -> Scores:
    """Return the scores; what is neither negative nor positive is -inf.

    The first M candidates are the batch's own, the positive on the diagonal. Empty places hold zero
    vectors and the sample index -1; they have no negatives and are not negatives.
    """
    rows_CMX = groups.spread(torch.cat([z_BD / settings.temperature, keys_BD], dim=1), fill=0)
    z_CMD, keys_CMD = rows_CMX.chunk(2, dim=2)
    id_CM = groups.spread(ids_B, fill=-1)
    key_id_CN = id_CM
    scores_CMN = z_CMD @ keys_CMD.mT
    positive_CM = scores_CMN.diagonal(dim1=1, dim2=2)
    if settings.negatives_view == "same":
        same_CMM = z_CMD @ groups.spread(z_BD, fill=0).mT
        scores_CMN = torch.where(_own(same_CMM), scores_CMN, same_CMM)
    if cache is not None:
        cached_CQD = cache.Q_emb.to(z_CMD.dtype)
        scores_CMN = torch.cat([scores_CMN, z_CMD @ cached_CQD.mT], dim=2)
        key_id_CN = torch.cat([id_CM, cache.Q_id], dim=1)
    filled_CMN = (id_CM >= 0)[:, :, None] & (key_id_CN >= 0)[:, None, :]
    negative_CMN = filled_CMN & (id_CM[:, :, None] != key_id_CN[:, None, :])
    scores_CMN = torch.where(negative_CMN | _own(scores_CMN), scores_CMN, -torch.inf)
    return Scores(scores_CMN, negative_CMN, positive_CM)


def _own(scores_CMN: Tensor) -> Tensor:
    """Return where a place meets itself, shape (M, N)."""
    return torch.eye(*scores_CMN.shape[1:], dtype=torch.bool, device=scores_CMN.device)


def _term(
    scores: Scores, count_CM: Tensor, anchor_CM: Tensor, keys_BD: Tensor, settings: IntraLoss
) -> IntraTerm:
    batch = len(keys_BD)
    loss_CM = scores.values.logsumexp(dim=2) - scores.positive
    if settings.normalize == "log-negatives":
        loss_CM = loss_CM / count_CM.clamp_min(1).to(loss_CM.dtype).log1p()
    anchors, pairs = anchor_CM.sum(), count_CM.sum()
    terms = batch if settings.reduction == "batch" else anchors.clamp_min(1)
    positive, negative = mean_scores(scores, batch, pairs)
    return IntraTerm(
        loss=torch.where(anchor_CM, loss_CM, 0.0).sum() / terms,
        anchor_share=anchors * (100.0 / batch),
        negatives=pairs / batch,
        positive_cosine=positive * settings.temperature,
        negative_cosine=negative * settings.temperature,
        keys=keys_BD,
    )


@no_grad
def mean_scores(scores: Scores, batch: int, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean score of a positive and of a negative, a diagnostic."""
    negative_sum = torch.where(scores.is_negative, scores.values, 0.0).sum()
    return scores.positive.sum() / batch, negative_sum / pairs.clamp_min(1)


# The intra-class loss with all that a stage keeps for it: head, centre, cache.


@teacher_loss("intra", IntraLoss, order=1)
class IntraClass(TeacherLoss):
    """The intra-class loss as a teacher's settings describe it."""

    _margins: Tensor

    def __init__(self, settings: IntraLoss, inputs: LossInputs) -> None:
        super().__init__(settings)
        self.settings = settings
        self.register_buffer("_margins", torch.tensor(MARGINS), persistent=False)
        self.embedding = Embedding(inputs, head=settings.head, centering=settings.centering)
        self.cache: EmbeddingCache | None = None
        self.inputs: InputCache | None = None
        self._warmup_epochs = 0
        if settings.cache != "off" and settings.cache.per_class > 0:
            shape = (inputs.n_classes, settings.cache.per_class)
            self._warmup_epochs = settings.cache.warmup_epochs
            if settings.cache.mode == "fifo":
                self.cache = EmbeddingCache(*shape, self.embedding.size)
            else:
                self.inputs = InputCache(*shape, inputs.image_shape, inputs.precision)

    @property
    def cache_bytes(self) -> int:
        """Size of the cache's buffers; 0 without a cache."""
        kept = self.cache or self.inputs
        return 0 if kept is None else sum(buffer.nbytes for buffer in kept.buffers())

    def variant(self, epoch: int) -> Hashable:
        """Return whether cached entries are negatives."""
        return epoch > self._warmup_epochs

    def outcomes(self) -> dict[str, float]:
        """Return the size of the cache."""
        return {"cache_bytes": self.cache_bytes}

    def observe(self, end: EpochEnd) -> dict[str, float]:
        """Return fill, age and drift of the cache at the end of an epoch."""
        return observe_cache(self, end.model, end.stream, end.epoch, parts=end.parts)

    def term(self, seen: Forward) -> Term:
        """Return the loss; cached entries are negatives once the warm-up epochs have passed."""
        labels_V = seen.batch.labels.repeat(2)
        with full_precision(seen.features):
            projected_VE = self.embedding.project(seen.features)
            centred_VE = self.embedding.center(projected_VE, labels_V)
            view1_BE, view2_BE = centred_VE.chunk(2)
            margin_B = self._margin(seen)
            term = intra_class_contrastive(
                view1_BE,
                view2_BE,
                margin_B,
                seen.batch.ids,
                seen.groups,
                settings=self.settings,
                cache=self._entries(seen),
            )
            shares = margin_over(margin_B, self._margins)
            skipped = near_zero(centred_VE.detach())
        seen_by_loss = (term.anchor_share, term.negatives, term.positive_cosine)
        return Term(
            loss=term.loss,
            diagnostics=(*seen_by_loss, term.negative_cosine, skipped, *shares.unbind()),
            keys=term.keys,
        )

    @no_grad
    def remember(self, seen: Forward, term: Term) -> None:
        """Put view 2 into the cache, after the loss's gradient: that still reads the cache."""
        batch, groups = seen.batch, seen.groups
        if self.cache is not None and term.keys is not None:
            self.cache.push(term.keys, batch.ids, seen.step, groups)
        if self.inputs is not None:
            images = batch.images[len(batch.labels) :]
            self.inputs.push(images, batch.ids, seen.step, groups)
        self.embedding.remember(seen.features, batch.labels.repeat(2))

    @no_grad
    def keys(self, features_VD: Tensor, labels_B: Tensor) -> Tensor:
        """Return the unit embeddings of view 2, as the cache keeps them."""
        with full_precision(features_VD):
            projected_VE = self.embedding.project(features_VD)
            centred_VE = self.embedding.center(projected_VE, labels_B.repeat(2))
            return unit(centred_VE.chunk(2)[1])

    @no_grad
    def _margin(self, seen: Forward) -> Tensor:
        probs_BC = precise(seen.logits).softmax(dim=1)
        if self.settings.margin != "off" and self.settings.margin.view == "mean":
            second_BD = precise(seen.features[len(seen.batch.labels) :])
            second_BC = seen.model.classifier(second_BD)
            probs_BC = (probs_BC + second_BC.softmax(dim=1)) / 2
        return margin_of(probs_BC, seen.batch.labels)

    def _entries(self, seen: Forward) -> Entries | None:
        if seen.epoch <= self._warmup_epochs:
            return None
        if self.cache is not None:
            return self.cache.entries()
        return None if self.inputs is None else self._encoded(self.inputs, seen.model)

    @no_grad
    def _encoded(self, inputs: InputCache, model: Classifier) -> Entries:
        """Return what is held, encoded by the model as it is.

        In evaluation mode: a batch of cached inputs must not move the running statistics of batch
        norm, nor be normalised by its own.
        """
        was_training = model.training
        model.eval()
        classes, per_class = inputs.ring.Q_id.shape
        features_ND = model.maps(inputs.images()).features
        model.train(was_training)
        labels_N = torch.arange(classes, device=features_ND.device).repeat_interleave(per_class)
        projected_NE = self.embedding.project(features_ND)
        keys_NE = unit(self.embedding.center(projected_NE, labels_N))
        return Entries(keys_NE.view(classes, per_class, -1), inputs.ring.Q_id)


# How full, how old and how stale the cache is.


@no_grad
def observe_cache(
    intra: IntraClass, model: Classifier, stream: "TrainStream", epoch: int, *, parts: int = 1
) -> dict[str, float]:
    """Return fill, age and drift of the cache at the end of an epoch, counted from 1.

    Fill is in percent of the entries; age the mean over entries of the steps until the next one,
    so that the last batch's has age 1. Drift is the mean cosine between entries and their encoding
    by the model as it is now. The fixed probe are the batches that the oldest and the newest entry
    came from: they are drawn again from their streams and go through the network in training mode
    as they did, in the same `parts` of a batch, so that nothing but the weights differs (in half
    precision also the rounding: the probe is in fp32). Inputs that are encoded at every step do not
    drift. Nothing is changed.
    """
    kept = intra.cache or (None if intra.inputs is None else intra.inputs.ring)
    if kept is None:
        return {}
    filled_CQ = kept.Q_id >= 0
    steps_E = kept.Q_step[filled_CQ]
    now = epoch * stream.steps
    values = {
        "cache_fill": 100 * float(filled_CQ.double().mean()),
        "cache_age": float((now - steps_E).double().mean()),
    }
    if intra.cache is not None:
        cosines = []
        for step in sorted({int(steps_E.min()), int(steps_E.max())}):
            batch = stream.batch(step // stream.steps + 1, step % stream.steps)
            keys_BE = _keys(intra, model, batch, parts)
            cosines.append(_cosines(intra.cache, step, batch.ids, keys_BE))
        values["cache_drift"] = float(torch.cat(cosines).double().mean())
    return values


def _keys(intra: IntraClass, model: Classifier, batch: Batch, parts: int) -> Tensor:
    """Return what the cache would hold of a batch if it came now."""
    keys = [
        intra.keys(_features_as_in_training(model, part.images), part.labels)
        for part in parts_of(batch, parts)
    ]
    return torch.cat(keys)


def _cosines(cache: EmbeddingCache, step: int, ids_B: Tensor, keys_BE: Tensor) -> Tensor:
    """Return the cosine of each entry of a step with its encoding now."""
    held_CQ = cache.Q_step == step
    row_E = (ids_B == cache.Q_id[held_CQ][:, None]).int().argmax(dim=1)
    return torch.cosine_similarity(cache.Q_emb[held_CQ], keys_BE[row_E])


def _features_as_in_training(model: Classifier, images: Tensor) -> Tensor:
    """Return pooled features in training mode, in fp32; the model's buffers stay as they are."""
    was_training = model.training
    before = [buffer.clone() for buffer in model.buffers()]
    model.train()
    features = model.maps(images).features
    for buffer, value in zip(model.buffers(), before, strict=True):
        buffer.copy_(value)
    model.train(was_training)
    return features
