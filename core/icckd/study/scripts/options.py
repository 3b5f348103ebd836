"""The options of argparse (and of absl): calls that add one, whatever holds the parser."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from icckd.study.scripts.code import Code, Unread
from icckd.study.scripts.records import Found, Note, Option
from icckd.study.scripts.switches import TRUE_TEXTS, long_name, switch, text_switch

NUMBERS = {"int": int, "float": float}
SILENT_ACTIONS = ("help", "version")


def argparse_options(code: Code) -> Found | None:
    """Return the options that are added to parsers of argparse; None where there are none.

    A parser may be held by any variable, built by a function, be a group or a parent of another.
    Of several subcommands `train` is taken, or else the first.
    """
    if not any(name.split(".")[0] in PARSERS for name in code.packages):
        return None
    parsers = _Parsers(code)
    calls = [node for node in code.all(ast.Call) if _adds(node)]
    parsers.follow()
    if not calls:
        return None
    kept = [node for node in calls if parsers.belongs(node)]
    reader = _Reader(code, parsers)
    for node in kept:
        reader.add(node)
    for node in code.all(ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "set_defaults":
            reader.set_defaults(node)
    valued = [option for option in reader.options if option.value is not None]
    by_words = bool(valued) and all(option.flag for option in valued)
    if not by_words:
        reader.options = [_in_command(option) for option in reader.options]
    return Found(
        kind="argparse",
        style="words" if by_words else "args",
        line=calls[0].lineno,
        options=tuple(reader.options),
        notes=(*parsers.notes(), *reader.notes),
        words=(parsers.chosen,) if parsers.chosen else (),
    )


PARSERS = ("argparse", "configargparse", "jsonargparse", "rich_argparse", "simple_parsing")


def _adds(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument"


@dataclass
class _Parsers:
    """Which variable holds which parser, as the text goes on; needed where there are subcommands.

    Attributes:
        holder: For each call of `add_argument` the parser that it is called on: the line and
            column where that was made, or None.
        commands: The parser of each subcommand.
        parents: The parsers whose options another one takes over.
    """

    code: Code
    holder: dict[ast.Call, tuple[int, int] | None] = field(default_factory=dict)
    commands: dict[str, tuple[int, int]] = field(default_factory=dict)
    parents: dict[tuple[int, int], list[tuple[int, int] | None]] = field(default_factory=dict)
    line: int = 0

    def follow(self) -> None:
        """Go through the text, keeping what every variable holds."""
        held: dict[str, tuple[int, int] | None] = {}
        for node in self.code.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                    held[each.arg] = None
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                made = self._made(node.value, held)
                for target in node.targets:
                    if name := self.code.dotted(target):
                        held[name] = made
            elif isinstance(node, ast.Call):
                self._made(node, held)
                if _adds(node):
                    self.holder[node] = held.get(self._receiver(node))

    def _receiver(self, node: ast.Call) -> str:
        return self.code.dotted(node.func.value) if isinstance(node.func, ast.Attribute) else ""

    def _made(
        self, node: ast.Call, held: dict[str, tuple[int, int] | None]
    ) -> tuple[int, int] | None:
        """Return the parser that a call makes or takes part of."""
        place = (node.lineno, node.col_offset)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if method in ("add_argument_group", "add_mutually_exclusive_group"):
            return held.get(self._receiver(node))
        if method == "add_parser" and node.args and (name := self.code.text(node.args[0])):
            self.commands.setdefault(name, place)
            self.line = self.line or node.lineno
        elif not self.code.called(node).endswith(("ArgumentParser", "ArgParser")):
            return None
        above = next((each.value for each in node.keywords if each.arg == "parents"), None)
        if isinstance(above, ast.List | ast.Tuple):
            self.parents[place] = [held.get(self.code.dotted(each)) for each in above.elts]
        return place

    @property
    def chosen(self) -> str:
        """The subcommand whose options are taken; "" where there are none."""
        return "train" if "train" in self.commands else next(iter(self.commands), "")

    def belongs(self, node: ast.Call) -> bool:
        """Whether a call adds an option that may stand behind the chosen subcommand."""
        place = self.holder.get(node)
        if not self.commands or place is None:
            return True
        mine = self.commands[self.chosen]
        return place == mine or place in self.parents.get(mine, ())

    def notes(self) -> Iterator[Note]:
        """Yield what was decided about subcommands."""
        if len(self.commands) > 1:
            others = ", ".join(name for name in self.commands if name != self.chosen)
            yield Note(
                line=self.line, text=f"the subcommand {self.chosen} was taken; others: {others}"
            )
        above = [node for node in self.holder if not self.belongs(node)]
        of_commands = set(self.commands.values())
        mains = [node for node in above if self.holder[node] not in of_commands]
        for node in mains:
            yield Note(
                line=node.lineno,
                text="an option of the main parser stands before the subcommand in `command`:"
                f" {self.code.text_of(node)}",
            )


@dataclass
class _Reader:
    """Options as they are read, each key once."""

    code: Code
    parsers: _Parsers
    options: list[Option] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def add(self, node: ast.Call) -> None:
        """Take one call of `add_argument`."""
        settings = {each.arg: each.value for each in node.keywords if each.arg is not None}
        action = self._action(settings.get("action"))
        if action in SILENT_ACTIONS:
            return
        names = [self.code.text(each) for each in node.args]
        if not names or not all(names) or len(names) < len(node.args):
            written = self.code.text_of(node)
            self.notes.append(Note(line=node.lineno, text=f"its name is computed: {written}"))
            return
        bare = Option(
            key=long_name(names),
            line=node.lineno,
            about=self.code.text(settings.get("help")),
            choices=self.code.choices(settings.get("choices")),
        )
        if any(each.arg is None for each in node.keywords):
            bare = replace(bare, note="some of what it takes is given by ** and was not read")
        option = self._made(bare, names, action, settings)
        if option.key in self.keys and not option.words:
            self.notes.append(Note(line=node.lineno, text=f"--{option.key} is added once more"))
        else:
            self.keys |= set() if option.words else {option.key}
            self.options.append(option)

    def _made(
        self, bare: Option, names: list[str], action: str, settings: dict[str, ast.expr]
    ) -> Option:
        if not names[0].startswith("-"):
            return self._positional(replace(bare, key=names[0]), settings)
        if not bare.key:
            return self._short(replace(bare, key=names[0].lstrip("-")), names[0], settings)
        if action in _SWITCHES:
            return self._switch(bare, names, action, settings)
        if action not in ("", "store"):
            return replace(bare, note=f"action {action!r} cannot be an entry of config")
        return _typed(self.code, bare, settings)

    def _action(self, node: ast.expr | None) -> str:
        if node is None:
            return ""
        return self.code.text(node) or self.code.dotted(node).split(".")[-1] or "computed"

    def _switch(
        self, bare: Option, names: list[str], action: str, settings: dict[str, ast.expr]
    ) -> Option:
        try:
            given = self.code.value(settings["default"]) if "default" in settings else None
        except Unread as why:
            return replace(bare, note=f"its default is {why}")
        if action == "BooleanOptionalAction":
            if given is None:
                return replace(bare, note="it is neither on nor off by default")
            return switch(bare, default=bool(given), turns_on=bare.key, turns_off=f"no-{bare.key}")
        if action == "store_true":
            return switch(bare, default=bool(given), turns_on=bare.key)
        is_on = True if given is None else bool(given)
        bare = replace(bare, part=self.code.text(settings.get("dest")))
        return switch(bare, default=is_on, turns_off=bare.key)

    def _positional(self, bare: Option, settings: dict[str, ast.expr]) -> Option:
        option = _typed(self.code, bare, settings)
        about = "a positional argument: its value stands in `command`"
        if option.value is None or isinstance(option.value, list):
            optional = self.code.text(settings.get("nargs")) in ("?", "*")
            if optional:
                return replace(option, note=f"{about}, if it is to have one", needed=False)
            return replace(option, note=about, needed=True, words=("...",))
        return replace(option, note=about, needed=False, words=(text_of(option.value),))

    def _short(self, bare: Option, name: str, settings: dict[str, ast.expr]) -> Option:
        if self._action(settings.get("action")) not in ("", "store"):
            note = f"{name} has no long form: it stands in `command` where it is wanted"
            return replace(bare, note=note)
        option = _typed(self.code, bare, settings)
        if option.needed:
            note = f"{name} has no long form: it stands in `command`"
            return replace(option, note=note, words=(name, "..."))
        return replace(option, flag=name)

    def set_defaults(self, node: ast.Call) -> None:
        """Take a call of `set_defaults`, which has the last word."""
        for each in node.keywords:
            for place, option in enumerate(self.options):
                if each.arg is None or option.key.replace("-", "_") != each.arg:
                    continue
                note = f"set_defaults (line {node.lineno}) sets its default"
                try:
                    value = self.code.value(each.value)
                except Unread as why:
                    self.options[place] = replace(option, value=None, note=f"{note}: {why}")
                    continue
                if isinstance(value, bool):
                    self.options[place] = replace(option, value=None, off=None, note=note)
                else:
                    self.options[place] = replace(option, value=value, note=note, needed=False)


def _in_command(option: Option) -> Option:
    """Return an option that `{args}` cannot give as one that a user may add to the command."""
    if not option.flag:
        return option
    note = f"{option.flag} has no long form: it stands in `command` where it is to differ"
    return replace(option, value=None, off=None, note=note)


_SWITCHES = ("store_true", "store_false", "BooleanOptionalAction")


def text_of(value: Any) -> str:
    """Return a value as a command line has it."""
    return value if isinstance(value, str) else str(value)


def _typed(code: Code, bare: Option, settings: dict[str, ast.expr]) -> Option:
    """Return an option that takes a value: its default, as its type reads it."""
    kind = code.dotted(settings.get("type")).split(".")[-1]
    required = _is_true(settings.get("required"))
    default = settings.get("default")
    if default is None or code.dotted(default).endswith("SUPPRESS"):
        return replace(bare, note=bare.note or no_default(required), needed=required)
    try:
        value = code.value(default)
    except Unread as why:
        return replace(bare, note=f"its default is {why}")
    if value is None or value == []:
        return replace(bare, note=no_default(required), needed=required)
    if "bool" in kind.lower() or isinstance(value, bool):
        return _text_boolean(bare, kind, value)
    return typed_value(bare, kind, value)


def typed_value(bare: Option, kind: str, value: Any) -> Option:
    """Return an option with its default as its type ("int", "float", or another) reads it."""
    if kind in NUMBERS and isinstance(value, str | int | float):
        try:
            read = NUMBERS[kind](value)
        except ValueError:
            read = None
        if read is None or (not isinstance(value, str) and read != value):
            return replace(bare, note=f"its default {value!r} is no {kind}")
        value = read
    if isinstance(value, dict):
        return replace(bare, note="its default is a table, which a command line cannot give")
    return replace(bare, value=value)


def no_default(required: bool) -> str:
    return "it is required and has no default" if required else "it has no default"


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _text_boolean(bare: Option, kind: str, value: Any) -> Option:
    default = value.lower() in TRUE_TEXTS if isinstance(value, str) else bool(value)
    if kind == "bool":  # bool("False") is true, as of every text but the empty one
        note = 'type=bool takes every text for true but the empty one: "" switches it off'
        return text_switch(replace(bare, note=note), default=default, on="True", off="")
    if not kind:
        note = "its default is a boolean and its type is not said: texts are true in Python"
        return replace(bare, note=note)
    return text_switch(bare, default=default)


def absl_options(code: Code) -> Found | None:
    """Return the flags that absl defines; None where there are none."""
    if "absl" not in code.packages:
        return None
    options: list[Option] = []
    notes: list[Note] = []
    for node in code.all(ast.Call):
        called = code.called(node)
        if not called.startswith(("absl.flags.DEFINE_", "flags.DEFINE_")):
            continue
        kind = called.rsplit("DEFINE_", 1)[1]
        name = code.text(node.args[0]) if node.args else ""
        if not name:
            notes.append(Note(line=node.lineno, text=f"its name is computed: {code.text_of(node)}"))
            continue
        given = {each.arg: each.value for each in node.keywords if each.arg is not None}
        places = dict(zip(("name", "default", "help"), node.args, strict=False)) | given
        if kind in ("enum", "enum_class") and len(node.args) > 2:
            places |= dict(zip(("choices", "help"), node.args[2:], strict=False))
        bare = Option(
            key=name,
            line=node.lineno,
            about=code.text(places.get("help")),
            choices=code.choices(places.get("choices")),
        )
        options.append(_flag(code, bare, kind, places))
    if not options:
        return None
    return Found(
        kind="absl flags",
        style="args",
        line=options[0].line,
        options=tuple(options),
        notes=tuple(notes),
    )


def _flag(code: Code, bare: Option, kind: str, places: dict[str, ast.expr]) -> Option:
    if kind in ("bool", "boolean") and "default" in places:
        try:
            default = code.value(places["default"])
        except Unread as why:
            return replace(bare, note=f"its default is {why}")
        return switch(bare, default=bool(default), turns_on=bare.key, turns_off=f"no{bare.key}")
    if kind in ("list", "multi_string", "multi_integer", "multi_float", "multi_enum"):
        return replace(bare, note="a list of absl cannot be given by {args}")
    settings = {name: node for name, node in places.items() if name == "default"}
    if kind in ("float", "integer"):
        settings["type"] = ast.Name(id="int" if kind == "integer" else "float", ctx=ast.Load())
    return _typed(code, bare, settings)
