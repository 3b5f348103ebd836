"""From a study to its arms and trials; what each arm changes, and that it declares it (law 3)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from icckd.design.drafts import Draft, from_ablation_tables, from_arm_tables
from icckd.design.factors import from_factors
from icckd.design.pairings import refuse_impossible_pairing
from icckd.errors import SpecError
from icckd.spec.data import Data, class_count, has_subclasses, has_superclasses
from icckd.spec.method import Method
from icckd.spec.metric import MANY_CLASSES
from icckd.spec.metrics import OUTCOMES
from icckd.spec.paths import Change, assign, changes, is_under, keys_at, nearest
from icckd.spec.presets import resolve_presets
from icckd.spec.study import Ablation, ArmSpec, Study

INTRA = "teacher.intra"
STRENGTH = f"{INTRA}.weight / temperature"
CE_VIEWS = "teacher.views_in_ce"
MOST_TRIALS = 100_000
Role = Literal["baseline", "ablation", "control", "combination", "variant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One level for every factor: a full configuration with a name.

    `changes` is how it differs from the baseline: settings, and the effective strength of the
    intra-class loss where its weight or temperature is among them. `action` is AblationBench's,
    or "".
    """

    name: str
    title: str
    method: Method
    role: Role
    action: str
    control_for: str | None
    metrics: tuple[str, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An arm run under one seed. Trials that share a seed are pairs."""

    arm: Arm
    seed: int


def expand(study: Study) -> tuple[Trial, ...]:
    """Return every trial, seed by seed, so that pairs are complete early.

    Raises:
        SpecError: As `arms`, or there are more than `MOST_TRIALS`.
    """
    found = arms(study)
    count = len(found) * study.study.seeds.count
    if count > MOST_TRIALS:
        raise SpecError(
            f"{len(found)} arms x {study.study.seeds.count} seeds are {count} trials;"
            f" {MOST_TRIALS} are the most",
            hint="take fewer levels or seeds",
        )
    return tuple(Trial(arm=arm, seed=seed) for seed in study.study.seeds.all() for arm in found)


def arms(study: Study) -> tuple[Arm, ...]:
    """Return the arms of a study, baseline first.

    Raises:
        SpecError: An arm is defined twice, equals another, sets what does not exist, or differs
            from the baseline in something it does not declare, or its distiller cannot join its
            networks; or baseline, metrics, family or a control name something unknown.
    """
    drafts = [*from_ablation_tables(study), *from_arm_tables(study), *from_factors(study)]
    _refuse_duplicate_names(drafts)
    header = study.study
    names = [draft.name for draft in drafts]
    if header.baseline not in names:
        raise SpecError(
            f"study.baseline = {header.baseline!r} is no arm of study {header.name!r}",
            hint=nearest(header.baseline, names) if names else "add [[arm]] with that name",
        )
    methods = {draft.name: _resolve(study, draft) for draft in drafts}
    baseline = methods[header.baseline].model_dump(mode="json")
    ordered = _in_order(drafts, header.baseline)
    found = tuple(_arm(draft, methods[draft.name], baseline, header.baseline) for draft in ordered)
    _refuse_equal_arms(found)
    for arm in found:
        refuse_impossible_pairing(arm.name, arm.method)
    _check_references(study, found)
    return found


def outcome_columns(study: Study) -> tuple[str, ...]:
    """Return the outcomes that the study asks for, the primary one first, each once."""
    header = study.study
    asked = [header.primary, *header.metrics, *(m for a in study.ablation for m in a.metrics)]
    return tuple(dict.fromkeys(asked))


def family(study: Study, found: Sequence[Arm]) -> tuple[str, ...]:
    """Return the arms whose primary comparisons are corrected together."""
    if study.study.family is not None:
        return study.study.family
    return tuple(arm.name for arm in found if arm.role == "ablation")


def _in_order(drafts: Sequence[Draft], baseline: str) -> list[Draft]:
    """Put the baseline first and each control behind the arm that it is a control for."""
    controls: dict[str, list[Draft]] = {}
    for draft in drafts:
        if isinstance(draft.source, ArmSpec) and draft.source.control_for is not None:
            controls.setdefault(draft.source.control_for, []).append(draft)
    placed = {draft.name for group in controls.values() for draft in group}
    ordered: list[Draft] = []
    for draft in sorted(drafts, key=lambda draft: draft.name != baseline):
        if draft.name not in placed:
            ordered += [draft, *controls.pop(draft.name, [])]
    return [*ordered, *(draft for group in controls.values() for draft in group)]


def _resolve(study: Study, draft: Draft) -> Method:
    tables = study.written()
    for path, value in draft.settings.items():
        if path.endswith(".training.preset"):
            whole = path.removesuffix(".preset")
            raise SpecError(
                f"arm {draft.name!r} sets {path!r}, which stands for many settings",
                hint=f'set {whole!r} as a whole: {{ preset = "{value}" }}',
            )
        try:
            assign(tables, path, value)
        except SpecError as error:
            raise SpecError(f"arm {draft.name!r}: {error.message}", hint=error.hint) from error
    try:
        return Method.model_validate_json(json.dumps(resolve_presets(tables)))
    except ValidationError as error:
        raise _unresolvable(draft, error) from error


def _unresolvable(draft: Draft, error: ValidationError) -> SpecError:
    problem = error.errors(include_url=False, include_context=False)[0]
    way = problem["loc"]
    if problem["type"] == "extra_forbidden":
        key = str(way[-1])
        path = next((p for p in draft.settings if p.rsplit(".", 1)[-1] == key), key)
        return SpecError(
            f"arm {draft.name!r} sets {path!r}: unknown key {key!r}",
            hint=nearest(key, keys_at(Method, way[:-1])),
        )
    settings = ", ".join(f"{p} = {json.dumps(v)}" for p, v in draft.settings.items())
    message = problem["msg"].removeprefix("Value error, ")
    return SpecError(f"arm {draft.name!r} ({settings}): {message}")


def _arm(draft: Draft, method: Method, baseline: dict[str, Any], baseline_name: str) -> Arm:
    found = tuple(changes(baseline, method.model_dump(mode="json")))
    is_baseline = draft.name == baseline_name
    if not is_baseline:
        _refuse_undeclared(draft, found, baseline_name)
    source = draft.source
    return Arm(
        name=draft.name,
        title=draft.title,
        method=method,
        role="baseline" if is_baseline else _role(draft, found),
        action=source.action if isinstance(source, Ablation) else "",
        control_for=source.control_for if isinstance(source, ArmSpec) else None,
        metrics=source.metrics if isinstance(source, Ablation) else (),
        changes=(*found, *_strength(found, baseline, method)),
    )


def _strength(
    found: tuple[Change, ...], baseline: dict[str, Any], method: Method
) -> tuple[Change, ...]:
    """Return how weight / temperature changes, on which the gradient's size depends, if it may."""
    if not {change.path for change in found} & {f"{INTRA}.weight", f"{INTRA}.temperature"}:
        return ()
    tables = (baseline["teacher"]["intra"], method.teacher.model_dump()["intra"])
    before, after = (float(f"{t['weight'] / t['temperature']:.6g}") for t in tables)
    return (Change(path=STRENGTH, before=before, after=after),)


def _role(draft: Draft, found: tuple[Change, ...]) -> Role:
    if isinstance(draft.source, ArmSpec) and draft.source.control_for is not None:
        return "control"
    parts = {path for path in draft.settings if any(is_under(c.path, path) for c in found)}
    if len(parts) > 1:
        return "combination"
    return "ablation" if isinstance(draft.source, Ablation) else "variant"


def _refuse_undeclared(draft: Draft, found: tuple[Change, ...], baseline: str) -> None:
    """Law 3: an arm differs from the baseline in exactly the settings it declares."""
    paths = {change.path for change in found}
    if CE_VIEWS in paths and "teacher.views" not in paths and len(paths) > 1:
        raise SpecError(
            f"arm {draft.name!r} changes {CE_VIEWS!r} together with other settings: its"
            " cross-entropy would differ from the baseline's as well",
            hint=f"set {CE_VIEWS!r} in [teacher], so that the baseline has it too",
        )
    for change in found:
        if not any(is_under(change.path, path) for path in draft.settings):
            raise SpecError(
                f"arm {draft.name!r} differs from baseline {baseline!r} in {change.path!r}"
                f" ({json.dumps(change.before)} -> {json.dumps(change.after)}),"
                " which it does not declare",
                hint=f"set {change.path!r} in that arm, or give it the baseline's value",
            )
    if draft.source is None:
        return
    for path in draft.settings:
        if not any(is_under(change.path, path) for change in found):
            raise SpecError(
                f"arm {draft.name!r} sets {path!r} to the value that baseline {baseline!r} has",
                hint="remove that setting, or the arm",
            )


def _refuse_duplicate_names(drafts: Sequence[Draft]) -> None:
    seen: set[str] = set()
    for draft in drafts:
        if draft.name in seen:
            raise SpecError(f"arm {draft.name!r} is defined twice", hint="give each arm its name")
        seen.add(draft.name)


def _refuse_equal_arms(found: tuple[Arm, ...]) -> None:
    seen: dict[Method, str] = {}
    for arm in found:
        first = seen.setdefault(arm.method, arm.name)
        if first != arm.name:
            raise SpecError(
                f"arms {first!r} and {arm.name!r} have the same settings", hint="remove one of them"
            )


def _check_references(study: Study, found: tuple[Arm, ...]) -> None:
    names = [arm.name for arm in found]
    for arm in found:
        if arm.control_for is not None and arm.control_for not in names:
            raise SpecError(
                f"arm {arm.name!r}: control_for = {arm.control_for!r} is no arm",
                hint=nearest(arm.control_for, names),
            )
    for name in study.study.family or ():
        if name not in names or name == study.study.baseline:
            raise SpecError(
                f"study.family names {name!r}, which is no arm to compare with the baseline",
                hint=nearest(name, [n for n in names if n != study.study.baseline]),
            )
    for metric in outcome_columns(study):
        if metric not in OUTCOMES:
            raise SpecError(f"unknown metric {metric!r}", hint=nearest(metric, list(OUTCOMES)))
        _check_labels(metric, found[0].method.data)


def _check_labels(metric: str, data: Data) -> None:
    """Check that the labels have what the metric is about."""
    needs = OUTCOMES[metric].needs
    if needs == "sub-classes" and not has_subclasses(data):
        raise SpecError(
            f"metric {metric!r} needs labels that hide sub-classes",
            hint='set data.labels = "coarse" on data that have them',
        )
    if needs == "super-classes" and not has_superclasses(data):
        raise SpecError(
            f"metric {metric!r} needs labels that form super-classes",
            hint='set data.labels = "fine" on data that have them',
        )
    count = class_count(data)
    if needs == "six classes" and count is not None and count < MANY_CLASSES:
        raise SpecError(
            f"metric {metric!r} needs more than 5 classes, {data.kind} has {count} here",
            hint="use top1",
        )
