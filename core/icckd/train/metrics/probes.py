"""Probes: how much a representation says about a label level that training did not use.

Shape suffixes: B batch, N evaluated images, R reference images, D features, T targets, k
neighbours.
"""

from collections.abc import Callable

from icckd.study.metrics import metric
from icckd.train.data.splits import Split
from icckd.train.lazy import Tensor, torch
from icckd.train.metrics.base import IMAGES_AT_ONCE, Evaluation, Seen, soft_probabilities

NEIGHBOURS = 5
RIDGE = 1e-2
"""Penalty of the linear probe for each training image, on features of deviation 1."""

Similarity = Callable[[Tensor, Tensor], Tensor]


def cosine(a_ND: Tensor, b_RD: Tensor) -> Tensor:
    """Return the cosine of all pairs, shape (a, b)."""
    normalise = torch.nn.functional.normalize
    return normalise(a_ND, dim=1) @ normalise(b_RD, dim=1).T


def nearness(a_ND: Tensor, b_RD: Tensor) -> Tensor:
    """Return the negative Euclidean distance of all pairs, shape (a, b)."""
    return -torch.cdist(a_ND, b_RD, compute_mode="donot_use_mm_for_euclid_dist")


def subclass_accuracy(
    test_ND: Tensor, test: Split, train_RD: Tensor, train: Split, similarity: Similarity
) -> float:
    """Return the sub-class accuracy of nearest neighbours within the label, in percent.

    Each test image takes the majority sub-class of the 5 most similar training images of its own
    label, or of all of them where there are fewer; among tied sub-classes the nearest
    neighbour's wins. An image is not a neighbour of itself: where `test` is `train`, each image is
    left out in its turn.

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
    rows_N = torch.arange(len(test_ND), device=test_ND.device)
    reference_R = torch.arange(len(train_RD), device=test_ND.device)
    of_label = _rows_by_label(train.labels)
    for rows_B in torch.split(rows_N, IMAGES_AT_ONCE):
        score_BR = test_ND.new_full((len(rows_B), len(train_RD)), -torch.inf)
        for label, own_B in _rows_by_label(test.labels[rows_B]).items():
            own_R = of_label.get(label, reference_R[:0])
            score_BR[own_B[:, None], own_R] = similarity(test_ND[rows_B[own_B]], train_RD[own_R])
        if test is train:
            score_BR.masked_fill_(rows_B[:, None] == reference_R, -torch.inf)
        nearest = score_BR.topk(min(NEIGHBOURS, score_BR.shape[1]), dim=1)
        counts_Bk = nearest.values.isfinite()
        winner_B = _majority(train.subclasses[nearest.indices], counts_Bk)
        right += ((winner_B == test.subclasses[rows_B]) & counts_Bk.any(dim=1)).sum()
    return 100.0 * right.item() / len(test_ND)


def _rows_by_label(labels_N: Tensor) -> dict[int, Tensor]:
    """Return the rows of each label that occurs, ascending."""
    parts = torch.split(labels_N.argsort(stable=True), torch.bincount(labels_N).tolist())
    return {label: part for label, part in enumerate(parts) if len(part)}


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


def linear_scores(test_ND: Tensor, train_RD: Tensor, target_R: Tensor) -> Tensor:
    """Return a ridge regression's scores of each target, float64, shape (test images, targets).

    Hoerl and Kennard 1970: features are centred and divided by their deviation over the training
    images; the weights minimise the squared distance to the targets' indicators plus
    `RIDGE` * (training images) times the squared weights; the intercept is not penalised.

    Args:
        test_ND: Features of the test images.
        train_RD: Features of the training images.
        target_R: Targets of the training images, int64, from 0.
    """
    train_RD, test_ND = train_RD.double(), test_ND.double()
    mean_D, std_D = train_RD.mean(dim=0), train_RD.std(dim=0, unbiased=False)
    scale_D = torch.where(std_D > 0, std_D, 1.0)
    x_RD, x_ND = (train_RD - mean_D) / scale_D, (test_ND - mean_D) / scale_D
    known_T = torch.arange(int(target_R.max()) + 1, device=target_R.device)
    y_RT = (target_R[:, None] == known_T).double()
    share_T = y_RT.mean(dim=0)
    n, features = x_RD.shape
    penalty_DD = RIDGE * n * torch.eye(features, dtype=torch.float64, device=x_RD.device)
    weights_DT = torch.linalg.solve(x_RD.T @ x_RD + penalty_DD, x_RD.T @ (y_RT - share_T))
    scores_NT: Tensor = x_ND @ weights_DT + share_T
    return scores_NT


def linear_subclass_accuracy(test_ND: Tensor, test: Split, train_RD: Tensor, train: Split) -> float:
    """Return the sub-class accuracy of linear probes that know the label, in percent.

    Each label has a ridge regression of its own, of its training images on the indicators of their
    sub-classes: soft labels have as many directions as there are classes, and what tells the
    sub-classes of one label apart need not tell those of another. A label that no training image
    has is never right.
    """
    assert test.subclasses is not None
    assert train.subclasses is not None
    right_N = torch.zeros_like(test.labels, dtype=torch.bool)
    for label in _present(train.labels):
        own_N, own_R = test.labels == label, train.labels == label
        subclasses_R = train.subclasses[own_R]
        known_T = _present(subclasses_R)
        target_R = torch.searchsorted(known_T, subclasses_R)
        scores_NT = linear_scores(test_ND[own_N], train_RD[own_R], target_R)
        right_N[own_N] = known_T[scores_NT.argmax(dim=1)] == test.subclasses[own_N]
    return _percent(right_N)


def _present(values_N: Tensor) -> Tensor:
    """Return the values that occur, ascending."""
    return torch.bincount(values_N).nonzero().squeeze(1)


def linear_superclass_accuracy(
    test_ND: Tensor, test: Split, train_RD: Tensor, train: Split
) -> float:
    """Return the super-class accuracy of a linear probe, in percent."""
    assert test.superclasses is not None
    assert train.superclasses is not None
    scores_NT = linear_scores(test_ND, train_RD, train.superclasses)
    return _percent(scores_NT.argmax(dim=1) == test.superclasses)


def _percent(right_N: Tensor) -> float:
    return 100.0 * right_N.double().mean().item()


Probe = Callable[[Tensor, Split, Tensor, Split], float]
Representation = Callable[[Seen], Tensor]


def features_of(seen: Seen) -> Tensor:
    """Return the pooled features."""
    return seen.features


def soft_labels_of(seen: Seen) -> Tensor:
    """Return the probabilities at T = 4."""
    return soft_probabilities(seen.logits)


def _probed(evaluation: Evaluation, shown: Representation, probe: Probe) -> float:
    known = evaluation.reference
    return probe(shown(evaluation.seen), evaluation.split, shown(known.seen), known.split)


def _neighbours(evaluation: Evaluation, shown: Representation, similarity: Similarity) -> float:
    def probe(test_ND: Tensor, test: Split, train_RD: Tensor, train: Split) -> float:
        return subclass_accuracy(test_ND, test, train_RD, train, similarity)

    return _probed(evaluation, shown, probe)


@metric(
    "subclass_features",
    unit="%",
    counts="test images",
    direction="higher",
    about="sub-class accuracy of 5-NN within the class on pooled features",
    needs="sub-classes",
    on_validation=(
        "sub-class accuracy of 5-NN within the class on pooled features, on validation,"
        " at the diagnosed epochs"
    ),
    order=8,
)
def _subclass_features(evaluation: Evaluation) -> float:
    return _neighbours(evaluation, features_of, cosine)


@metric(
    "subclass_soft",
    unit="%",
    counts="test images",
    direction="higher",
    about="sub-class accuracy of 5-NN within the class on probabilities at T = 4",
    needs="sub-classes",
    on_validation=(
        "sub-class accuracy of 5-NN within the class on probabilities at T = 4, on"
        " validation, at the diagnosed epochs"
    ),
    order=9,
)
def _subclass_soft(evaluation: Evaluation) -> float:
    return _neighbours(evaluation, soft_labels_of, nearness)


@metric(
    "subclass_linear_features",
    unit="%",
    counts="test images",
    direction="higher",
    about="sub-class accuracy of a linear probe for each class, on pooled features",
    needs="sub-classes",
    order=10,
)
def _subclass_linear_features(evaluation: Evaluation) -> float:
    return _probed(evaluation, features_of, linear_subclass_accuracy)


@metric(
    "subclass_linear_soft",
    unit="%",
    counts="test images",
    direction="higher",
    about="sub-class accuracy of a linear probe for each class, on probabilities at T = 4",
    needs="sub-classes",
    order=11,
)
def _subclass_linear_soft(evaluation: Evaluation) -> float:
    return _probed(evaluation, soft_labels_of, linear_subclass_accuracy)


@metric(
    "superclass_linear_features",
    unit="%",
    counts="test images",
    direction="higher",
    about="super-class accuracy of a linear probe on pooled features",
    needs="super-classes",
    order=12,
)
def _superclass_linear_features(evaluation: Evaluation) -> float:
    return _probed(evaluation, features_of, linear_superclass_accuracy)


@metric(
    "superclass_linear_soft",
    unit="%",
    counts="test images",
    direction="higher",
    about="super-class accuracy of a linear probe on probabilities at T = 4",
    needs="super-classes",
    order=13,
)
def _superclass_linear_soft(evaluation: Evaluation) -> float:
    return _probed(evaluation, soft_labels_of, linear_superclass_accuracy)
