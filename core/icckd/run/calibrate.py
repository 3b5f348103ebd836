"""Find the weights of matched controls: rounds of teachers on the calibration seeds.

Every round is an ordinary session of a study of its own, `NAME-calibration`, whose arms are the
baseline and every weight tried so far: journals hold all of it, and nothing is trained twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from icckd.errors import IcckdError, SpecError
from icckd.study.arms import Design
from icckd.study.calibration import (
    RATIO,
    Probe,
    is_matched,
    next_weight,
    tried_name,
    with_weight,
)
from icckd.study.model import Method, Seeds, Study
from icckd.study.plan import Plan
from icckd.study.records import Arm

MAX_ROUNDS = 8
Ratios = Mapping[str, Mapping[int, float]]
"""The ratio of each arm of the calibration, by seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The weight found for a control, and the ratios behind it by calibration seed.

    `method` is the control's configuration as the study file has it.
    """

    control: Arm
    method: Method
    weight: float
    ratio: tuple[float, ...]
    baseline: tuple[float, ...]

    @property
    def percent(self) -> float:
        """The mean ratio, in percent of the baseline's."""
        return 100 * fmean(self.ratio) / fmean(self.baseline)

    @property
    def by_seed(self) -> tuple[float, ...]:
        """The ratio of each seed, in percent of the baseline's with that seed."""
        pairs = zip(self.ratio, self.baseline, strict=True)
        return tuple(100 * mine / theirs for mine, theirs in pairs)


@dataclass(slots=True)
class _Search:
    control: Arm
    method: Method
    weight: float
    probes: list[Probe] = field(default_factory=list)


def calibration_seeds(study: Study) -> Seeds:
    """Return the seeds that a study sets apart.

    Raises:
        SpecError: It sets none apart.
    """
    seeds = study.study.calibration_seeds
    if seeds is None:
        raise SpecError(
            f"study {study.study.name!r} has no calibration seeds",
            hint="add calibration_seeds = { first = 1000, count = 8 } to [study]",
        )
    return seeds


def calibration_study(study: Study) -> Study:
    """Return the study that a calibration is recorded as; only its plans have arms."""
    header = study.study.model_copy(
        update={
            "name": f"{study.study.name[:52]}-calibration",
            "question": "At which weight does a control pull as strongly as the baseline?",
            "primary": RATIO,
            "metrics": ("teacher.anchor_share", "teacher.negatives", "teacher.top1"),
            "seeds": calibration_seeds(study),
            "calibration_seeds": None,
            "students_per_teacher": 1,
            "family": (),
            "smallest_effect": None,
        }
    )
    return study.model_copy(update={"study": header, "arm": (), "ablation": (), "factor": ()})


def teachers_of(plan: Plan) -> Plan:
    """Return a plan without its students."""
    return replace(
        plan,
        trials=tuple(replace(trial, stages=trial.stages[:1]) for trial in plan.trials),
        stages={d: stage for d, stage in plan.stages.items() if stage.kind == "teacher"},
    )


def find_weights(
    design: Design,
    controls: Sequence[Arm],
    measure: Callable[[Design], Ratios],
    *,
    tolerance: float,
) -> tuple[Match, ...]:
    """Return the matched weight of each control.

    Args:
        design: The study's; the strength of its baseline is the target.
        controls: Arms of it; they start at the weight that the study file gives them.
        measure: Trains the arms of a design, which has no trials yet, and returns their ratios.
        tolerance: How far the mean ratio may be off, in percent.

    Raises:
        IcckdError: No weight was found in `MAX_ROUNDS` rounds.
    """
    searches = [
        _Search(control, method, _weight_of(control, method))
        for control in controls
        for method in [design.methods[control.name]]
    ]
    baseline = design.arms[0].name
    tried = Design(arms=design.arms[:1], methods={baseline: design.methods[baseline]}, trials=())
    matches: dict[str, Match] = {}
    for _ in range(MAX_ROUNDS):
        for search in searches:
            tried = with_weight(tried, search.control, search.method, search.weight)
        ratios = measure(tried)
        for search in searches:
            match = _match(search, ratios, baseline)
            probe = Probe(weight=search.weight, ratio=fmean(match.ratio))
            search.probes.append(probe)
            target = fmean(match.baseline)
            if target <= 0:
                raise _no_pull(baseline)
            if is_matched(probe, target, tolerance):
                matches[search.control.name] = match
            else:
                search.weight = _next_weight(search, target, tolerance)
        searches = [search for search in searches if search.control.name not in matches]
        if not searches:
            return tuple(matches[control.name] for control in controls)
    raise _not_found(searches[0], tolerance)


def mean_text(values: Sequence[float]) -> str:
    """Return mean and standard deviation."""
    deviation = f" ± {stdev(values):.2g}" if len(values) > 1 else ""
    return f"{fmean(values):.4g}{deviation}"


def _weight_of(control: Arm, method: Method) -> float:
    intra = method.teacher.intra
    if intra == "off" or intra.weight == 0:
        raise SpecError(
            f"control {control.name!r} has no intra-class loss whose weight could be matched",
            hint="start it at a weight above 0",
        )
    return float(intra.weight)


def _match(search: _Search, ratios: Ratios, baseline: str) -> Match:
    mine = ratios[tried_name(search.control, search.weight)]
    theirs = ratios[baseline]
    seeds = sorted(theirs)
    return Match(
        control=search.control,
        method=search.method,
        weight=search.weight,
        ratio=tuple(mine[seed] for seed in seeds),
        baseline=tuple(theirs[seed] for seed in seeds),
    )


def _next_weight(search: _Search, target: float, tolerance: float) -> float:
    weight = next_weight(search.probes, target)
    if weight is None:
        raise _not_found(search, tolerance)
    return weight


def _no_pull(baseline: str) -> SpecError:
    return SpecError(
        f"the loss of the baseline {baseline!r} pulls on nothing: its {RATIO} is 0 on the"
        " calibration seeds, and no weight of a control could match that",
        hint="train longer, or lower the margin's threshold: no sample was an anchor",
    )


def _not_found(search: _Search, tolerance: float) -> IcckdError:
    tried = ", ".join(f"{p.weight:g} gave {p.ratio:.4g}" for p in search.probes)
    return IcckdError(
        f"no weight of {search.control.name!r} gives the baseline's ratio within {tolerance:g} %:"
        f" {tried}",
        hint="raise --tolerance, or start from another weight in the study file",
    )
