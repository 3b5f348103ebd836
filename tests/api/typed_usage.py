"""A program that uses the interface, for mypy alone: it is checked with the sources, and never run.

What is asserted of a type, and each call that must be refused, fails `mypy` when it is not so.
"""

from pathlib import Path
from typing import assert_type

import icckd
import icckd.run.session
from icckd.results.types import Comparison, Verdict


def use(frame: object) -> None:
    """Use what there is."""
    study = icckd.Study.load(Path("study.toml"), ["study.seeds.count=4"])
    assert_type(study.plan(device="cpu"), icckd.StudyPlan)
    found = icckd.run(study, jobs=2)
    assert_type(found, icckd.StudyResults)
    assert_type(icckd.results("study", revision="3e7f").comparisons, tuple[Comparison, ...])
    assert_type(found.comparison("full").verdict, Verdict)
    assert_type(found.outcomes(), icckd.Frame)
    assert_type(found.plot("forest"), icckd.Plot)
    assert_type(icckd.compare(frame, metric=["acc"], item="question"), icckd.StudyResults)
    assert_type(icckd.power(effect=0.5).seeds, int | None)
    icckd.run(3)  # type: ignore[arg-type]
    icckd.compare(frame)  # type: ignore[call-arg]
    found.plot("pie")  # type: ignore[arg-type]
    icckd.nothing  # type: ignore[attr-defined]  # noqa: B018
