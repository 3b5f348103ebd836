"""The intra-class loss with all that a stage keeps for it: head, centre, cache.

Shape suffixes: B batch, C classes, D features, V views * batch, E embedding.
"""

import torch
from torch import Tensor

from icckd.engine.anchors import margin_of, margin_over
from icckd.engine.cache import Entries, InputCache, NegativeCache
from icckd.engine.losses.base import (
    Forward,
    LossInputs,
    TeacherLoss,
    Term,
    full_precision,
    near_zero,
    precise,
    unit,
)
from icckd.engine.losses.embedding import Embedding
from icckd.engine.losses.intra import intra_class_contrastive
from icckd.engine.models import Classifier
from icckd.spec.teacher import IntraLoss

MARGINS = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Margins at which the share of samples above is logged: a cumulative histogram."""


class IntraPart(TeacherLoss):
    """The intra-class loss as a teacher's settings describe it."""

    diagnostics = (
        "anchor_share",
        "negatives",
        "positive_cosine",
        "negative_cosine",
        "skipped_rows",
        *(f"margin_over_{round(100 * margin)}" for margin in MARGINS),
    )

    _margins: Tensor

    def __init__(self, settings: IntraLoss, inputs: LossInputs) -> None:
        super().__init__()
        self.weight = settings.weight
        self._settings = settings
        self.register_buffer("_margins", torch.tensor(MARGINS), persistent=False)
        self.embedding = Embedding(inputs, head=settings.head, centering=settings.centering)
        self.cache: NegativeCache | None = None
        self.inputs: InputCache | None = None
        self._warmup_epochs = 0
        if settings.cache != "off" and settings.cache.per_class > 0:
            shape = (inputs.n_classes, settings.cache.per_class)
            self._warmup_epochs = settings.cache.warmup_epochs
            if settings.cache.mode == "fifo":
                self.cache = NegativeCache(*shape, self.embedding.size)
            else:
                self.inputs = InputCache(*shape, inputs.image_shape)

    @property
    def cache_bytes(self) -> int:
        """Size of the cache's buffers; 0 without a cache."""
        kept = self.cache or self.inputs
        return 0 if kept is None else sum(buffer.nbytes for buffer in kept.buffers())

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
                settings=self._settings,
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

    @torch.no_grad()
    def remember(self, seen: Forward, term: Term) -> None:
        """Put view 2 into the cache, after the loss's gradient: that still reads the cache."""
        batch, groups = seen.batch, seen.groups
        if self.cache is not None and term.keys is not None:
            self.cache.push(term.keys, batch.ids, seen.step, groups)
        if self.inputs is not None:
            images = batch.images[len(batch.labels) :]
            self.inputs.push(images, batch.ids, seen.step, groups)
        self.embedding.remember(seen.features, batch.labels.repeat(2))

    @torch.no_grad()
    def keys(self, features_VD: Tensor, labels_B: Tensor) -> Tensor:
        """Return the unit embeddings of view 2, as the cache keeps them."""
        with full_precision(features_VD):
            projected_VE = self.embedding.project(features_VD)
            centred_VE = self.embedding.center(projected_VE, labels_B.repeat(2))
            return unit(centred_VE.chunk(2)[1])

    @torch.no_grad()
    def _margin(self, seen: Forward) -> Tensor:
        probs_BC = precise(seen.logits).softmax(dim=1)
        if self._settings.margin != "off" and self._settings.margin.view == "mean":
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

    @torch.no_grad()
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
