"""`icckd run --add-seeds`, `--until`: session after session, each with more seeds.

What decides whether to go on is judged by the rule for repeated looks, which `--until` declares in
the study that it runs (`study.sequential.always`), before the first seed is trained.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from icckd.cli.running import Growth, Wish, print_table, say, train
from icckd.errors import GateError, UsageError
from icckd.journal.folder import StateFolder
from icckd.results.formula import Condition, parse
from icckd.results.growth import (
    Goal,
    hopeless_arms,
    same_study,
    seeds_missing,
    study_as_planned,
)
from icckd.results.read import Results, open_results
from icckd.results.types import StudyInfo
from icckd.session.prepare import with_more_seeds
from icckd.spec.load import load
from icckd.spec.study import Study

_ALWAYS = "study.sequential.always=true"


def run_growing(wish: Wish, growth: Growth) -> int:
    """Run a study with more seeds, once or until its goal holds; return the exit code.

    Raises:
        UsageError: The goal is no condition, or takes more seeds than allowed.
        GateError: The goal does not hold with the seeds allowed, or will not, as some showed.
    """
    if growth.until is not None and (growth.most is None or wish.force):
        raise UsageError("--until needs --max-seeds, and no --force", hint="--max-seeds 20")
    if growth.until is not None:
        wish = replace(wish, overrides=(*wish.overrides, _ALWAYS))
    study = load(wish.study, wish.overrides)
    count, stopped = _ran(study)
    if growth.until is None:
        ran = count or study.study.seeds.count
        code = train(wish, _with_seeds(study, ran + growth.add), stopped=stopped)
        print_table(study.study.name)
        return code
    return _run_until(wish, growth, study, max(count, study.study.seeds.count), stopped)


def _run_until(
    wish: Wish, growth: Growth, study: Study, count: int, stopped: Mapping[str, int]
) -> int:
    most = growth.most or count
    count = min(count, most)
    goal = _goal(study, growth.until or "")
    if out_of_reach := _out_of_reach(study, goal, most, stopped):
        raise UsageError(out_of_reach, hint="raise --max-seeds or the target; or use --add-seeds")
    while True:
        code = train(wish, _with_seeds(study, count), stopped=stopped)
        if code not in (0, 1):
            print_table(study.study.name)
            return code
        holds, stopped = _look(study, goal, growth, count, stopped)
        if holds or count >= most:
            break
        if out_of_reach := _out_of_reach(study, goal, most, stopped):
            print_table(study.study.name)
            raise GateError(out_of_reach, hint="raise --max-seeds or the target")
        count = min(count + growth.add, most)
        say(f"going on with {count} seeds")
    print_table(study.study.name)
    if not holds:
        raise GateError(f"{goal.text!r} does not hold with the {most} seeds allowed")
    return code


def _goal(study: Study, text: str) -> Goal:
    info = study_as_planned(study)
    condition: Condition | None = None
    if text.strip() != "decided":
        condition = parse(text, info)
        if condition.quantity != "halfwidth" or condition.sign not in ("<", "<="):
            raise UsageError(
                f"--until {text!r}: seeds are added for precision or until verdicts are there",
                hint="'halfwidth(student.top1) < 0.3', or: decided",
            )
    elif info.smallest_effect is None:
        raise UsageError(
            "--until decided needs study.smallest_effect: no difference would never be decided",
            hint="declare the smallest difference that matters",
        )
    return Goal(text=text.strip(), condition=condition)


def _look(
    study: Study, goal: Goal, growth: Growth, count: int, stopped: Mapping[str, int]
) -> tuple[bool, Mapping[str, int]]:
    """Return whether the goal holds, and the arms that are given no more seeds from here on."""
    with open_results(StateFolder.current(), notice=say) as results:
        info = results.study(study.study.name)
        rows = results.comparisons(info)
    if growth.stop_hopeless:
        worse = [arm for arm in hopeless_arms(info, rows) if arm not in stopped]
        for arm in worse:
            say(f"{arm} is worse than {info.baseline} beyond doubt: no more seeds for it")
        stopped = {**stopped, **dict.fromkeys(worse, count)}
    return goal.holds(replace(info, stopped=stopped), rows), stopped


def _out_of_reach(study: Study, goal: Goal, most: int, stopped: Mapping[str, int]) -> str:
    """Return why a goal takes more seeds than allowed, at the spread seen so far; else ""."""
    found = _earlier(study)
    if found is None:
        return ""
    info, results = found
    with results:
        rows = results.comparisons(info)
    need = seeds_missing(replace(info, stopped=stopped), goal, rows)
    if need is None or need.sequential <= most:
        return ""
    takes = "more than 100,000" if math.isinf(need.sequential) else f"about {need.sequential:.0f}"
    fixed = "" if math.isinf(need.fixed) else f" ({need.fixed:.0f} if fixed before the first)"
    return (
        f"{goal.text!r} takes {takes} seeds{fixed} at the spread of {need.spread:.3g} seen so far;"
        f" --max-seeds is {most}"
    )


def _earlier(study: Study) -> tuple[StudyInfo, Results] | None:
    """Return the newest session's plan of this study, whatever its seeds, with its results."""
    folder = StateFolder.current()
    if not folder.exists():
        return None
    results = open_results(folder, notice=say)
    for info in results.studies():
        if info.name == study.study.name and same_study(info, study):
            return info, results
    results.close()
    return None


def _ran(study: Study) -> tuple[int, Mapping[str, int]]:
    """Return how many seeds the newest session planned, and the arms it had stopped."""
    found = _earlier(study)
    if found is None:
        return 0, {}
    info, results = found
    results.close()
    first = study.study.seeds.first
    return (len(info.seeds), info.stopped) if info.seeds[:1] == (first,) else (0, {})


def _with_seeds(study: Study, count: int) -> Study:
    return with_more_seeds(study, count - study.study.seeds.count)
