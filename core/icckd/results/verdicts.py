"""What a comparison says about the part that an ablation is about.

Which way a difference goes depends on the action:

    REMOVE   the arm lacks the part: the part helps when the arm is worse, hurts when it is better
    REPLACE  the baseline has the part: it helps when the replacement is worse, hurts when better
    ADD      the arm has the part: it helps when the arm is better, hurts when it is worse

An arm without an action is judged as REPLACE. A metric without a better direction stays undecided.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from icckd.results.pairing import Pairs
from icckd.results.types import Comparison, StudyInfo, Verdict
from icckd.stats.paired import (
    bootstrap_interval,
    sign_flip_p,
    smallest_p,
    worst_rank_p,
    worst_rank_scores,
)
from icckd.study.records import Arm


def part_verdict(study: StudyInfo, arm: Arm, row: Comparison, pairs: Pairs) -> Verdict:
    """Return what a difference that is there says about the part."""
    direction = study.metric(row.metric).direction
    if direction == "none":
        return "undecided"
    arm_is_better = (_sign(row, pairs) > 0) == (direction == "higher")
    arm_has_part = arm.action == "ADD"
    return "helps" if arm_is_better == arm_has_part else "hurts"


def _sign(row: Comparison, pairs: Pairs) -> float:
    if pairs.is_complete and row.difference is not None:
        return row.difference
    return float(np.sum(worst_rank_scores(pairs.differences)))


def with_checks(row: Comparison, pairs: Pairs) -> Comparison:
    """Return a row with the exact p of its pairs, and the bootstrap interval where it is valid."""
    p, interval = _checks(pairs.differences.tobytes())
    row = replace(row, p_exact=p, p_exact_smallest=smallest_p(len(pairs.seeds)))
    if interval is None:
        return row
    return replace(row, bootstrap_low=interval[0], bootstrap_high=interval[1])


@lru_cache(maxsize=4096)  # while a study runs, most of its arms stay as they are
def _checks(data: bytes) -> tuple[float, tuple[float, float] | None]:
    differences = np.frombuffer(data, dtype=np.float64)
    if np.isfinite(differences).all():
        return sign_flip_p(differences), bootstrap_interval(differences)
    return worst_rank_p(differences), None
