"""How full, how old and how stale a negative cache is.

Shape suffixes: B batch, C classes, Q entries per class, E embedding.
"""

import torch
from torch import Tensor

from icckd.engine.cache import NegativeCache
from icckd.engine.data.stream import Batch, TrainStream
from icckd.engine.losses.intra_part import IntraPart
from icckd.engine.models import Classifier
from icckd.engine.update import parts_of


@torch.no_grad()
def observe_cache(
    intra: IntraPart, model: Classifier, stream: TrainStream, epoch: int, *, parts: int = 1
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


def _keys(intra: IntraPart, model: Classifier, batch: Batch, parts: int) -> Tensor:
    """Return what the cache would hold of a batch if it came now."""
    keys = [
        intra.keys(_features_as_in_training(model, part.images), part.labels)
        for part in parts_of(batch, parts)
    ]
    return torch.cat(keys)


def _cosines(cache: NegativeCache, step: int, ids_B: Tensor, keys_BE: Tensor) -> Tensor:
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
