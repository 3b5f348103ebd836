"""Arms from [[factor]] tables: how each design turns factors into combinations of levels."""

import itertools
import math
from collections.abc import Iterator

from icckd.design.drafts import Draft, label
from icckd.errors import SpecError
from icckd.spec.method import Method
from icckd.spec.paths import nearest, off_state
from icckd.spec.study import Factor, Study

REFERENCE = "base"
MOST_COMBINATIONS = 10_000


def from_factors(study: Study) -> Iterator[Draft]:
    """Yield an arm for each combination; the one with all first levels is called `base`.

    Raises:
        SpecError: The factors do not fit the design.
    """
    design, factors = study.study.design, study.factor
    if (design == "explicit") != (not factors):
        raise SpecError(
            f"study.design = {design!r} with {len(factors)} factors",
            hint="[[factor]] tables need a design, and a design needs [[factor]] tables",
        )
    if not factors:
        return
    _check_factors(study)
    seen: set[tuple[int, ...]] = set()
    for choice in _choices(design, factors):
        levels = _apply_when(factors, choice)
        if levels in seen or _is_forbidden(study, factors, levels):
            continue
        seen.add(levels)
        named = [
            f"{factor.name}={label(factor.levels[level])}"
            for factor, level in zip(factors, levels, strict=True)
            if level != 0
        ]
        yield Draft(
            name="+".join(named) or REFERENCE,
            title="",
            settings={f.path: f.levels[i] for f, i in zip(factors, levels, strict=True)},
            source=None,
        )


def _choices(design: str, factors: tuple[Factor, ...]) -> Iterator[tuple[int, ...]]:
    """Yield level indices for every factor; index 0 is a factor's reference level."""
    sizes = [len(factor.levels) for factor in factors]
    if design == "factorial":
        yield from itertools.product(*(range(size) for size in sizes))
    elif design == "zip":
        for index in range(sizes[0]):
            yield (index,) * len(sizes)
    elif design == "path":
        for changed in range(len(sizes) + 1):
            yield tuple(size - 1 if i < changed else 0 for i, size in enumerate(sizes))
    else:  # leave-one-out and one-at-a-time vary one factor, the others stay at the reference
        yield (0,) * len(sizes)
        for position, size in enumerate(sizes):
            for level in range(1, size):
                yield tuple(level if i == position else 0 for i in range(len(sizes)))


def _check_factors(study: Study) -> None:
    design, factors = study.study.design, study.factor
    grid = math.prod(len(factor.levels) for factor in factors)
    if design == "factorial" and grid > MOST_COMBINATIONS:
        raise SpecError(
            f"the factors have {grid} combinations of levels; {MOST_COMBINATIONS} are the most",
            hint="vary one factor at a time, or take fewer levels",
        )
    names = [factor.name for factor in factors]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise SpecError(f"factor {sorted(repeated)[0]!r} is defined twice")
    for factor in factors:
        has_off = off_state(Method, factor.path)
        if design == "leave-one-out" and not (
            has_off and len(factor.levels) == 2 and factor.levels[1] == "off"
        ):
            raise SpecError(
                f'factor {factor.name!r}: leave-one-out needs levels = [the part, "off"]',
                hint="use one-at-a-time for other levels",
            )
        for name in factor.when or {}:
            _known_factor(f"factor {factor.name!r}: when", name, names)
    for number, combination in enumerate(study.study.forbid):
        for name in combination:
            _known_factor(f"study.forbid[{number}]", name, names)
    sizes = {len(factor.levels) for factor in factors}
    if design == "zip" and len(sizes) > 1:
        raise SpecError("design zip needs factors with equally many levels")


def _known_factor(where: str, name: str, names: list[str]) -> None:
    if name not in names:
        raise SpecError(f"{where} names {name!r}, which is no factor", hint=nearest(name, names))


def _apply_when(factors: tuple[Factor, ...], choice: tuple[int, ...]) -> tuple[int, ...]:
    values = {f.name: f.levels[i] for f, i in zip(factors, choice, strict=True)}
    return tuple(
        level if all(values[name] == value for name, value in (factor.when or {}).items()) else 0
        for factor, level in zip(factors, choice, strict=True)
    )


def _is_forbidden(study: Study, factors: tuple[Factor, ...], levels: tuple[int, ...]) -> bool:
    values = {f.name: f.levels[i] for f, i in zip(factors, levels, strict=True)}
    return any(
        all(values[name] == value for name, value in combination.items())
        for combination in study.study.forbid
    )
