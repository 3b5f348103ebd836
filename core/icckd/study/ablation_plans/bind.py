"""Bind what a plan asks for to settings of a study: proposals, legal values, arms.

    words of the entry -> parts that they may name, with score and reason -> the one whose values
    its items are -> an arm for each item

Nothing is guessed: where two parts are named alike, or an item is no value of the part, the entry
stays open, with its proposals. An arm that the study has already answers again.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from icckd.errors import SpecError
from icckd.study.ablation_plans.items import item_text, typed_text
from icckd.study.ablation_plans.records import Action, PlanEntry
from icckd.study.ablation_plans.words import AHEAD, BETTER, NAME_COUNTS, SURE, Lexicon, stems
from icckd.study.arms import Design, expand, known_outcomes, label, study_with
from icckd.study.metrics import Metric
from icckd.study.model import Method, Study
from icckd.study.observed import visible
from icckd.study.part_words import NOT_OFF, PartWords, parts_of, words_of_path
from icckd.study.paths import nearest, tables_at
from icckd.study.plugins import plugins_of
from icckd.study.registry import kind_of
from icckd.study.tasks import is_task_path

MOST_PROPOSALS, MOST_LIKELY = 3, 8
"""Parts that are shown of an entry, and those whose values its items are tried for."""
NONE = "none"
"""What is given instead of a part where no arm is to answer an entry."""
_REMOVES = re.compile(
    r"(?:none|no|off|null|disabled?|removed?|absent|nothing|without)\W*|"
    r"(?:no|without|remove|removing|disable|omit|w/o)\s+(?!.*\b(?:except|but|only|other)\b).*",
    re.IGNORECASE,
)
_BASELINE = re.compile(
    r"(?:the )?(?:original|baseline|default|full|current|proposed|paper(?:'s)?)"
    r"(?: (?:value|setting|method|version|model|design|configuration|approach))?"
    r"(?: \(.*\))?|(?:the )?(?:value|setting)s?(?: as)? (?:used )?in (?:the )?paper",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A part that an entry may be about; `unfit` says why its items are no values of it, or ""."""

    path: str
    score: float
    reason: str
    unfit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTable:
    """An `[[ablation]]` table that makes arms which the study does not have yet."""

    name: str
    arm: str
    part: str
    action: Action
    replacement: tuple[Any, ...] = ()
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What an entry comes to.

    Attributes:
        entry: The entry.
        path: The part, "" where it is open.
        arms: The arms that answer it, in the order of its items; None where it is open.
        tables: Those that must be added to the study for them.
        left_out: Items that get no arm, and why.
        reason: Why no arm answers it, or why it is open.
        proposals: Parts that it may be about, the best first.
        metrics: Outcomes for the words of its metrics, in their order, each once.
        unknown_metrics: Words that name no outcome.
        notes: What a user should know.
    """

    entry: PlanEntry
    path: str = ""
    arms: tuple[str, ...] | None = None
    tables: tuple[ArmTable, ...] = ()
    left_out: tuple[tuple[Any, str], ...] = ()
    reason: str = ""
    proposals: tuple[Proposal, ...] = ()
    metrics: tuple[str, ...] = ()
    unknown_metrics: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether somebody has yet to say what it comes to."""
        return self.arms is None


@dataclass(frozen=True, slots=True)
class _Value:
    """What an item comes to at a part: an arm's configuration, the baseline's, or no value."""

    path: str
    value: Any
    key: str = ""
    is_baseline: bool = False
    unfit: str = ""
    is_off: bool = False


@dataclass(slots=True)
class _Made:
    """Arms so far: names by configuration, and the tables that are to be added."""

    by_key: dict[str, str]
    names: set[str]
    parts: dict[str, str] = field(default_factory=dict)


class Binder:
    """Binds entries to one study; arms that it makes for one entry answer later ones, too.

    Args:
        study: The study; a baseline that no ablation could change in one setting alone is refused.

    Raises:
        SpecError: Its arms cannot be made.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        with plugins_of(study).present():
            self._start(expand(study))

    def _start(self, design: Design) -> None:
        baseline = design.arms[0].name
        self.baseline: Method = design.methods[baseline]
        self._baseline_key = _key(self.baseline)
        self._tables = self.study.written()
        self.parts: dict[str, PartWords] = {part.path: part for part in parts_of(self.baseline)}
        self._lexicon = Lexicon({path: _aliases(part) for path, part in self.parts.items()})
        self._made = _Made(
            by_key={_key(method): name for name, method in design.methods.items()},
            names={arm.name for arm in design.arms} | _bases(self.study),
        )
        self._metrics = Outcomes(known_outcomes(self.study))
        self._values: dict[tuple[str, str], _Value] = {}

    # Which part.

    def proposals(self, entry: PlanEntry) -> tuple[Proposal, ...]:
        """Return the parts that an entry may be about, those whose values its items are first."""
        named = _named(self._lexicon, entry.component, entry.name)
        likely = sorted(named.items(), key=lambda each: (-each[1][0], each[0]))[:MOST_LIKELY]
        is_tried = bool(likely) and likely[0][1][0] >= SURE  # it is open otherwise, fit or not
        found = []
        for path, (score, words) in likely:
            unfit = self._unfit(path, entry) if is_tried and score >= SURE - AHEAD else ""
            reason = f"{words!r} in its words, taken for {path}"
            found.append(Proposal(path=path, score=round(score, 2), reason=reason, unfit=unfit))
        found.sort(key=lambda each: (bool(each.unfit), -each.score, each.path))
        return tuple(found)

    def bind(self, entry: PlanEntry, path: str | None = None) -> Bound:
        """Return what an entry comes to, and have its arms answer later entries.

        Args:
            entry: The entry.
            path: The part that it is about, or `NONE`; without it the words decide.

        Raises:
            SpecError: There is no such part, or no item is a value of it.
        """
        with plugins_of(self.study).present():
            return self._bind(entry, path)

    def _bind(self, entry: PlanEntry, path: str | None) -> Bound:
        if path == NONE:
            return Bound(entry=entry, arms=(), reason="left out by hand")
        if path is not None:
            self._refuse_unfit(path, entry)
            return self._with_arms(path, self._common(entry, path))
        proposals = self.proposals(entry)
        fit = self._apart([each for each in proposals if not each.unfit], entry)
        reason = _why_open(proposals, fit, entry)
        common = self._common(entry, "" if reason else fit[0].path)
        common["proposals"] = proposals[:MOST_PROPOSALS]
        if reason:
            return Bound(**common, reason=reason)
        return self._with_arms(fit[0].path, common)

    def _common(self, entry: PlanEntry, path: str) -> dict[str, Any]:
        metrics, unknown = self._metrics.all_of(entry.metrics, path)
        return {"entry": entry, "metrics": metrics, "unknown_metrics": unknown}

    def _refuse_unfit(self, path: str, entry: PlanEntry) -> None:
        name = visible(entry.name, 60)
        if path not in self.parts:
            raise SpecError(
                f"requested ablation {name!r}: there is no part {path!r}",
                hint=nearest(path, list(self.parts)),
            )
        if unfit := self._unfit(path, entry, whole=False):
            raise SpecError(
                f"requested ablation {name!r} cannot be bound to {path}: {unfit}",
                hint="bind it to another part, or to none",
            )

    def _apart(self, fit: Sequence[Proposal], entry: PlanEntry) -> list[Proposal]:
        """Return proposals without those that come to the same as a better one."""
        kept: dict[tuple[str, ...], Proposal] = {}
        if len(fit) < 2 or fit[0].score - fit[1].score >= AHEAD:
            return list(fit)
        for each in fit:
            kept.setdefault(tuple(value.key for value in self.values(each.path, entry)), each)
        return list(kept.values())

    # Which values.

    def _unfit(self, path: str, entry: PlanEntry, *, whole: bool = True) -> str:
        """Return why the items of an entry are no values of a part; "" where they are.

        Args:
            path: The part.
            entry: The entry.
            whole: Whether all of its items must be values; otherwise one is enough.
        """
        if entry.action == "REMOVE" and entry.items:
            return "REMOVE has items, and what they are for is not said"
        if entry.action != "REMOVE" and not entry.items:
            return f"{entry.action} names no value"
        if entry.action == "REMOVE":
            return self._off(path).unfit
        reasons = (self._value_of(path, item).unfit for item in entry.items)
        if whole:
            return next((reason for reason in reasons if reason), "")
        told = list(reasons)
        return told[0] if all(told) else ""

    def values(self, path: str, entry: PlanEntry) -> list[_Value]:
        """Return what each item of an entry comes to at a part; of REMOVE, one: that it is off."""
        if entry.action == "REMOVE":
            return [self._off(path)]
        return [self._value_of(path, item) for item in entry.items]

    def _value_of(self, path: str, item: Any) -> _Value:
        if item is None or (isinstance(item, str) and _REMOVES.fullmatch(item.strip())):
            off = self._off(path)
            return off if not off.unfit else _Value(
                path, item, unfit=f"{item_text(item)!r} removes it, and {off.unfit}"
            )  # fmt: skip
        if isinstance(item, str) and _BASELINE.fullmatch(item.strip()):
            return _Value(path, item, is_baseline=True)
        kind = _kind_meant(path, item)
        return self._value(path, item if kind is None else {"kind": kind})

    def _off(self, path: str) -> _Value:
        """Return the part when it is off; where a setting cannot be, the part that it is in."""
        part = self.parts[path]
        above = self.parts.get(path.rpartition(".")[0])
        if part.off is NOT_OFF and above is not None and above.path.count(".") > 1:
            part = above
        if part.off is not NOT_OFF:
            off = "off" if is_task_path(part.path) else part.off
            return replace(self._value(part.path, off), is_off=True)
        return _Value(path, "off", unfit=f"{path} has no off value")

    def _value(self, path: str, value: Any) -> _Value:
        key = path, typed_text(value)
        if key not in self._values:
            self._values[key] = self._tried(path, value)
        return self._values[key]

    def _tried(self, path: str, value: Any) -> _Value:
        """Return what a value comes to, by making the configuration that has it."""
        part = self.parts[path]
        if _is_of_other_type(part, value):
            return _Value(path, value, unfit=self._no_value(part, value))
        try:
            method = study_with(self.study, self._tables, path, value)
        except (SpecError, ValidationError):
            return _Value(path, value, unfit=self._no_value(part, value))
        found = _key(method)
        return _Value(path, value, key=found, is_baseline=found == self._baseline_key)

    def _no_value(self, part: PartWords, value: Any) -> str:
        wanted = f"wanted {part.wanted}" if part.wanted else "it is no value of it"
        return f"{visible(item_text(value), 60)!r} is no value of {part.path}: {wanted}"

    # Which arms.

    def _with_arms(self, path: str, common: dict[str, Any]) -> Bound:
        entry: PlanEntry = common["entry"]
        arms: list[str] = []
        left_out: list[tuple[Any, str]] = []
        new: list[_Value] = []
        seen: dict[str, Any] = {}
        pending: list[tuple[str, str]] = []
        shown = entry.items if entry.action != "REMOVE" else ("REMOVE",)
        for item, value in zip(shown, self.values(path, entry), strict=True):
            reason = self._why_left_out(value, seen)
            if reason and entry.action == "REMOVE":
                return Bound(**common, path=path, arms=(), reason=reason)
            if reason:
                left_out.append((item, reason))
                continue
            seen[value.key] = item
            if value.key not in self._made.by_key:
                new.append(value)
            pending.append((value.key, value.path))
        tables = self._tables_for(entry, path, new, common["metrics"])
        arms = [self._made.by_key[key] for key, _ in pending]
        reason = "" if arms else "the baseline answers it: each item is what it has"
        return Bound(
            **common,
            path=path,
            arms=tuple(arms),
            tables=tuple(tables),
            left_out=tuple(left_out),
            reason=reason,
            notes=tuple(self._notes(path, entry)),
        )

    def _why_left_out(self, value: _Value, seen: Mapping[str, Any]) -> str:
        if value.unfit:
            return value.unfit
        if value.is_baseline:
            is_now = self.parts[value.path].value
            return f"the baseline has it: {value.path} = {visible(_short(is_now), 80)}"
        if value.key in seen:
            return f"it comes to the same as {visible(item_text(seen[value.key]), 60)}"
        return ""

    def _tables_for(
        self, entry: PlanEntry, path: str, new: Sequence[_Value], metrics: tuple[str, ...]
    ) -> list[ArmTable]:
        """Return the tables of new arms: of several values of one part one table, where it can."""
        tables: list[ArmTable] = []
        title = visible(entry.name, 200)
        own = [value for value in new if value.path == path and not value.is_off]
        base = self._base(path)
        names = [f"{base}={_label(value.value)}" for value in own]
        plain = all(label(value.value) == _label(value.value) for value in own)
        is_one_table = len(own) > 1 and plain and len(set(names)) == len(names)
        is_one_table = is_one_table and not set(names) & self._made.names
        common: dict[str, Any] = {"name": title, "metrics": metrics}
        action: Action = "ADD" if entry.action == "ADD" else "REPLACE"
        if is_one_table:
            replacement = tuple(value.value for value in own)
            tables.append(ArmTable(
                **common, arm=base, part=path, action=action, replacement=replacement
            ))  # fmt: skip
            for name, value in zip(names, own, strict=True):
                self._take(name, value)
        for value in new:
            if is_one_table and value in own:
                continue
            if value.is_off:
                name = self._free(f"no-{self._base(value.path)}")
                tables.append(ArmTable(**common, arm=name, part=value.path, action="REMOVE"))
            else:
                name = self._free(f"{self._base(value.path)}={_label(value.value)}")
                tables.append(ArmTable(
                    **common, arm=name, part=value.path, action=action, replacement=(value.value,)
                ))  # fmt: skip
            self._take(name, value)
        return tables

    def _base(self, path: str) -> str:
        """Return what arms of a part are called: its last key, with the one before where needed."""
        keys = [_slug(key) for key in path.split(".")]
        for count in range(1, len(keys) + 1):
            name = "-".join(keys[-count:])
            if self._made.parts.setdefault(name, path) == path:
                return name
        return "-".join(keys)

    def _free(self, name: str) -> str:
        name = name[:120]
        unique, number = name, 1
        while unique in self._made.names:
            number += 1
            unique = f"{name}-{number}"
        return unique

    def _take(self, name: str, value: _Value) -> None:
        self._made.names.add(name)
        self._made.by_key[value.key] = name

    def _notes(self, path: str, entry: PlanEntry) -> Iterator[str]:
        part = self.parts[path]
        for item in entry.items:
            is_number = isinstance(item, (int, float)) and not isinstance(item, bool)
            if part.odd is not None and is_number and item >= part.odd[0]:
                yield f"{path} = {item:g} is legal and means nothing: {part.odd[1]}"


def _is_of_other_type(part: PartWords, value: Any) -> bool:
    """Whether a value cannot be one of a part by its type alone: most are told so, at no cost."""
    if value == "off":
        return False  # what that is, a task says
    is_text, is_table = isinstance(value, str), isinstance(value, dict)
    if part.wanted.startswith(("a number", "a whole number")) and '"' not in part.wanted:
        return is_text or is_table or isinstance(value, (bool, list))
    if part.wanted.startswith("a table"):
        return not is_table
    return False


def _bases(study: Study) -> set[str]:
    return {each.arm for each in study.ablation}


def _key(method: Method) -> str:
    return method.model_dump_json()


def _short(value: Any) -> str:
    return value if isinstance(value, str) else typed_text(value)


def _slug(text: str) -> str:
    kept = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return kept or "part"


def _label(value: Any) -> str:
    """Return a label that the name of an arm may hold."""
    text = value["kind"] if isinstance(value, dict) and value.keys() == {"kind"} else label(value)
    return re.sub(r"[^a-z0-9._+-]+", "-", str(text)).strip("-") or "value"


def _aliases(part: PartWords) -> Iterator[tuple[str, bool]]:
    yield from ((text, True) for text in part.aliases)
    short, *longer = words_of_path(part.path)
    yield short, False
    yield from ((text, True) for text in longer)


def _named(lexicon: Lexicon, component: str, name: str) -> dict[str, tuple[float, str]]:
    """Return the things that an entry names, by its part and, with less weight, by its name."""
    found = dict(lexicon.named_in(component))
    for thing, (score, words) in lexicon.named_in(name).items():
        if score * NAME_COUNTS > found.get(thing, (0.0, ""))[0]:
            found[thing] = score * NAME_COUNTS, words
    return found


def _why_open(proposals: Sequence[Proposal], fit: Sequence[Proposal], entry: PlanEntry) -> str:
    """Return why an entry stays open, "" where one part is named clearly."""
    if not proposals:
        return "no part of the study is called so"
    if not fit or (fit[0].score < SURE and _best(proposals).score >= SURE):
        best = _best(proposals)
        if best.score >= SURE:
            return f"its words name {best.path}, and {best.unfit}"
        return "no part of the study is called so"
    best = _best(proposals)
    if best.unfit and best.score - fit[0].score > BETTER:
        return f"its words name {best.path}, and {best.unfit}"
    if fit[0].score < SURE:
        return f"its words name no part clearly, {fit[0].path} best of all"
    if len(fit) > 1 and fit[0].score - fit[1].score < AHEAD:
        return f"its words name {fit[0].path} and {fit[1].path} alike"
    return ""


def _best(proposals: Sequence[Proposal]) -> Proposal:
    return max(proposals, key=lambda each: each.score)


def _kind_meant(path: str, item: Any) -> str | None:
    """Return the kind of table that a text names, such as "rkd" for RKD, where a part has kinds."""
    if not isinstance(item, str) or is_task_path(path):
        return None
    known = _kinds_at(path)
    return known.get(re.sub(r"[^a-z0-9]", "", item.lower()))


@functools.cache
def _kinds_at(path: str) -> dict[str, str]:
    kinds = [kind_of(table) for table in tables_at(Method, tuple(path.split(".")))]
    return {re.sub(r"[^a-z0-9]", "", kind.lower()): kind for kind in kinds if kind}


# Outcomes.


class Outcomes:
    """Finds the outcomes that the words of a plan name.

    What a trained model is worth is asked of the student, whom the study is about; what training
    takes is asked of whoever has the part that changes.
    """

    def __init__(self, known: Mapping[str, Metric]) -> None:
        self._by_stems: dict[tuple[str, ...], list[str]] = {}
        self.known = known
        for name, metric in known.items():
            own = name.partition(".")[2]
            for text in (own.replace("_", " ").replace("/", " "), *metric.aliases):
                if key := tuple(sorted(stems(text))):
                    names = self._by_stems.setdefault(key, [])
                    if name not in names:
                        names.append(name)

    def all_of(self, texts: Iterable[str], path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the outcomes that texts name, each once, and the texts that name none.

        Args:
            texts: Metrics in a plan's words.
            path: The part that is ablated, "" where it is not known.
        """
        found: dict[str, None] = {}
        unknown = []
        for text in texts:
            name = self.named(text, path)
            if name is None:
                unknown.append(text)
            else:
                found[name] = None
        return tuple(found), tuple(unknown)

    def named(self, text: str, path: str) -> str | None:
        """Return the outcome that a text names; what stands in brackets explains or names it."""
        outside = re.sub(r"\([^()]*\)", " ", text)
        inside = re.findall(r"\(([^()]*)\)", text)
        for words in (text, outside, *inside):
            own = list(stems(words))
            role = next((each for each in ("student", "teacher") if each in own), "")
            key = tuple(sorted(stem for stem in own if stem not in ("student", "teacher")))
            if names := self._by_stems.get(key):
                return self._of_role(names, role, path)
        return None

    def _of_role(self, names: Sequence[str], role: str, path: str) -> str:
        if not role and path.partition(".")[0] in ("teacher", "student"):
            takes = any(name.partition(".")[2] in _COSTS for name in names)
            role = path.partition(".")[0] if takes else ""
        wanted = role or "student"
        return next((name for name in names if name.startswith(f"{wanted}.")), names[0])


_COSTS = frozenset((
    "convergence", "convergence_seconds", "stability", "seconds", "images_per_second",
    "memory_rss", "memory_allocated", "energy", "parameters", "macs",
))  # fmt: skip
