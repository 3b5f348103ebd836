"""From a study to its arms and trials. Pure; baseline first; the order is stable."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from icckd.errors import SpecError
from icckd.spec.method import Method, has_subclasses
from icckd.spec.metrics import OUTCOMES
from icckd.spec.paths import Change, assign, changes, is_under, keys_at, nearest, off_state
from icckd.spec.study import Ablation, ArmSpec, Factor, Study

Role = Literal["baseline", "ablation", "control", "combination", "variant"]
REFERENCE = "base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One level for every factor: a full configuration with a name.

    `changes` is how it differs from the baseline; `action` is AblationBench's, or "".
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """An arm before it is compared with the baseline."""

    name: str
    title: str
    settings: Mapping[str, Any]
    source: ArmSpec | Ablation | None


def expand(study: Study) -> tuple[Trial, ...]:
    """Return every trial, seed by seed, so that pairs are complete early.

    Raises:
        SpecError: As `arms`.
    """
    found = arms(study)
    return tuple(Trial(arm=arm, seed=seed) for seed in study.study.seeds.all() for arm in found)


def arms(study: Study) -> tuple[Arm, ...]:
    """Return the arms of a study, baseline first.

    Raises:
        SpecError: An arm is defined twice, equals another, sets what does not exist, or differs
            from the baseline in something it does not declare; or baseline, metrics, family or
            a control name something unknown.
    """
    drafts = [*_ablations(study), *_explicit(study), *_from_factors(study)]
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
    _check_references(study, found)
    return found


def outcome_columns(study: Study) -> tuple[str, ...]:
    """Return the outcomes that the study asks for, the primary one first, each once."""
    header = study.study
    asked = [header.primary, *(m for a in study.ablation for m in a.metrics), *header.metrics]
    return tuple(dict.fromkeys(asked))


def family(study: Study, found: Sequence[Arm]) -> tuple[str, ...]:
    """Return the arms whose primary comparisons are corrected together."""
    if study.study.family is not None:
        return study.study.family
    return tuple(arm.name for arm in found if arm.role == "ablation")


# --- where arms come from -----------------------------------------------------------------------


def _explicit(study: Study) -> Iterator[_Draft]:
    for spec in study.arm:
        yield _Draft(name=spec.name, title=spec.about, settings=spec.set, source=spec)


def _ablations(study: Study) -> Iterator[_Draft]:
    for ablation in study.ablation:
        if ablation.action == "REMOVE":
            if not off_state(Method, ablation.part):
                raise SpecError(
                    f"ablation {ablation.name!r}: part {ablation.part!r} has no off-state",
                    hint="use action REPLACE with a list of values",
                )
            options: tuple[Any, ...] = ("off",)
        else:
            off_state(Method, ablation.part)
            options = ablation.replacement or ()
        for value in options:
            single = len(options) == 1
            yield _Draft(
                name=ablation.arm if single else f"{ablation.arm}={_label(value)}",
                title=ablation.name if single else f"{ablation.name}: {_label(value)}",
                settings={ablation.part: value},
                source=ablation,
            )


def _from_factors(study: Study) -> Iterator[_Draft]:
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
            f"{factor.name}={_label(factor.levels[level])}"
            for factor, level in zip(factors, levels, strict=True)
            if level != 0
        ]
        yield _Draft(
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


def _label(value: Any) -> str:
    """Return a short name for a level, safe in arm names and paths."""
    if isinstance(value, Mapping):
        return ",".join(f"{_slug(str(k))}.{_label(v)}" for k, v in value.items())[:40]
    if isinstance(value, str):
        return _slug(value)
    return _slug(json.dumps(value))


def _slug(text: str) -> str:
    kept = "".join(c if c.isalnum() or c in ".-_" else "-" for c in text.lower())
    return kept.strip("-")[:40] or "empty"


def _in_order(drafts: Sequence[_Draft], baseline: str) -> list[_Draft]:
    """Put the baseline first and each control behind the arm that it is a control for."""
    controls: dict[str, list[_Draft]] = {}
    for draft in drafts:
        if isinstance(draft.source, ArmSpec) and draft.source.control_for is not None:
            controls.setdefault(draft.source.control_for, []).append(draft)
    placed = {draft.name for group in controls.values() for draft in group}
    ordered: list[_Draft] = []
    for draft in sorted(drafts, key=lambda draft: draft.name != baseline):
        if draft.name not in placed:
            ordered += [draft, *controls.pop(draft.name, [])]
    return [*ordered, *(draft for group in controls.values() for draft in group)]


# --- resolving and checking ---------------------------------------------------------------------


def _resolve(study: Study, draft: _Draft) -> Method:
    tables = study.written()
    for path, value in draft.settings.items():
        try:
            assign(tables, path, value)
        except SpecError as error:
            raise SpecError(f"arm {draft.name!r}: {error.message}", hint=error.hint) from error
    try:
        return Method.model_validate_json(json.dumps(tables))
    except ValidationError as error:
        raise _unresolvable(draft, error) from error


def _unresolvable(draft: _Draft, error: ValidationError) -> SpecError:
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


def _arm(draft: _Draft, method: Method, baseline: dict[str, Any], baseline_name: str) -> Arm:
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
        changes=found,
    )


def _role(draft: _Draft, found: tuple[Change, ...]) -> Role:
    if isinstance(draft.source, ArmSpec) and draft.source.control_for is not None:
        return "control"
    parts = {path for path in draft.settings if any(is_under(c.path, path) for c in found)}
    if len(parts) > 1:
        return "combination"
    return "ablation" if isinstance(draft.source, Ablation) else "variant"


def _refuse_undeclared(draft: _Draft, found: tuple[Change, ...], baseline: str) -> None:
    """Law 3: an arm differs from the baseline in exactly the settings it declares."""
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


def _refuse_duplicate_names(drafts: Sequence[_Draft]) -> None:
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
        if OUTCOMES[metric].needs_subclasses and not has_subclasses(study.data):
            raise SpecError(
                f"metric {metric!r} needs labels that hide sub-classes",
                hint='set data.labels = "coarse" on data that have them',
            )
