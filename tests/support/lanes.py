"""Which cases of a test are run by whom."""

from collections.abc import Iterable

import pytest

ON_EACH_DEVICE_SLOWLY = pytest.mark.parametrize(
    "device",
    [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)],
    indirect=True,
)
"""In place of the fixture's own devices, for what takes seconds on a CPU."""


def slow_but(cases: Iterable[object], *quick: object) -> list[object]:
    """Return cases of which only the quick ones are run by `pytest` without `-m`.

    These stand for the others, which `.ci/run` runs, or by hand `pytest -m slow`.
    """
    cases = list(cases)
    assert set(quick) <= set(cases)
    return [c if c in quick else pytest.param(c, marks=pytest.mark.slow) for c in cases]
