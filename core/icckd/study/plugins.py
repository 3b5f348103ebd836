"""Plug-ins of a study: parts of the user, known to this process by what a helper tells of them.

A study names plug-ins in `plugins`: files beside it, or entry points of installed distributions of
the group `icckd.parts`. Only the helper (`icckd.plugin_host`) and workers import them. This
process has *stand-ins*: settings of the same kinds with the same defaults, which have their checks
and answers from the helper. What it answered is journalled with the plan, so that reports and the
monitor need no helper.
"""

import base64
import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import (
    BaseModel,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    create_model,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, to_jsonable_python

from icckd.errors import MachineError, SpecError
from icckd.study import registry
from icckd.study.data import (
    DATASETS,
    About,
    Data,
    ImageCounts,
    ImageShape,
    Inventory,
    SmallImages,
)
from icckd.study.distillers import DISTILLERS, Distiller, LossTerm, Term
from icckd.study.metrics import METRICS, Measured, Metric
from icckd.study.network import MODELS, Model, NetworkShape, WeightsFile
from icckd.study.plugin_process import PluginProcess
from icckd.study.records import EngineKind
from icckd.study.registry import ENTRY, FILE, Part, Registry
from icckd.study.settings import Off, Settings, StandIn
from icckd.study.source import StageSource
from icckd.study.teacher import TEACHER_LOSSES, Diagnostic, LossSettings

PluginName = Annotated[str, StringConstraints(min_length=1, max_length=400)]
"""What a study names: the path of a `.py` file, seen from the study's folder, or an entry point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFacts:
    """What a helper tells of one part.

    Attributes:
        noun: What parts of its sort are called, such as `distiller`.
        kind: Its name in a study file.
        base: Name of the class of icckd that its settings derive from.
        about: The docstring of its settings.
        schema: JSON Schema of its settings.
        defaults: Default values, as JSON values, of the settings that have one.
        facts: What its class says of all its settings, as JSON values.
        plugin: The plug-in that registers it, as the study names it.
    """

    noun: str
    kind: str
    base: str
    about: str
    schema: dict[str, Any]
    defaults: dict[str, Any]
    facts: dict[str, Any]
    plugin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginFacts:
    """What a helper tells of one plug-in.

    Attributes:
        name: As the study names it.
        reference: Where it is imported from, see `icckd.study.registry`.
        modules: Digests of its modules, by name.
        formats: Report formats that it registers.
        printed: What it printed when it was imported.
    """

    name: str
    reference: str
    modules: dict[str, str]
    formats: tuple[str, ...] = ()
    printed: str = ""


_TOLD_PLUGINS = TypeAdapter(tuple[PluginFacts, ...])
_TOLD_PARTS = TypeAdapter(tuple[PartFacts, ...])
_OF_FILES = frozenset(("raw_files", "raw_folder", "inventory", "counts_in", "counts_of"))
"""Questions whose answers depend on files of a data set: asked each time, and not journalled."""


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """The plug-ins of one study, and what is known of their parts.

    Attributes:
        plugins: What was told of each, in the order of the study.
        parts: All their parts.
        answers: What the helper answered, by question.
        process: The helper; None where a journal is all there is.
    """

    plugins: tuple[PluginFacts, ...] = ()
    parts: tuple[PartFacts, ...] = ()
    answers: dict[str, Any] = field(default_factory=dict)
    process: PluginProcess | None = None

    @property
    def references(self) -> tuple[str, ...]:
        """Where workers import them from."""
        return tuple(each.reference for each in self.plugins)

    @functools.cached_property
    def by_noun(self) -> dict[str, tuple[Part[Any], ...]]:
        """Return the stand-ins by what their parts are called."""
        found: dict[str, list[Part[Any]]] = {}
        for facts in self.parts:
            found.setdefault(facts.noun, []).append(_stand_in(facts, self))
        return {noun: tuple(parts) for noun, parts in found.items()}

    def present(self) -> AbstractContextManager[None]:
        """Let settings of these parts be valid inside; nothing changes where there are none."""
        return registry.standing_in(self.by_noun) if self.parts else contextlib.nullcontext()

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics that the parts record, by name."""
        sorts = {each.noun: each for each in registry.registered()}
        return {
            metric.name: metric
            for noun, parts in self.by_noun.items()
            for part in parts
            for metric in sorts[noun].metrics_of(part)
        }

    def ask(self, question: Mapping[str, Any]) -> Any:
        """Return the helper's answer; of a question that it was asked before, the same.

        Raises:
            SpecError: The plug-in fails at it, or nobody is there to ask.
            MachineError: It says that something is missing on this machine.
        """
        key = json.dumps(question, sort_keys=True)
        if key in self.answers:
            return self.answers[key]
        if self.process is None:
            raise SpecError(
                f"the journal does not tell {question.get('name', 'this')!r} of the plug-in's"
                f" {question.get('noun')} {question.get('kind')!r}",
                hint="plan the study again: icckd plan",
            )
        answer = self.process.ask(question)
        if question.get("name") not in _OF_FILES:
            self.answers[key] = answer
        return answer

    def source_of(
        self, kind: EngineKind, role: BaseModel, data: BaseModel, packed: bool = False
    ) -> StageSource:
        """Return the source that trains a stage, as `icckd.study.source.source_of`."""
        tables = {"role": role.model_dump(mode="json"), "data": data.model_dump(mode="json")}
        answer = self.ask({"ask": "source", "kind": kind, "packed": packed, **tables})
        return StageSource(**answer)

    def formats(self) -> tuple[str, ...]:
        """Return the names of the report formats that they register."""
        return tuple(name for each in self.plugins for name in each.formats)

    def written(self, name: str, report: Mapping[str, str], suffix: str = "") -> bytes:
        """Return a report as a format of a plug-in writes it, in a helper.

        Args:
            name: The format.
            report: The `folder` of results, the `study` and its `revision`.
            suffix: Of the file that it goes into; "" where it is printed.

        Raises:
            SpecError: The plug-in fails at it.
        """
        names = [each.name for each in self.plugins]
        process = self.process or PluginProcess(names, self.references)
        question = {"ask": "report", "name": name, "report": dict(report), "suffix": suffix}
        try:
            return base64.b64decode(process.ask(question)["content"])
        finally:
            process.close()

    def rest(self) -> None:
        """End the helper; a further question starts another one."""
        if self.process is not None:
            self.process.close()

    def told(self) -> dict[str, Any]:
        """Return what is journalled: everything but what depends on files or on icckd's source."""
        if not self.plugins:
            return {}
        answers = {k: a for k, a in self.answers.items() if json.loads(k)["ask"] != "source"}
        return {
            "plugins": [asdict(each) for each in self.plugins],
            "parts": [asdict(each) for each in self.parts],
            "answers": answers,
        }


NONE = Plugins()


def read_plugins(names: Sequence[str], folder: Path) -> Plugins:
    """Return the plug-ins that a study names, described by a helper that is started for it.

    Args:
        names: As the study has them.
        folder: Folder of the study's file.

    Raises:
        SpecError: One is not there, cannot be imported, hangs, or changes what is built in.
    """
    if not names:
        return NONE
    references = tuple(reference_to(name, folder) for name in names)
    process = PluginProcess(names, references)
    told = process.ask({"ask": "describe"})
    first, *others = told["plugins"]
    plugins = [{**first, "printed": told["printed"]}, *others]
    return Plugins(
        plugins=_TOLD_PLUGINS.validate_python(plugins),
        parts=_TOLD_PARTS.validate_python(told["parts"]),
        process=process,
    )


def plugins_in_journal(told: Mapping[str, Any]) -> Plugins:
    """Return plug-ins as a journal tells them; none where it does not, or not as we read it."""
    try:
        return Plugins(
            plugins=_TOLD_PLUGINS.validate_python(told.get("plugins", ())),
            parts=_TOLD_PARTS.validate_python(told.get("parts", ())),
            answers=dict(told.get("answers", {})),
        )
    except (ValidationError, TypeError, ValueError):  # another version wrote it
        return NONE


@functools.lru_cache(maxsize=64)
def read_told(text: str) -> Plugins:
    """Return plug-ins as a journal tells them in JSON, the same for the same text."""
    told = json.loads(text) if text else {}
    return plugins_in_journal(told) if told else NONE


def plugins_of(study: object) -> Plugins:
    """Return the plug-ins of a study that was read from a file; none of any other."""
    found = getattr(study, "known_plugins", NONE)
    return found if isinstance(found, Plugins) else NONE


def reference_to(name: str, folder: Path) -> str:
    """Return where a plug-in is imported from, see `icckd.study.registry`.

    Args:
        name: As a study has it.
        folder: What paths are seen from.

    Raises:
        SpecError: It is no file, or a file that cannot be a module.
    """
    if not name.endswith(".py"):
        return f"{ENTRY}{name}"
    file = (folder / Path(name).expanduser()).resolve()
    if not file.is_file():
        raise SpecError(
            f"plugins names {name!r}, and there is no file {file}",
            hint="paths are seen from the folder of the study's file",
        )
    if not file.stem.isidentifier():
        raise SpecError(
            f"plug-in {name!r}: the file's name is no name of a Python module",
            hint="rename it: letters, digits and _ only, as in my_parts.py",
        )
    return f"{FILE}{file}"


# Stand-ins: settings of parts that this process has not imported.


class PartStandIn(StandIn):
    """Base of all: checked by the helper, hashed by what it says."""

    plugins: ClassVar[Plugins]
    part: ClassVar[PartFacts]

    @model_validator(mode="wrap")
    @classmethod
    def _as_the_helper_has_it(cls, given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        """Take settings as the helper validates them, those left out at their defaults."""
        if not isinstance(given, dict):
            return handler(given)
        question = {"ask": "settings", "noun": cls.part.noun, "kind": cls.part.kind}
        if cls.plugins.process is None:
            return handler(given)  # a journal's settings were valid
        answer = cls.plugins.ask({**question, "table": to_jsonable_python(given)})
        if "errors" in answer:
            details = [_detail(each) for each in answer["errors"]]
            raise ValidationError.from_exception_data(cls.__name__, details)
        made = handler(answer["table"])
        written = set(given) & set(cls.model_fields)
        object.__setattr__(made, "__pydantic_fields_set__", written)
        return made

    def __eq__(self, other: object) -> bool:
        """Whether it says the same, whoever told of the part."""
        return isinstance(other, PartStandIn) and (
            (self.part.noun, self.model_dump()) == (other.part.noun, other.model_dump())
        )

    def __hash__(self) -> int:
        """Hash by what it says, whatever values are in it."""
        return hash(self.model_dump_json())

    def answer(self, name: str, returns: Any, *arguments: Any) -> Any:
        """Return what the part's settings say when they are asked: a property, or a method.

        Raises:
            ValueError: They refuse.
        """
        told = self.plugins.ask(
            {
                "ask": "call",
                "noun": self.part.noun,
                "kind": self.part.kind,
                "table": self.model_dump(mode="json"),
                "name": name,
                "arguments": [to_jsonable_python(each) for each in arguments],
            }
        )
        if "refused" in told:
            raise ValueError(told["refused"])
        if "missing" in told:
            raise MachineError(told["missing"], hint=told["hint"])
        return TypeAdapter(returns).validate_python(told["value"])


class _ModelStandIn(PartStandIn, Model):
    @property
    def weights_file(self) -> WeightsFile | Off:
        found = self.answer("weights_file", dict[str, str] | Off)
        return WeightsFile(**found) if isinstance(found, dict) else "off"

    def shape(self, image: ImageShape) -> NetworkShape:
        found: NetworkShape = self.answer("shape", NetworkShape, image)
        return found


class _DataAnswers(PartStandIn):
    """What all data sets are asked."""

    def image_shape(self) -> ImageShape:
        found: ImageShape = self.answer("image_shape", ImageShape)
        return found

    def class_count(self) -> int | None:
        found: int | None = self.answer("class_count", int | None)
        return found

    def image_counts(self) -> ImageCounts | None:
        found: ImageCounts | None = self.answer("image_counts", ImageCounts | None)
        return found

    def counts_in(self, root: Path) -> ImageCounts | None:
        found: ImageCounts | None = self.answer("counts_in", ImageCounts | None, root)
        return found

    def counts_of(self, inventory: Inventory) -> ImageCounts | None:
        found: ImageCounts | None = self.answer("counts_of", ImageCounts | None, inventory)
        return found

    def has_subclasses(self) -> bool:
        return bool(self.answer("has_subclasses", bool))

    def has_superclasses(self) -> bool:
        return bool(self.answer("has_superclasses", bool))

    def raw_files(self, root: Path) -> tuple[Path, ...]:
        found: tuple[Path, ...] = self.answer("raw_files", tuple[Path, ...], root)
        return found

    def raw_folder(self, root: Path) -> Path | None:
        found: Path | None = self.answer("raw_folder", Path | None, root)
        return found

    def inventory(self, root: Path) -> Inventory | None:
        found: Inventory | None = self.answer("inventory", Inventory | None, root)
        return found


class _DataStandIn(_DataAnswers, Data):
    pass


class _SmallImagesStandIn(_DataAnswers, SmallImages):
    pass


class _DistillerAnswers(PartStandIn):
    """What all distillers are asked."""

    @property
    def least_batch(self) -> int:
        return int(self.answer("least_batch", int))

    @property
    def reads_maps(self) -> bool:
        return bool(self.answer("reads_maps", bool))

    def methods(self) -> tuple[str, ...]:
        found: tuple[str, ...] = self.answer("methods", tuple[str, ...])
        return found

    def obstacle(self, student: NetworkShape, teacher: NetworkShape) -> str | None:
        found: str | None = self.answer("obstacle", str | None, student, teacher)
        return found


class _DistillerStandIn(_DistillerAnswers, Distiller):
    pass


class _TermStandIn(_DistillerAnswers, Term):
    pass


class _LossStandIn(PartStandIn, LossSettings):
    def cost(self) -> Any:
        return self.answer("cost", Any)


_BASES: dict[str, type[PartStandIn]] = {
    "Model": _ModelStandIn,
    "Data": _DataStandIn,
    "SmallImages": _SmallImagesStandIn,
    "Distiller": _DistillerStandIn,
    "Term": _TermStandIn,
    "LossSettings": _LossStandIn,
}
_FACTS: dict[str, Any] = {
    "about": About | str,
    "losses": tuple[LossTerm, ...],
    "aliases": tuple[str, ...],
    "needs": tuple[str, ...],
    "diagnostics": tuple[Diagnostic, ...],
}
"""Types of what a class says of all its settings; what is not named here is as it is told."""


def base_of(settings: type[Any]) -> str:
    """Return the name of the class of icckd that decides how settings are stood in for.

    Raises:
        TypeError: They derive from none.
    """
    for above in settings.__mro__:
        if above.__name__ in _BASES and above.__module__.startswith("icckd.study."):
            return above.__name__
    raise TypeError(f"{settings.__name__} derives from none of {', '.join(_BASES)}")


def _stand_in(facts: PartFacts, plugins: Plugins) -> Part[Any]:
    """Return the part that stands for one of a plug-in."""
    if facts.noun == METRICS.noun:
        rows = TypeAdapter(tuple[Metric, ...]).validate_python(facts.facts["rows"])
        measured = TypeAdapter(Measured).validate_python(facts.facts["measured"])
        options = {"rows": rows, "measured": measured}
        return _part(facts, object, options)
    base = _BASES[facts.base]
    defs = facts.schema.get("$defs", {})
    fields: dict[str, Any] = {}
    for name, schema in facts.schema.get("properties", {}).items():
        known = base.model_fields.get(name)
        kind: Any = known.annotation if known else _annotation(schema, defs)
        if name == "kind":
            kind = Literal[facts.kind]
        fields[name] = (kind, facts.defaults.get(name, ...))
    made: type[PartStandIn] = create_model(
        facts.schema.get("title", facts.kind), __base__=base, **fields
    )
    made.__doc__ = facts.about
    told = {n: TypeAdapter(_FACTS.get(n, Any)).validate_python(v) for n, v in facts.facts.items()}
    for name, value in {**told, "plugins": plugins, "part": facts}.items():
        setattr(made, name, value)
    return _part(facts, made, {})


def _part(facts: PartFacts, settings: type[Any], options: dict[str, Any]) -> Part[Any]:
    def build(*arguments: Any, **named: Any) -> Any:
        raise TypeError(f"{facts.noun} {facts.kind!r} of a plug-in is built by workers alone")

    return Part(
        kind=facts.kind, settings=settings, build=build, order=registry.LAST, options=options
    )


def _annotation(schema: Any, defs: Mapping[str, Any]) -> Any:
    """Return a type for a setting from its JSON Schema: tables and choices, else anything.

    It is there for messages and paths; the helper has validated the value.
    """
    if not isinstance(schema, dict):
        return Any
    if "const" in schema:
        return Literal[schema["const"]]
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    if "$ref" in schema:
        return _table(json.dumps(schema["$ref"]), defs)
    branches = schema.get("anyOf", ())
    kinds = [_annotation(each, defs) for each in branches]
    tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)]
    if not kinds or len(tables) > 1:
        return Any
    return Union[tuple(kinds)]  # noqa: UP007


def _table(reference: str, defs: Mapping[str, Any]) -> Any:
    name = json.loads(reference).rpartition("/")[2]
    schema = defs.get(name, {})
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    properties = schema.get("properties")
    if not isinstance(properties, dict) or f'"#/$defs/{name}"' in json.dumps(schema):
        return Any  # no table, or one that holds itself
    fields: dict[str, Any] = {
        key: (_annotation(inner, defs), inner.get("default", ...))
        for key, inner in properties.items()
    }
    return create_model(name, __base__=_Table, **fields)


class _Table(Settings):
    """A table inside settings of a part of a plug-in."""

    def __hash__(self) -> int:
        """Hash by what it says."""
        return hash(self.model_dump_json())


def _detail(told: Mapping[str, Any]) -> InitErrorDetails:
    """Return one problem as pydantic has it, from what the helper tells of it."""
    where, given = tuple(told["loc"]), told["input"]
    detail: InitErrorDetails = {"type": told["type"], "loc": where, "input": given}
    if told["ctx"]:
        detail["ctx"] = told["ctx"]
    with contextlib.suppress(TypeError, KeyError, ValueError):
        ValidationError.from_exception_data("", [detail])
        if told["type"] != "value_error":
            return detail
    text = PydanticCustomError(told["type"], "{text}", {"text": told["msg"]})
    return {"type": text, "loc": where, "input": given}


def kinds_of_parts(found: Sequence[PartFacts]) -> Iterator[str]:
    """Yield each part in words, such as `distiller mse`."""
    for each in found:
        yield f"{each.noun} {each.kind}"


SORTS: tuple[Registry[Any], ...] = (MODELS, DATASETS, DISTILLERS, TEACHER_LOSSES, METRICS)
"""The registries that plug-ins add to."""
