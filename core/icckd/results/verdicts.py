"""What a comparison says about the part that an ablation is about.

Which way a difference goes depends on the action:

    REMOVE   the arm lacks the part: the part helps when the arm is worse, hurts when it is better
    REPLACE  the baseline has the part: it helps when the replacement is worse, hurts when better
    ADD      the arm has the part: it helps when the arm is better, hurts when it is worse

An arm without an action is judged as REPLACE. A metric without a better direction stays undecided.
"""

from dataclasses import replace

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
    check = sign_flip_p if pairs.is_complete else worst_rank_p
    row = replace(
        row,
        p_exact=check(pairs.differences),
        p_exact_smallest=smallest_p(len(pairs.seeds)),
    )
    interval = bootstrap_interval(pairs.differences) if pairs.is_complete else None
    if interval is None:
        return row
    return replace(row, bootstrap_low=interval[0], bootstrap_high=interval[1])
