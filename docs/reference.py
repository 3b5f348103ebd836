"""Pages of the reference that are made from the code whenever the site is built.

    python docs/reference.py NAME

prints one as Markdown. In a page of `docs/reference/` a block "```{from-code} NAME" stands for it
(`conf.py`). What a key, a verb, a view or an event is stands beside its code and nowhere else.
"""

import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, get_args

import duckdb
import typer

import icckd
from icckd import errors, variables
from icckd.cli.main import app
from icckd.journal import events
from icckd.results.database import about_views, create_tables, create_views
from icckd.study.distillers import DISTILLERS, Term
from icckd.study.load import study_schema
from icckd.study.settings import PATTERNS

SCHEMA: dict[str, Any] = json.loads(study_schema())
HEADINGS = ("Run", "Look", "Compare", "Data", "Upkeep")


def cell(text: object) -> str:
    """Return a text that stays in its cell of a table."""
    return " ".join(str(text).split()).replace("|", r"\|") or "–"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table, or "" where it has no row."""
    lines = [f"| {' | '.join(map(cell, row))} |" for row in rows]
    mark = f"| {' | '.join('---' for _ in head)} |"
    return "\n".join([f"| {' | '.join(head)} |", mark, *lines, "", ""]) if lines else ""


def code(text: object) -> str:
    """Return a text as code, or "" for none."""
    return f"`{text}`" if str(text) else ""


# Keys of the study file, from its JSON Schema.


def keys() -> str:
    """Return a section for each table of the study file, those that it may hold after it."""
    parts = [table(KEY_HEAD, key_rows(SCHEMA))]
    seen: set[str] = set()
    for name, schema in SCHEMA["properties"].items():
        for inner in tables_in(schema):
            parts += sections(inner, f"[{name}]", seen)
    return "\n".join(parts)


KEY_HEAD = ("key", "type", "default", "unit", "meaning")


def sections(name: str, where: str, seen: set[str]) -> Iterator[str]:
    """Yield the section of a table, and of the tables in it, each once."""
    if name in seen:
        return
    seen.add(name)
    schema = SCHEMA["$defs"][name]
    kind = schema.get("properties", {}).get("kind", {}).get("const")
    yield f"({anchor(name)})="
    yield f"## {where}" + (f', kind = "{kind}"' if kind else "") + "\n"
    yield about(name, schema) + "\n"
    yield table(KEY_HEAD, key_rows(schema))
    for key, inner in schema.get("properties", {}).items():
        for each in tables_in(inner):
            yield from sections(each, f"{where.strip('[]')}.{key}", seen)


def about(name: str, schema: dict[str, Any]) -> str:
    """Return what a table is: its description, and the publication that a method is from."""
    text = " ".join(schema.get("description", "").split())
    kind = schema.get("properties", {}).get("kind", {}).get("const", "")
    sources = {part.kind: part.settings.source for part in DISTILLERS.parts(Term)}
    if name.endswith("Distiller") and kind in sources and sources[kind] not in text:
        text += f" Source: {sources[kind]}."
    return text.replace("*", r"\*")


def key_rows(schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield key, type, default, unit and meaning of every key of a table."""
    required = schema.get("required", ())
    for name, found in schema.get("properties", {}).items():
        default = "required" if name in required else code(default_of(found))
        meaning = found.get("description", "") or meaning_of(name, found)
        if known := found.get("x-aliases"):
            meaning += f" (papers: {', '.join(known[:4])})"
        yield code(name), type_of(found), default, found.get("x-unit", ""), meaning


def meaning_of(name: str, found: dict[str, Any]) -> str:
    """Return the meaning of a key that has no description of its own: that of its table."""
    if name == "kind":
        return "which of them it is"
    tables = tables_in(found)
    if len(tables) > 1:
        return "one of several, by its `kind`"
    return " ".join(SCHEMA["$defs"][each].get("description", "") for each in tables)


def default_of(found: dict[str, Any]) -> str:
    """Return a default in short, as JSON: of a table, what can be seen at a glance."""
    if "default" not in found:
        return ""
    value = found["default"]
    if value is None:
        return "none"
    if isinstance(value, dict) and len(json.dumps(value)) > LONGEST_DEFAULT:
        return "{…}"
    return json.dumps(value, ensure_ascii=False)


LONGEST_DEFAULT = 60


def tables_in(schema: dict[str, Any]) -> list[str]:
    """Return the names of the tables that a value may be, or hold."""
    text = json.dumps({key: value for key, value in schema.items() if key != "discriminator"})
    return list(dict.fromkeys(re.findall(r'"#/\$defs/(\w+)"', text)))


def type_of(schema: dict[str, Any]) -> str:
    """Return what a value may be, in words and with its bounds."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        kind = SCHEMA["$defs"][name].get("properties", {}).get("kind", {}).get("const")
        return f"[{kind or 'table'}](#{anchor(name)})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(map(type_of, schema[several])))
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if "enum" in schema:
        return ", ".join(code(json.dumps(value)) for value in schema["enum"])
    return plain_type(schema)


def plain_type(schema: dict[str, Any]) -> str:
    """Return the type of a value that is no choice and no table, with its bounds."""
    kind = {"array": "list", "object": "table", "null": "none", "string": "text",
            "number": "number", "integer": "whole number", "boolean": "true or false",
            }.get(schema.get("type", ""), "any value")  # fmt: skip
    if kind == "list" and isinstance(schema.get("items"), dict) and schema["items"]:
        kind = f"list of {type_of(schema['items'])}"
    if (words := PATTERNS.get(schema.get("pattern", ""))) is not None:
        kind += f": {words}"
    bounds = [
        f"{sign} {schema[key]:g}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"),
                          ("exclusiveMaximum", "<"))
        if key in schema
    ]  # fmt: skip
    return " ".join([kind, *bounds])


def anchor(name: str) -> str:
    """Return the anchor of a table."""
    return "table" + re.sub(r"([A-Z])", r"-\1", name).lower()


# Verbs, from the command line itself.


def commands() -> str:
    """Return a section for each verb: what it does, its usage, its arguments and options."""
    group: Any = typer.main.get_command(app)
    parts = []
    for heading in HEADINGS:
        verbs = {n: v for n, v in group.commands.items() if v.rich_help_panel == heading}
        parts.append(f"## {heading}\n")
        for name, verb in verbs.items():
            for words, each in (
                [(f"{name} {sub}", inner) for sub, inner in verb.commands.items()]
                if hasattr(verb, "commands")
                else [(name, verb)]
            ):
                parts += command(words, each)
    return "\n".join(parts)


def command(words: str, verb: Any) -> list[str]:
    """Return the section of a verb."""
    help_text = inspect.cleandoc(verb.help or "").replace("\b", "")
    rows = []
    for each in verb.params:
        if each.name == "help" or getattr(each, "hidden", False):
            continue
        is_option = each.param_type_name == "option"
        names = ", ".join([*each.opts, *each.secondary_opts])
        default = each.default if isinstance(each.default, str | int | float) else ""
        rows.append(
            (
                code(names if is_option else each.metavar or each.name.upper()),
                getattr(each, "help", "") or "",
                code("" if default is False else default),
            )
        )
    example = f"{verb.epilog.removeprefix('Example: ')}" if verb.epilog else ""
    texts = [f"### icckd {words}\n", help_text.replace("<", "&lt;") + "\n"]
    if example:
        texts.append(f"For example `{example.partition('   (')[0]}`\n")
    return [*texts, table(("argument or option", "what it is", "default"), rows)]


# Views, from a database made here.


def views() -> str:
    """Return a section for each view: what its rows are, its columns with their types."""
    connection = duckdb.connect(":memory:")
    create_tables(connection)
    create_views(connection)
    parts = []
    for name, text in about_views():
        columns = connection.execute(f"describe {name}").fetchall()
        parts += [f"## {name}\n", text.replace("*", r"\*") + "\n"]
        parts.append(", ".join(f"`{column[0]}` {column[1].lower()}" for column in columns) + "\n")
    return "\n".join(parts)


# Events of journals.


def journal_events() -> str:
    """Return a section for each event: what it says, its letter, its keys with their types."""
    union, *_ = get_args(events.Event)
    parts = []
    for event in get_args(union):
        fields = event.model_fields
        parts.append(f"## {event.__name__}, `k` = `{fields['k'].default}`\n")
        parts.append(section_text(event.__doc__) + "\n")
        rows = [
            (code(name), code(short_type(field.annotation)), "yes" if field.is_required() else "no")
            for name, field in fields.items()
            if name != "k"
        ]
        parts.append(table(("key", "type", "always there"), rows))
    return "\n".join(parts)


def short_type(annotation: Any) -> str:
    """Return a type by its short names."""
    is_plain = inspect.isclass(annotation) and not get_args(annotation)
    text = annotation.__name__ if is_plain else str(annotation)
    text = re.sub(r"Annotated\[(\w+), .*\]", r"\1", text)
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text)


def section_text(doc: str | None) -> str:
    """Return a docstring as Markdown: `Args:` and the like as lists."""
    lines, in_list = [], False
    for line in inspect.cleandoc(doc or "").splitlines():
        if re.fullmatch(r"(Args|Attributes|Returns|Raises|Yields):", line):
            lines += ["", f"{line}", ""]
            in_list = True
        elif in_list and (found := re.match(r"    (\*{0,2}[\w.]+): (.*)", line)):
            lines.append(f"- `{found[1]}`: {found[2]}")
        elif in_list and line.startswith("    "):
            lines.append(f"  {line.strip()}")
        else:
            in_list = in_list and not line
            lines.append(line)
    return "\n".join(lines).replace("<", "&lt;")


# Exit codes and environment variables.


def exit_codes() -> str:
    """Return the exit codes of the command line."""
    codes: dict[int, list[str]] = {0: ["Everything that was asked for is done."]}
    for each in vars(errors).values():
        if inspect.isclass(each) and "exit_code" in vars(each):
            codes.setdefault(each.exit_code, []).append(first_sentence(each))
    codes[1] = ["Some stage failed, or another error that has no code of its own."]
    return table(("exit code", "meaning"), ((n, " ".join(t)) for n, t in sorted(codes.items())))


def first_sentence(found: object) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join((inspect.getdoc(found) or "").partition("\n\n")[0].split())


def environment() -> str:
    """Return the environment variables that icckd reads, and those that it sets for tasks."""
    rows = [
        (code(name), first_sentence(read).removeprefix("Return ").partition(f": `{name}`")[0])
        for name, read in variables._READERS.items()
    ]
    told = [
        (code(variables.SEED), "the seed of this run"),
        (code(variables.FOLDER), "the run folder, which is also the current folder"),
        (code(variables.RESUME), "1 where an attempt goes on in the folder of an earlier one"),
    ]
    return (
        table(("variable", "what it decides"), rows)
        + "\nWhat your own training code is told:\n\n"
        + table(("variable", "value"), told)
    )


# The Python interface.


def python_api() -> str:
    """Return a section for everything that `import icckd` offers: signature and docstring."""
    shown = importlib.import_module("tests.api.signatures")
    parts = []
    for name in sorted(icckd.__all__):
        found = getattr(icckd, name)
        if not callable(found):
            continue
        parts.append(f"## icckd.{name}\n")
        if inspect.isclass(found):
            lines = shown.members(found)
        else:
            lines = [f"{name}{shown.shown(inspect.signature(found))}"]
        parts += ["```python", *lines, "```\n", section_text(inspect.getdoc(found)) + "\n"]
        for member, method in sorted(vars(found).items()) if inspect.isclass(found) else ():
            method = method.fget if isinstance(method, property) else method
            method = getattr(method, "__func__", method)
            if not member.startswith("_") and inspect.isfunction(method) and method.__doc__:
                parts.append(f"### {name}.{member}\n\n{section_text(inspect.getdoc(method))}\n")
    return "\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "keys": keys,
    "commands": commands,
    "views": views,
    "events": journal_events,
    "exit-codes": exit_codes,
    "environment": environment,
    "python": python_api,
}


if __name__ == "__main__":
    print(PAGES[sys.argv[1]]())
