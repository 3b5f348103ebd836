"""Which cases of a test are run by whom."""

from collections.abc import Iterable

import pytest

ON_EACH_DEVICE_SLOWLY = pytest.mark.parametrize(
    "device",
    [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)],
    indirect=True,
)
"""In place of the fixture's own devices, for what takes seconds on a CPU."""


def long_but(cases: Iterable[object], *slow: object) -> list[object]:
    """Return cases of which only some are run by `.ci/run`, the others by `.ci/long`."""
    cases = list(cases)
    assert all(each in cases for each in slow)
    lanes = ((case, pytest.mark.slow if case in slow else pytest.mark.long) for case in cases)
    return [pytest.param(case, marks=lane) for case, lane in lanes]


def slow_but(cases: Iterable[object], *quick: object) -> list[object]:
    """Return cases of which only the quick ones are run by `pytest` without `-m`.

    These stand for the others, which `.ci/run` runs, or by hand `pytest -m slow`.
    """
    cases = list(cases)
    assert set(quick) <= set(cases)
    return [c if c in quick else pytest.param(c, marks=pytest.mark.slow) for c in cases]
