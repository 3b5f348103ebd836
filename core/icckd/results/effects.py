"""Main effects and two-way interactions of a factorial design, on the primary metric."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from icckd.design.drafts import label
from icckd.design.factors import REFERENCE
from icckd.results.compare import difference_of
from icckd.results.pairing import BySeed, Outcomes
from icckd.results.types import Effect, StudyInfo
from icckd.stats.factorial import Contrast, contrasts
from icckd.stats.multiplicity import holm
from icckd.stats.paired import FloatArray


def effects(study: StudyInfo, outcomes: Outcomes) -> tuple[Effect, ...]:
    """Return the effects of a full factorial design; none for other designs.

    Seeds in which a combination of levels has no finite value are left out as a whole: a
    contrast needs every cell of its block.
    """
    factors = _factors(study)
    names = [factor["name"] for factor in factors]
    levels = [[label(value) for value in factor["levels"]] for factor in factors]
    cells = _cells(study, names, levels)
    if cells is None:
        return ()
    values = _blocks(study, outcomes.get(study.primary, {}), cells)
    found = [_effect(study, names, levels, contrast) for contrast in contrasts(values)]
    known = [effect.p for effect in found if effect.p is not None]
    adjusted = iter(holm(known, family_size=len(found)))
    return tuple(
        effect if effect.p is None else replace(effect, p_adjusted=next(adjusted))
        for effect in found
    )


def levels_of(study: StudyInfo) -> dict[str, tuple[int, ...]]:
    """Return the level of every factor, by arm that the factors made; 0 is the reference."""
    factors = study.resolved.get("factor", [])
    tokens = [
        {f"{factor['name']}={label(value)}": level for level, value in enumerate(factor["levels"])}
        for factor in factors
    ]
    found = {}
    for arm in study.arms:
        named = [] if arm.name == REFERENCE else arm.name.split("+")
        if factors and all(any(name in each for each in tokens) for name in named):
            found[arm.name] = tuple(
                next((each[name] for name in named if name in each), 0) for each in tokens
            )
    return found


def _factors(study: StudyInfo) -> list[Mapping[str, Any]]:
    header = study.resolved.get("study", {})
    factors = study.resolved.get("factor", [])
    return list(factors) if header.get("design") == "factorial" else []


def _cells(study: StudyInfo, names: list[str], levels: list[list[str]]) -> np.ndarray | None:
    """Return the arm of every combination of levels; None unless every one was planned."""
    if not names:
        return None
    known = {arm.name for arm in study.arms}
    cells = np.empty([len(each) for each in levels], dtype=object)
    for choice in itertools.product(*(range(len(each)) for each in levels)):
        named = [f"{names[i]}={levels[i][level]}" for i, level in enumerate(choice) if level]
        arm = "+".join(named) or REFERENCE
        if arm not in known:
            return None
        cells[choice] = arm
    return cells


def _blocks(study: StudyInfo, by_arm: Mapping[str, BySeed], cells: np.ndarray) -> FloatArray:
    """Return values of seeds that have all cells, shape (seeds, levels of factor 1, ...)."""
    values = np.array(
        [[by_arm.get(arm, {}).get(seed, np.nan) for arm in cells.ravel()] for seed in study.seeds],
        dtype=np.float64,
    )
    whole = values[np.isfinite(values).all(axis=1)]
    return whole.reshape(-1, *cells.shape)


def _effect(
    study: StudyInfo, names: list[str], levels: list[list[str]], contrast: Contrast
) -> Effect:
    n = int(contrast.by_seed.size)
    result = difference_of(study, contrast.by_seed) if n > 1 else None
    has_interval = result is not None and bool(np.isfinite([result.low, result.high]).all())
    return Effect(
        factors=tuple(names[axis] for axis in contrast.factors),
        levels=tuple(
            levels[axis][level]
            for axis, level in zip(contrast.factors, contrast.levels, strict=True)
        ),
        n=n,
        mean=float(contrast.by_seed.mean()) if n else None,
        low=result.low if result and has_interval else None,
        high=result.high if result and has_interval else None,
        p=result.p if result else None,
        p_adjusted=None,
    )
