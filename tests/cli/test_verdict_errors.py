"""Whole studies without any effect, followed through the command line as their reports advise."""

import base64
import json

import numpy as np
import pytest
from scipy.stats import binom

from icckd.study.records import Hypothesis
from tests.support.desk import Desk
from tests.support.lab import ARMS as LAB_ARMS
from tests.support.lab import planned

STUDIES = 30
IMAGES = 100
ARMS = ("no-margin", "no-cache")


def plan_of(name, seeds):
    arms = [arm for arm in LAB_ARMS if arm[0] in ("full", *ARMS)]
    plan = planned(arms=arms, seeds=seeds, salt=name, smallest_effect=3.0)
    header = {**plan.study["study"], "name": name}
    return plan.model_copy(
        update={
            "study": {**plan.study, "study": header, "outcomes": ["student.top1"]},
            "rule": "one extension",
            "hypotheses": tuple(
                Hypothesis(arm=arm, metric="student.top1", smallest_effect=3.0) for arm in ARMS
            ),
        }
    )


def run(lab, name, seeds, rng, done=()):
    """Write the journals of a session whose models are all equally good: near the ceiling."""
    with lab.finished(f"{name}-{len(seeds)}", plan_of(name, seeds), study=name,
                      revision=f"r{len(seeds)}", ordinal=lab.attempts + 1) as session:  # fmt: skip
        for trial in session.plan.trials:
            if trial.seed in done:
                continue
            for position in range(len(trial.stages)):
                hits = rng.random(IMAGES) < 0.97
                session.train(
                    session.stage(trial.arm, trial.seed, position),
                    accuracy=100 * float(hits.mean()),
                    until=1,
                    images=IMAGES,
                    right=base64.b64encode(np.packbits(hits).tobytes()).decode(),
                )


def judged(desk, name):
    """Return the rows of the primary questions in a report."""
    document = json.loads(desk.run("report", name, "--format", "json").stdout)
    return [row for row in document["comparisons"] if row["arm"] in ARMS]


@pytest.mark.long
def test_studies_without_an_effect_seldom_get_a_verdict_at_either_look(lab):
    desk = Desk(lab.folder.root.parent)
    rng = np.random.default_rng(20261129)
    false, extended = 0, 0
    for number in range(STUDIES):
        name, first = f"study-{number}", tuple(range(3 if number % 2 else 6))
        run(lab, name, first, rng)
        rows = judged(desk, name)
        advised = [row["more_seeds"] for row in rows if row["more_seeds"]]
        if advised:
            extended += 1
            seeds = tuple(range(len(first) + min(24, max(advised))))
            run(lab, name, seeds, rng, done=first)
            rows = judged(desk, name)
            assert {row["test"] for row in rows} == {"two looks"}
        false += any(row["verdict"] in ("helps", "hurts") for row in rows)

    print(
        f"{false} of {STUDIES} studies without an effect have a verdict; {extended} were extended"
    )
    assert extended > STUDIES / 2
    assert false <= binom.ppf(0.999, STUDIES, 0.05)
