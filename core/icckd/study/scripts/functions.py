"""Scripts whose options are arguments of a function: Typer, Click, Fire, and icckd's own entry."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from icckd.study.scripts.code import Code, Function, Unread, in_order
from icckd.study.scripts.options import no_default, typed_value
from icckd.study.scripts.records import Found, Note, Option
from icckd.study.scripts.switches import long_name, switch

CLICK = ("click", "rich_click", "asyncclick", "cloup")


@dataclass(frozen=True, slots=True)
class _Argument:
    """An argument of a function as it is written."""

    name: str
    line: int
    annotation: ast.expr | None
    default: ast.expr | None


def _arguments(function: Function) -> list[_Argument]:
    args = function.args
    plain_ones = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(plain_ones) - len(args.defaults))
    pairs = [
        *zip(plain_ones, [*defaults, *args.defaults], strict=True),
        *zip(args.kwonlyargs, args.kw_defaults, strict=True),
    ]
    return [
        _Argument(arg.arg, arg.lineno, arg.annotation, default)
        for arg, default in pairs
        if arg.arg not in ("self", "cls")
    ]


# Typer.


def typer_options(code: Code) -> Found | None:
    """Return the options of the command that Typer makes of a function; None without one."""
    if "typer" not in code.packages:
        return None
    commands = _typer_commands(code)
    if not commands:
        return None
    name = "train" if "train" in commands else next(iter(commands))
    function = commands[name]
    has_callback = any(
        isinstance(each, ast.Call) and code.called(each).endswith(".callback")
        for node in code.every_function()
        for each in node.decorator_list
    )
    options = [_typer_option(code, each) for each in _arguments(function)]
    return Found(
        kind="Typer",
        style="args",
        line=function.lineno,
        options=tuple(each for each in options if each is not None),
        notes=_others(name, commands, function.lineno),
        words=(name,) if len(commands) > 1 or has_callback else (),
    )


def _typer_commands(code: Code) -> dict[str, Function]:
    found: dict[str, Function] = {}
    for function in code.every_function():
        for each in function.decorator_list:
            if code.called(each).endswith(".command") and isinstance(each, ast.Call):
                named = code.text(each.args[0]) if each.args else ""
                found[named or function.name.replace("_", "-")] = function
    if found:
        return found
    for call in code.all(ast.Call):
        if code.called(call) == "typer.run" and call.args:
            name = code.dotted(call.args[0])
            if name in code.functions:
                return {name: code.functions[name]}
    return {}


def _others(name: str, commands: dict[str, Any], line: int) -> tuple[Note, ...]:
    others = ", ".join(each for each in commands if each != name)
    if not others:
        return ()
    return (Note(line=line, text=f"the subcommand {name} was taken; others: {others}"),)


def _typer_option(code: Code, argument: _Argument) -> Option | None:
    """Return one argument of Typer's function; None for its context."""
    kind, extras = _annotation(code, argument.annotation)
    if kind.endswith("Context"):
        return None
    default, made = (
        argument.default,
        next((each for each in extras if code.called(each) in _TYPER), None),
    )
    if code.called(default) in _TYPER and isinstance(default, ast.Call):
        made = default
        default = default.args[0] if default.args else None
        if isinstance(default, ast.Constant) and default.value is Ellipsis:
            default = None
        names = [code.text(each) for each in made.args[1:]]
    else:
        names = [code.text(each) for each in made.args] if made is not None else []
    settings = {each.arg: each.value for each in made.keywords if each.arg} if made else {}
    bare = Option(
        key=argument.name.replace("_", "-"),
        line=argument.line,
        about=code.text(settings.get("help")),
        choices=_enum_choices(code, kind),
    )
    if _is_positional(code, made, default):
        return _positional(code, bare, default, kind)
    return _named(code, bare, names, default, kind)


_TYPER = ("typer.Option", "typer.Argument")


def _is_positional(code: Code, made: ast.Call | None, default: ast.expr | None) -> bool:
    return code.called(made) == "typer.Argument" if made is not None else default is None


def _annotation(code: Code, node: ast.expr | None) -> tuple[str, list[ast.Call]]:
    """Return the name of an annotated type and the calls that `Annotated` adds to it.

    `Optional[X]` and `X | None` are X, a list of X is "list".
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = [side for side in (node.left, node.right) if not _is_none(side)]
        return _annotation(code, sides[0]) if len(sides) == 1 else ("", [])
    if not isinstance(node, ast.Subscript):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value, []
        return code.dotted(node).split(".")[-1], []
    outer = code.dotted(node.value).split(".")[-1]
    inner = node.slice
    if outer == "Annotated" and isinstance(inner, ast.Tuple) and inner.elts:
        kind, _ = _annotation(code, inner.elts[0])
        return kind, [each for each in inner.elts[1:] if isinstance(each, ast.Call)]
    if outer == "Optional":
        return _annotation(code, inner)
    return outer.lower(), []


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _enum_choices(code: Code, kind: str) -> tuple[Any, ...]:
    found = []
    for node in code.members(kind).values():
        try:
            found.append(code.value(node))
        except Unread:
            return ()
    return tuple(found)


def _positional(code: Code, bare: Option, default: ast.expr | None, kind: str) -> Option:
    about = "a positional argument: its value stands in `command`"
    option = _valued(code, bare, default, kind)
    if option.value is None or isinstance(option.value, list):
        required = default is None
        words = ("...",) if required else ()
        return replace(option, value=None, note=about, needed=required, words=words)
    return replace(option, note=about, words=(str(option.value),))


def _named(
    code: Code, bare: Option, names: list[str], default: ast.expr | None, kind: str
) -> Option:
    """Return an option of Typer that has names of its own or those that Typer gives it."""
    on, off = _pair(names)
    key = on or long_name([name for name in names if "/" not in name])
    if names and not key and not off:
        return replace(bare, note=f"{names[0]} has no long form: it stands in `command`")
    bare = replace(bare, key=key or bare.key)
    if kind != "bool":
        return _valued(code, bare, default, kind)
    try:
        is_on = bool(code.value(default)) if default is not None else False
    except Unread as why:
        return replace(bare, note=f"its default is {why}")
    if not names:
        key, off = bare.key, f"no-{bare.key}"
    return switch(bare, default=is_on, turns_on=key, turns_off=off)


def _pair(names: list[str]) -> tuple[str, str]:
    """Return the long names that switch on and off, of `--mixup/--no-mixup`."""
    for name in names:
        first, slash, second = name.partition("/")
        if slash:
            on, off = ([each.strip() for each in side.split(";")] for side in (first, second))
            return long_name(on), long_name(off)
    return "", ""


def _valued(code: Code, bare: Option, default: ast.expr | None, kind: str) -> Option:
    """Return an option that takes a value of a kind that an annotation names."""
    if default is None:
        return replace(bare, note=no_default(True), needed=True)
    try:
        value = code.value(default)
    except Unread as why:
        return replace(bare, note=f"its default is {why}")
    if value is None:
        return replace(bare, note=no_default(False))
    if isinstance(value, list):
        return replace(bare, note="it is given several times, which {args} does not do")
    return typed_value(bare, kind, value)


# Click.


def click_options(code: Code) -> Found | None:
    """Return the options of the command that Click makes of a function; None without one."""
    if not code.packages.intersection(CLICK):
        return None
    commands: dict[str, Function] = {}
    groups = False
    for function in code.every_function():
        for each in function.decorator_list:
            called = code.called(each) or code.dotted(each)
            if called.endswith(".command"):
                first = each.args[:1] if isinstance(each, ast.Call) else []
                named = code.text(first[0]) if first else ""
                commands[named or function.name.replace("_", "-")] = function
                groups = groups or called.split(".")[0] not in CLICK
    if not commands:
        return None
    name = "train" if "train" in commands else next(iter(commands))
    function = commands[name]
    options: list[Option] = []
    notes = list(_others(name, commands, function.lineno))
    for each in function.decorator_list:
        package, _, kind = code.called(each).rpartition(".")
        if isinstance(each, ast.Call) and package in CLICK and kind in ("option", "argument"):
            made = _click_option(code, each, positional=kind == "argument")
            written = code.text_of(each)
            if made is None:
                notes.append(Note(line=each.lineno, text=f"its name is computed: {written}"))
            else:
                options.append(made)
    return Found(
        kind="Click",
        style="args",
        line=function.lineno,
        options=tuple(options),
        notes=tuple(notes),
        words=(name,) if groups else (),
    )


def _click_option(code: Code, node: ast.Call, *, positional: bool) -> Option | None:
    names = [code.text(each) for each in node.args]
    if not names or not names[0]:
        return None
    settings = {each.arg: each.value for each in node.keywords if each.arg is not None}
    kind = settings.get("type")
    choices: tuple[Any, ...] = ()
    if isinstance(kind, ast.Call) and code.called(kind).endswith(".Choice") and kind.args:
        choices = code.choices(kind.args[0])
    bare = Option(
        key=names[0],
        line=node.lineno,
        about=code.text(settings.get("help")),
        choices=choices,
    )
    default = settings.get("default")
    if positional:
        if default is None and _says(settings, "required", False):
            return replace(bare, note="a positional argument that may be left out")
        return _positional(code, bare, default, _click_kind(code, kind))
    on, off = _pair(names)
    key = on or long_name([name for name in names if "/" not in name])
    bare = replace(bare, key=key or off or names[0].lstrip("-"))
    if not key and not off:
        return replace(bare, note=f"{names[0]} has no long form: it stands in `command`")
    if off or _says(settings, "is_flag", True):
        return _click_switch(code, bare, default, on=key, off=off)
    if any(name in settings for name in ("multiple", "count", "nargs", "flag_value")):
        return replace(bare, note="it is given in another way than --key value")
    if default is None:
        required = _says(settings, "required", True)
        return replace(bare, note=no_default(required), needed=required)
    return _click_valued(code, bare, default, kind)


def _click_valued(code: Code, bare: Option, default: ast.expr, kind: ast.expr | None) -> Option:
    option = _valued(code, bare, default, _click_kind(code, kind))
    if isinstance(option.value, bool):  # --mixup true: Click reads a text
        text, off = str(option.value).lower(), "false" if option.value else None
        note = "the command line takes it as a text"
        return replace(option, value=text, off=off, choices=("true", "false"), note=note)
    return option


def _click_kind(code: Code, node: ast.expr | None) -> str:
    name = code.dotted(node.func if isinstance(node, ast.Call) else node).split(".")[-1].lower()
    return next((kind for kind in ("float", "int") if name.startswith(kind)), name)


def _click_switch(
    code: Code, bare: Option, default: ast.expr | None, *, on: str, off: str
) -> Option:
    try:
        is_on = bool(code.value(default)) if default is not None else False
    except Unread as why:
        return replace(bare, note=f"its default is {why}")
    return switch(bare, default=is_on, turns_on=on, turns_off=off)


def _says(settings: dict[str, ast.expr], name: str, value: bool) -> bool:
    node = settings.get(name)
    return isinstance(node, ast.Constant) and node.value is value


# Fire.


def fire_options(code: Code) -> Found | None:
    """Return the arguments of the function that `fire.Fire` is given; None without one."""
    for call in code.all(ast.Call):
        if code.called(call) != "fire.Fire" or not call.args:
            continue
        function = code.functions.get(code.dotted(call.args[0]))
        if function is None:
            continue
        options = [_fire_option(code, each) for each in _arguments(function)]
        return Found(kind="Fire", style="args", line=call.lineno, options=tuple(options))
    return None


def _fire_option(code: Code, argument: _Argument) -> Option:
    bare = Option(key=argument.name, line=argument.line, about=code.comment(argument.line))
    option = _valued(code, bare, argument.default, "")
    if isinstance(option.value, bool):
        return switch(bare, default=option.value, turns_on=bare.key, turns_off=f"no{bare.key}")
    return option


# A function that takes the config itself.


def entry_options(code: Code) -> Found | None:
    """Return what `def train(config, run)` reads of its config; None without such a function."""
    for function in code.functions.values():
        names = [each.name for each in _arguments(function)]
        if len(names) == 2 and names[1] == "run":
            break
    else:
        return None
    defaults = dict(_module_defaults(code, function))
    used = {option.key: option for option in _read_of(code, function, names[0])}
    options = [*defaults.values()]
    for key, option in used.items():
        if key not in defaults:
            options.append(option)
    return Found(
        kind=f"a function of {names[0]} and run",
        style="entry",
        line=function.lineno,
        options=tuple(options),
        function=function.name,
    )


def _module_defaults(code: Code, function: Function) -> Iterator[tuple[str, Option]]:
    """Yield the entries of a table such as `CONFIG = {...}` that stands in the script."""
    for name, node in code.constants.items():
        if name.strip("_").upper() not in _TABLES or not isinstance(node, ast.Dict):
            continue
        yield from _entries(code, node)
        return
    for call in code.all(ast.Call):
        if code.dotted(call.func) == function.name and call.args:
            first = call.args[0]
            if isinstance(first, ast.Dict):
                yield from _entries(code, first)
                return


_TABLES = ("CONFIG", "CFG", "DEFAULT", "DEFAULTS", "DEFAULT_CONFIG", "HPARAMS", "PARAMS")


def _entries(code: Code, node: ast.Dict) -> Iterator[tuple[str, Option]]:
    for key, value in zip(node.keys, node.values, strict=True):
        name = code.text(key)
        if name and key is not None:
            bare = Option(key=name, line=key.lineno, about=code.comment(key.lineno))
            yield name, entry_value(code, bare, value)


def entry_value(code: Code, bare: Option, node: ast.expr | None) -> Option:
    """Return an option that gets a value of Python, not a text."""
    try:
        value = code.value(node) if node is not None else None
    except Unread as why:
        return replace(bare, note=f"its default is {why}")
    if value is None or value == {}:
        return replace(bare, note=no_default(False))
    return replace(bare, value=value, off=False if value is True else None)


def _read_of(code: Code, function: Function, name: str) -> Iterator[Option]:
    """Yield what a function reads of its argument: `config["lr"]`, `.get("lr", 0.1)`, `.lr`."""
    seen: set[str] = set()
    for node in in_order(function):
        key, default = _key_read(code, node, name)
        if key and key not in seen:
            seen.add(key)
            bare = Option(key=key, line=node.lineno)
            if default is not None:
                yield entry_value(code, bare, default)
            else:
                yield replace(bare, needed=True, note="the function reads it")


def _key_read(code: Code, node: ast.AST, name: str) -> tuple[str, ast.expr | None]:
    """Return the key that an expression reads of the table called `name`, and its default."""
    if isinstance(node, ast.Subscript) and _is_name(node.value, name):
        is_read = isinstance(node.slice, ast.Constant) and isinstance(node.ctx, ast.Load)
        return (code.text(node.slice) if is_read else ""), None
    if not isinstance(node, ast.Attribute) or not _is_name(node.value, name):
        return "", None
    call = code.parents.get(node)
    if node.attr == "get" and isinstance(call, ast.Call) and call.args:
        return code.text(call.args[0]), call.args[1] if len(call.args) > 1 else None
    is_key = isinstance(node.ctx, ast.Load) and node.attr not in _OF_TABLES
    return (node.attr if is_key else ""), None


_OF_TABLES = ("get", "items", "keys", "values", "copy", "update", "pop", "setdefault")


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
