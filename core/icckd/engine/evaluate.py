"""What a trained model shows on fixed images, without augmentation.

Shape suffixes: B batch, N evaluated images, R reference images, C classes, D features, k
neighbours.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from icckd.engine.data.splits import Split
from icckd.engine.data.stream import Normaliser
from icckd.engine.models import Classifier

IMAGES_AT_ONCE = 256
NEIGHBOURS = 5
SOFT_TEMPERATURE = 4.0

Similarity = Callable[[Tensor, Tensor], Tensor]


class Seen(NamedTuple):
    """Features [N, D] and logits [N, C] of all images of a split."""

    features: Tensor
    logits: Tensor


@torch.no_grad()
def predict(model: Classifier, split: Split, normalise: Normaliser) -> Seen:
    """Return features and logits of all images, in evaluation mode; the mode is put back."""
    was_training = model.training
    model.eval()
    features, logits = [], []
    for images in split.chunks(IMAGES_AT_ONCE):
        output = model.outputs(normalise(images))
        features.append(output.features)
        logits.append(output.logits)
    model.train(was_training)
    return Seen(torch.cat(features), torch.cat(logits))


def top1(logits_NC: Tensor, labels_N: Tensor) -> float:
    """Return the accuracy in percent."""
    return 100.0 * (logits_NC.argmax(dim=1) == labels_N).double().mean().item()


def cosine(a_ND: Tensor, b_RD: Tensor) -> Tensor:
    """Return the cosine of all pairs, shape (a, b)."""
    normalise = torch.nn.functional.normalize
    return normalise(a_ND, dim=1) @ normalise(b_RD, dim=1).T


def nearness(a_ND: Tensor, b_RD: Tensor) -> Tensor:
    """Return the negative Euclidean distance of all pairs, shape (a, b)."""
    return -torch.cdist(a_ND, b_RD, compute_mode="donot_use_mm_for_euclid_dist")


def soft_probabilities(logits_NC: Tensor) -> Tensor:
    """Return probabilities at T = 4, what a student by distillation sees."""
    return (logits_NC / SOFT_TEMPERATURE).softmax(dim=1)


def subclass_accuracy(
    test_ND: Tensor, test: Split, train_RD: Tensor, train: Split, similarity: Similarity
) -> float:
    """Return the sub-class accuracy of nearest neighbours within the label, in percent.

    Each test image takes the majority sub-class of the 5 most similar training images of its own
    label, or of all of them where there are fewer; among tied sub-classes the nearest
    neighbour's wins.

    Args:
        test_ND: What the test images are compared by, float, shape (test images, features).
        test: The test images' labels and sub-classes.
        train_RD: The same of the training images.
        train: The training images' labels and sub-classes.
        similarity: Gives the similarity of all pairs.
    """
    assert test.subclasses is not None
    assert train.subclasses is not None
    right = test_ND.new_zeros((), dtype=torch.float64)
    chunks = zip(
        torch.split(test_ND, IMAGES_AT_ONCE),
        torch.split(test.labels, IMAGES_AT_ONCE),
        torch.split(test.subclasses, IMAGES_AT_ONCE),
        strict=True,
    )
    for rows_BD, labels_B, subclasses_B in chunks:
        other_BR = labels_B[:, None] != train.labels
        score_BR = similarity(rows_BD, train_RD).masked_fill(other_BR, -torch.inf)
        nearest = score_BR.topk(min(NEIGHBOURS, score_BR.shape[1]), dim=1)
        vote_Bk = train.subclasses[nearest.indices]
        right += (_majority(vote_Bk, nearest.values.isfinite()) == subclasses_B).sum()
    return 100.0 * right.item() / len(test_ND)


def _majority(vote_Bk: Tensor, counts_Bk: Tensor) -> Tensor:
    """Return the most frequent vote of each row; ties go to the first of the tied.

    Args:
        vote_Bk: Votes in order of nearness.
        counts_Bk: Which votes count; those that do come first.
    """
    same_Bkk = (vote_Bk[:, :, None] == vote_Bk[:, None, :]) & counts_Bk[:, None, :]
    first_Bk = torch.arange(vote_Bk.shape[1], 0, -1, device=vote_Bk.device)
    rank_Bk = same_Bkk.sum(dim=2) * (vote_Bk.shape[1] + 1) + first_Bk
    winner_B1 = rank_Bk.masked_fill(~counts_Bk, -1).argmax(dim=1, keepdim=True)
    return vote_Bk.gather(1, winner_B1).squeeze(1)
