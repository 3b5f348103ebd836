"""Several comparisons at once."""

from collections.abc import Sequence


def holm(p_values: Sequence[float], *, family_size: int | None = None) -> tuple[float, ...]:
    """Return Holm-adjusted p values (Holm 1979, Scandinavian Journal of Statistics 6).

    Sorted ascending, the i-th of m (from 0) becomes the largest of (m - j) * p_j over j <= i, at
    most 1. Rejecting where it is below alpha keeps the chance of any false rejection below alpha.

    Args:
        p_values: Raw p values, in any order.
        family_size: m, when some comparisons of the family have no p value yet; at least
            len(p_values). Counting them keeps an arm that is missing from favouring the others.

    Returns:
        Adjusted p values in the order given.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    size = len(p_values) if family_size is None else family_size
    if size < len(p_values):
        raise ValueError("a family is at least as large as its p values are many")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (size - rank) * p_values[index]))
        adjusted[index] = highest
    return tuple(adjusted)
