"""From a study to its design: arms, what each changes, trials. Pure.

`[[arm]]`, `[[ablation]]` and `[[factor]]` tables declare arms; each is resolved to a whole
configuration and compared with the baseline's. An arm differs from the baseline in exactly the
settings that it declares (design law 3, docs/laws.md).
"""

import copy
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from icckd.errors import SpecError
from icckd.study.config_class import classes_of
from icckd.study.data import Data, class_count, has_subclasses, has_superclasses
from icckd.study.metrics import MANY_CLASSES, Metric
from icckd.study.model import Ablation, ArmSpec, Factor, Method, Study
from icckd.study.network import image_shape, network_shape
from icckd.study.origin import Origin, origin_of
from icckd.study.part_words import NOT_OFF, off_value_at
from icckd.study.paths import Change, assign, changes, is_under, nearest, off_state
from icckd.study.plugins import plugins_of
from icckd.study.presets import resolve_presets
from icckd.study.problems import first_problem, toml
from icckd.study.records import Arm, Hypothesis, Role, Rule, Trial
from icckd.study.tasks import ONLY, Task, has_off, is_task_path, outcomes_of, uses_engine, value_for

REFERENCE = "base"
"""Name of the arm that has the first level of every factor."""
INTRA = "teacher.intra"
STRENGTH = f"{INTRA}.weight / temperature"
CE_VIEWS = "teacher.views_in_ce"
MOST_TRIALS = 100_000
MOST_COMBINATIONS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Arms, baseline first; the configuration of each by its name; trials, seed by seed."""

    arms: tuple[Arm, ...]
    methods: Mapping[str, Method]
    trials: tuple[Trial, ...]


def expand(study: Study) -> Design:
    """Return the design of a study. Pairs are complete early: trials come seed by seed.

    Raises:
        SpecError: As `arms`, or there are more than `MOST_TRIALS` trials.
    """
    found, methods = _resolved(study)
    count = len(found) * study.study.seeds.count
    if count > MOST_TRIALS:
        raise SpecError(
            f"{len(found)} arms x {study.study.seeds.count} seeds are {count} trials;"
            f" {MOST_TRIALS} are the most",
            hint="take fewer levels or seeds",
        )
    return Design(arms=found, methods=methods, trials=trials_of(found, study.study.seeds.all()))


def trials_of(found: Sequence[Arm], seeds: Sequence[int]) -> tuple[Trial, ...]:
    """Return the trials of some arms, seed by seed."""
    return tuple(Trial(arm=arm.name, seed=seed) for seed in seeds for arm in found)


def arms(study: Study) -> tuple[Arm, ...]:
    """Return the arms of a study, baseline first.

    Raises:
        SpecError: An arm is defined twice, equals another, sets what does not exist, or differs
            from the baseline in something it does not declare, or its distiller cannot join its
            networks; or baseline, metrics, family or a control name something unknown.
    """
    return _resolved(study)[0]


def _resolved(study: Study) -> tuple[tuple[Arm, ...], dict[str, Method]]:
    """Return arms and their configurations, in the order of the study."""
    with plugins_of(study).present():
        return _resolved_here(study)


def _resolved_here(study: Study) -> tuple[tuple[Arm, ...], dict[str, Method]]:
    declared = [*_from_ablations(study), *_from_arm_tables(study), *_from_factors(study)]
    _refuse_duplicate_names(study, declared)
    header = study.study
    names = [each.name for each in declared]
    if header.baseline not in names:
        place = origin_of(study).at("study", "baseline")
        raise SpecError(
            f"{place}study.baseline = {header.baseline!r} is not an arm of study {header.name!r}",
            hint=nearest(header.baseline, names) if names else "add [[arm]] with that name",
        )
    methods = {each.name: _method(study, each) for each in declared}
    baseline = methods[header.baseline].model_dump(mode="json")
    ordered = _in_order(declared, header.baseline)
    found = tuple(_arm(each, methods[each.name], baseline, header.baseline) for each in ordered)
    methods = {arm.name: methods[arm.name] for arm in found}
    _refuse_equal_arms(methods)
    for name, method in methods.items():
        if uses_engine(method.task):
            refuse_impossible_pairing(name, method)
    _check_references(study, found, methods[header.baseline].data)
    return found, methods


def baseline_settings(study: Study) -> tuple[Mapping[str, Any], Method]:
    """Return what the baseline's table sets, by path, and its whole configuration.

    Raises:
        SpecError: As `arms`.
    """
    with plugins_of(study).present():
        declared = [*_from_ablations(study), *_from_arm_tables(study), *_from_factors(study)]
        found = next((each for each in declared if each.name == study.study.baseline), None)
        if found is None:
            arms(study)  # says what is wrong
        assert found is not None
        return found.settings, _method(study, found)


def outcome_columns(study: Study) -> tuple[str, ...]:
    """Return the outcomes that the study asks for, the primary one first, each once."""
    header = study.study
    of_ablations = (m for each in study.ablation for m in (*each.primary, *each.metrics))
    return tuple(dict.fromkeys([header.primary, *header.metrics, *of_ablations]))


def known_outcomes(study: Study) -> Mapping[str, Metric]:
    """Return the outcomes that trials of a study have, those of its own tasks and parts too."""
    own = plugins_of(study).metrics()
    recorded = {name: metric for name, metric in own.items() if metric.recorded != "series"}
    return {**outcomes_of(study.task), **recorded} if recorded else outcomes_of(study.task)


def family(study: Study, found: Sequence[Arm]) -> tuple[str, ...]:
    """Return the arms whose primary comparisons are corrected together."""
    if study.study.family is not None:
        return study.study.family
    return tuple(arm.name for arm in found if arm.role == "ablation")


def hypotheses(study: Study, found: Sequence[Arm]) -> tuple[Hypothesis, ...]:
    """Return the primary questions: for each arm of the family the outcomes that answer for it."""
    header = study.study
    ablations = {arm: each for each in study.ablation for arm in _arms_of(each)}
    asked = []
    for name in family(study, found):
        ablation = ablations.get(name)
        primary = (ablation.primary if ablation else ()) or (header.primary,)
        effects = {header.primary: header.smallest_effect}
        if ablation is not None and ablation.smallest_effect is not None:
            own = ablation.smallest_effect
            effects |= own if isinstance(own, dict) else dict.fromkeys(primary, own)
        asked += [Hypothesis(arm=name, metric=m, smallest_effect=effects.get(m)) for m in primary]
    return tuple(dict.fromkeys(asked))


def rule_of(study: Study) -> Rule:
    """Return how the verdicts of a study are reached."""
    return "one extension" if study.study.extension == "one" else "fixed"


def _arms_of(ablation: Ablation) -> list[str]:
    """Return the names of the arms that an ablation makes."""
    values = ("off",) if ablation.action == "REMOVE" else ablation.replacement or ()
    single = len(values) == 1
    return [ablation.arm if single else f"{ablation.arm}={label(value)}" for value in values]


# What the tables of a study declare.


class _Declared(NamedTuple):
    """An arm as a table declares it: the settings that it sets, as the file has them."""

    name: str
    title: str
    settings: Mapping[str, Any]
    source: ArmSpec | Ablation | None
    levels: Mapping[str, str]


def _from_arm_tables(study: Study) -> Iterator[_Declared]:
    for spec in study.arm:
        yield _Declared(spec.name, spec.about, spec.set, spec, {})


def _from_ablations(study: Study) -> Iterator[_Declared]:
    """Yield an arm for each ablation, or for each of its replacements."""
    for number, ablation in enumerate(study.ablation):
        place = origin_of(study).at("ablation", number, "part")
        can_be_off = _can_be_off(study, ablation.part, place)
        if ablation.action == "REMOVE":
            declared = "off" if can_be_off else _declared_off(ablation.part)
            if declared is NOT_OFF:
                off = f"[{ablation.part.partition('.config')[0]}.off]"
                task_hint = f", or say in {off} what it is when it is off"
                raise SpecError(
                    f"{place}ablation {ablation.name!r}: part {ablation.part!r} has no off-state",
                    hint="use action REPLACE with a list of values"
                    + (task_hint if is_task_path(ablation.part) else ""),
                )
            options: tuple[Any, ...] = (declared,)
        else:
            options = ablation.replacement or ()
        for name, value in zip(_arms_of(ablation), options, strict=True):
            yield _Declared(
                name=name,
                title=ablation.name if len(options) == 1 else f"{ablation.name}: {label(value)}",
                settings={ablation.part: value},
                source=ablation,
                levels={},
            )


def _declared_off(path: str) -> Any:
    """Return what a setting that cannot be "off" is when it is off, `NOT_OFF` where none says."""
    return NOT_OFF if is_task_path(path) else off_value_at(path)


def _can_be_off(study: Study, path: str, place: str) -> bool:
    """Whether a setting can be "off"; an error where there is no such setting."""
    if is_task_path(path):
        return has_off(study.task, path, place)
    return off_state(Method, path, place)


def _from_factors(study: Study) -> Iterator[_Declared]:
    """Yield an arm for each combination of levels that the design asks for."""
    design, factors = study.study.design, study.factor
    if (design == "explicit") != (not factors):
        raise SpecError(
            f"study.design = {design!r} with {len(factors)} factors",
            hint="[[factor]] tables need a design, and a design needs [[factor]] tables",
        )
    if not factors:
        return
    _check_factors(study)
    labels = {factor.name: level_labels(factor.levels) for factor in factors}
    seen: set[tuple[int, ...]] = set()
    for choice in _choices(design, factors):
        levels = _apply_when(factors, choice)
        if levels in seen or _is_forbidden(study, factors, levels):
            continue
        seen.add(levels)
        pairs = list(zip(factors, levels, strict=True))
        named = [f"{each.name}={label(each.levels[level])}" for each, level in pairs if level]
        yield _Declared(
            name="+".join(named) or REFERENCE,
            title="",
            settings={each.path: each.levels[level] for each, level in pairs},
            source=None,
            levels={each.name: labels[each.name][level] for each, level in pairs},
        )


def label(value: Any) -> str:
    """Return a short name for a level, safe in arm names and paths."""
    if isinstance(value, Mapping):
        return ",".join(f"{_slug(str(k))}.{label(v)}" for k, v in value.items())[:40]
    if isinstance(value, str):
        return _slug(value)
    return _slug(json.dumps(value))


def _slug(text: str) -> str:
    kept = "".join(c if c.isalnum() or c in ".-_" else "-" for c in text.lower())
    return kept.strip("-")[:40] or "empty"


def level_labels(levels: Sequence[Any]) -> list[str]:
    """Return a label for each level of a factor, no two of them equal.

    They are the same in whatever order the keys of a table come: journals sort them.

    >>> level_labels([0.1, "off", "Off"])
    ['0.1', 'off', 'off#2']
    """
    found: list[str] = []
    for level in levels:
        name, number = label(_sorted(level)), 1
        while (unique := name if number == 1 else f"{name}#{number}") in found:
            number += 1
        found.append(unique)
    return found


def _sorted(value: Any) -> Any:
    """Return a value whose tables have their keys in order."""
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, (list, tuple)) else value


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
    for number, factor in enumerate(factors):
        place = origin_of(study).at("factor", number, "path")
        can_be_off = _can_be_off(study, factor.path, place)
        if design == "leave-one-out" and not (
            can_be_off and len(factor.levels) == 2 and factor.levels[1] == "off"
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
        raise SpecError(f"{where} names {name!r}, which is not a factor", hint=nearest(name, names))


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


# From a declaration to a configuration, and what it changes.


def _in_order(declared: Sequence[_Declared], baseline: str) -> list[_Declared]:
    """Put the baseline first and each control behind the arm that it is a control for."""
    controls: dict[str, list[_Declared]] = {}
    for each in declared:
        if isinstance(each.source, ArmSpec) and each.source.control_for is not None:
            controls.setdefault(each.source.control_for, []).append(each)
    placed = {each.name for group in controls.values() for each in group}
    ordered: list[_Declared] = []
    for each in sorted(declared, key=lambda each: each.name != baseline):
        if each.name not in placed:
            ordered += [each, *controls.pop(each.name, [])]
    return [*ordered, *(each for group in controls.values() for each in group)]


def _method(study: Study, declared: _Declared) -> Method:
    """Return the whole configuration of an arm: the study's, with what the arm sets."""
    tables = study.written()
    for path, value in declared.settings.items():
        if path.endswith(".training.preset"):
            whole = path.removesuffix(".preset")
            raise SpecError(
                f"{_place(study, declared)}arm {declared.name!r} sets {path!r}, which stands for"
                " many settings",
                hint=f'set {whole!r} as a whole: {{ preset = "{value}" }}',
            )
        place = f"{_place(study, declared)}arm {declared.name!r}: "
        if is_task_path(path):
            value = value_for(study.task, path, value, place)
        _begin_by_default(study, tables, path)
        try:
            assign(tables, path, value)
        except SpecError as error:
            raise SpecError(f"{place}{error.message}", hint=error.hint) from error
    _refuse_misfit(study, tables, declared)
    try:
        return Method.model_validate(resolve_presets(tables))
    except ValidationError as error:
        raise _unresolvable(study, declared, error) from error


def study_with(study: Study, tables: Mapping[str, Any], path: str, value: Any) -> Method:
    """Return the configuration that a study has with one other setting.

    Args:
        study: The study.
        tables: What it writes (`Study.written`); it stays as it is.
        path: The setting.
        value: Its value, as an arm may set it.

    Raises:
        SpecError, ValidationError: It is no value of that setting, or does not fit the others.
    """
    changed = _copied_along(tables, path)
    if is_task_path(path):
        value = value_for(study.task, path, value, "")
    _begin_by_default(study, changed, path)
    assign(changed, path, value)
    for name, known in classes_of(study).items() if is_task_path(path) else ():
        table = changed[ONLY] if isinstance(study.task, Task) else changed[ONLY][name]
        table["config"] = known.complete(table["config"], ONLY)
    return Method.model_validate(resolve_presets(changed))


def _begin_by_default(study: Study, tables: dict[str, Any], path: str) -> None:
    """Give tables that a path leads through, and that the study leaves out, their defaults.

    That is their kind, and what a kind's default of them says: digits are shifted by a pixel.
    """
    here: Any = tables
    settings: Any = study
    for key, following in itertools.pairwise(path.split(".")):
        settings = getattr(settings, key, None)
        if not isinstance(settings, BaseModel):
            return
        if key not in here and following != "kind":
            kind = getattr(settings, "kind", None)
            said = settings.model_dump(mode="json", exclude_unset=True)
            here[key] = said if kind is None else {"kind": kind, **said}
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            return


def _copied_along(tables: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return tables of which those that a path leads through, and those of tasks, are copies."""
    key, _, rest = path.partition(".")
    changed = {**tables, ONLY: copy.deepcopy(tables[ONLY])} if ONLY in tables else dict(tables)
    if isinstance(changed.get(key), dict) and rest:
        changed[key] = _copied_along(changed[key], rest)
    return changed


def _refuse_misfit(study: Study, tables: dict[str, Any], declared: _Declared) -> None:
    """Refuse a config that the class of its task does not take, and complete others by it."""
    classes = classes_of(study).items()
    where = f"{_place(study, declared)}arm {declared.name!r}: "
    for name, known in classes if any(map(is_task_path, declared.settings)) else ():
        table = tables[ONLY] if isinstance(study.task, Task) else tables[ONLY][name]
        path = f"{ONLY}.config" if isinstance(study.task, Task) else f"{ONLY}.{name}.config"
        table["config"] = known.complete(table["config"], f"{where}{path}")


def _unresolvable(study: Study, declared: _Declared, error: ValidationError) -> SpecError:
    """Return the error for an arm whose settings do not fit, at the place that declares them."""
    found = first_problem(error, Origin(), Method)
    settings = ", ".join(f"{p} = {toml(v)}" for p, v in declared.settings.items())
    is_named = any(path in found.message for path in declared.settings)
    whose = f"arm {declared.name!r}" if is_named else f"arm {declared.name!r} ({settings})"
    return SpecError(f"{_place(study, declared)}{whose}: {found.message}", hint=found.hint)


def _place(study: Study, declared: _Declared) -> str:
    """Return the beginning of a message about an arm: the line that declares it."""
    for table, specs, key in (("arm", study.arm, "set"), ("ablation", study.ablation, "part")):
        for number, spec in enumerate(specs):
            if spec is declared.source:
                return origin_of(study).at(table, number, key)
    return origin_of(study).at("factor", 0)


def _arm(declared: _Declared, method: Method, baseline: dict[str, Any], baseline_name: str) -> Arm:
    found = tuple(changes(baseline, method.model_dump(mode="json")))
    is_baseline = declared.name == baseline_name
    if not is_baseline:
        _refuse_undeclared(declared, found, baseline_name)
    source = declared.source
    return Arm(
        name=declared.name,
        role="baseline" if is_baseline else _role(declared, found),
        title=declared.title,
        action=source.action if isinstance(source, Ablation) else "",
        control_for=source.control_for if isinstance(source, ArmSpec) else None,
        metrics=source.metrics if isinstance(source, Ablation) else (),
        changes=(*found, *_strength(found, baseline, method)),
        levels=declared.levels,
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


def _role(declared: _Declared, found: tuple[Change, ...]) -> Role:
    if isinstance(declared.source, ArmSpec) and declared.source.control_for is not None:
        return "control"
    parts = {path for path in declared.settings if any(is_under(c.path, path) for c in found)}
    if len(parts) > 1:
        return "combination"
    return "ablation" if isinstance(declared.source, Ablation) else "variant"


def _refuse_undeclared(declared: _Declared, found: tuple[Change, ...], baseline: str) -> None:
    """Refuse an arm that differs in what it does not declare, or declares what is no difference."""
    paths = {change.path for change in found}
    if CE_VIEWS in paths and "teacher.views" not in paths and len(paths) > 1:
        raise SpecError(
            f"arm {declared.name!r} changes {CE_VIEWS!r} together with other settings: its"
            " cross-entropy would differ from the baseline's as well",
            hint=f"set {CE_VIEWS!r} in [teacher], so that the baseline has it too",
        )
    for change in found:
        if not any(is_under(change.path, path) for path in declared.settings):
            raise SpecError(
                f"arm {declared.name!r} differs from baseline {baseline!r} in {change.path!r}"
                f" ({json.dumps(change.before)} -> {json.dumps(change.after)}),"
                " which it does not declare",
                hint=f"set {change.path!r} in that arm, or give it the baseline's value",
            )
    if declared.source is None:
        return
    for path in declared.settings:
        if not any(is_under(change.path, path) for change in found):
            raise SpecError(
                f"arm {declared.name!r} sets {path!r} to the value that baseline {baseline!r} has",
                hint="remove that setting, or the arm",
            )


def _refuse_duplicate_names(study: Study, declared: Sequence[_Declared]) -> None:
    seen: set[str] = set()
    for each in declared:
        if each.name in seen:
            place = _place(study, each)
            raise SpecError(
                f"{place}arm {each.name!r} is defined twice", hint="give each arm its name"
            )
        seen.add(each.name)


def _refuse_equal_arms(methods: Mapping[str, Method]) -> None:
    seen: dict[str, str] = {}
    for name, method in methods.items():
        first = seen.setdefault(method.model_dump_json(), name)
        if first != name:
            raise SpecError(
                f"arms {first!r} and {name!r} have the same settings", hint="remove one of them"
            )


def refuse_impossible_pairing(arm: str, method: Method) -> None:
    """Check an arm's distiller against its networks and its batch.

    Raises:
        SpecError: The distiller cannot work there; the message says why.
    """
    student = method.student
    distiller = student.distiller
    if distiller == "off":
        return
    what = f"arm {arm!r}: distiller {distiller.kind!r}"
    if student.training.batch_size < distiller.least_batch:
        raise SpecError(
            f"{what} compares the images of a batch and needs {distiller.least_batch} of them,"
            f" student.training.batch_size is {student.training.batch_size}",
            hint="raise student.training.batch_size",
        )
    image = image_shape(method.data)
    own = network_shape(student.model, image)
    other = network_shape(method.teacher.model, image)
    reason = distiller.obstacle(own, other)
    if reason is not None:
        raise SpecError(
            f"{what} cannot join student.model and teacher.model: {reason}",
            hint="see what each method needs in docs/distillers.md",
        )


def _check_references(study: Study, found: tuple[Arm, ...], data: Data) -> None:
    names = [arm.name for arm in found]
    for arm in found:
        if arm.control_for is not None and arm.control_for not in names:
            raise SpecError(
                f"{_place_of_arm(study, arm.name)}arm {arm.name!r}: control_for ="
                f" {arm.control_for!r} is not an arm",
                hint=nearest(arm.control_for, names),
            )
    _check_requested(study, names)
    for name in study.study.family or ():
        if name not in names or name == study.study.baseline:
            place = origin_of(study).at("study", "family")
            raise SpecError(
                f"{place}study.family names {name!r}, which is not an arm beside the baseline",
                hint=nearest(name, [n for n in names if n != study.study.baseline]),
            )
    outcomes = known_outcomes(study)
    for name in outcome_columns(study):
        if name not in outcomes:
            key = "primary" if name == study.study.primary else "metrics"
            place = origin_of(study).at("study", key)
            raise SpecError(f"{place}unknown metric {name!r}", hint=nearest(name, list(outcomes)))
        _check_labels(outcomes[name], data)
    for asked in hypotheses(study, found):
        _check_hypothesis(asked, outcomes, data)


def _check_requested(study: Study, names: list[str]) -> None:
    for number, asked in enumerate(study.requested):
        for name in asked.arm or ():
            if name not in names:
                place = origin_of(study).at("requested", number, "arm")
                raise SpecError(
                    f"{place}requested ablation {asked.name!r}: arm {name!r} is none of the study",
                    hint=nearest(name, names),
                )


def _check_hypothesis(asked: Hypothesis, outcomes: Mapping[str, Metric], data: Data) -> None:
    """Check that a primary outcome can be better or worse, and by as little as it is said to."""
    metric = outcomes[asked.metric]
    if metric.direction == "none":
        better = [name for name, each in outcomes.items() if each.direction != "none"]
        raise SpecError(
            f"arm {asked.arm!r}: {asked.metric!r} cannot be primary: neither higher nor lower is"
            " better, so nothing can help or hurt",
            hint=nearest(asked.metric, better),
        )
    counts = data.image_counts()
    images = metric.images or (counts.test if counts is not None else None)
    if images is not None:
        refuse_effect_below_an_image(asked, metric, images)


def refuse_effect_below_an_image(asked: Hypothesis, metric: Metric, images: int) -> None:
    """Do nothing where a share of so many test images can change by the smallest effect.

    Raises:
        SpecError: The smallest effect is less than one image.
    """
    bound = asked.smallest_effect
    if bound is None or metric.counts != "test images" or bound >= 100 / images:
        return
    raise SpecError(
        f"arm {asked.arm!r}: smallest_effect = {bound:g} points of {asked.metric} is less than"
        f" one of the {images} test images ({100 / images:.3g} points)",
        hint="declare a difference that the test set can show",
    )


def _place_of_arm(study: Study, name: str) -> str:
    number = next(n for n, spec in enumerate(study.arm) if spec.name == name)
    return origin_of(study).at("arm", number, "control_for")


def _check_labels(metric: Metric, data: Data) -> None:
    """Check that the labels have what the metric is about."""
    needs = metric.needs
    if needs == "sub-classes" and not has_subclasses(data):
        raise SpecError(
            f"metric {metric.name!r} needs labels that hide sub-classes",
            hint='set data.labels = "coarse" on data that have them',
        )
    if needs == "super-classes" and not has_superclasses(data):
        raise SpecError(
            f"metric {metric.name!r} needs labels that form super-classes",
            hint='set data.labels = "fine" on data that have them',
        )
    count = class_count(data)
    if needs == "six classes" and count is not None and count < MANY_CLASSES:
        raise SpecError(
            f"metric {metric.name!r} needs more than 5 classes, {data.kind} has {count} here",
            hint="use top1",
        )
