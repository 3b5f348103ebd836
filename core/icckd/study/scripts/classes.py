"""Configurations that are classes: dataclasses and pydantic models, and what fills them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from icckd.study.scripts.code import MAX_DEPTH, Code, Unread
from icckd.study.scripts.functions import entry_value
from icckd.study.scripts.options import no_default
from icckd.study.scripts.records import Found, Note, Option, Style
from icckd.study.scripts.switches import switch, text_switch

NAMES = ("config", "cfg", "args", "arguments", "settings", "options", "hparams", "params")
"""What the name of a class ends with that is a configuration."""
ADAPTER = "icckd_task"
"""The function that a user adds to a script whose class nothing fills from outside."""


@dataclass(frozen=True, slots=True)
class _Filler:
    """What fills a class from outside.

    Attributes:
        kind: In words.
        style: How options are given.
        switches: How a boolean is spelled: "pair" (`--x`, `--no-x`), "no_" (`--x`, `--no_x`), or
            "text" (`--x true`); "" where values keep their type.
        prefix: What names of variables begin with.
    """

    kind: str
    style: Style
    switches: str = ""
    prefix: str = ""


def class_options(code: Code) -> Found | None:
    """Return the fields of the class that configures the script; None where there is none."""
    configs = {name: node for name, node in code.classes.items() if _is_config(code, node)}
    filled = next(_filled(code, configs), None)
    if filled is not None:
        name, line, filler = filled
    else:
        name, line, filler = _likely(code, configs), 0, _Filler("", "entry")
    if not name:
        return None
    notes: list[Note] = []
    options = tuple(_fields(code, configs[name], filler, "", notes, MAX_DEPTH))
    kind = f"{filler.kind}, of the class {name}" if filler.kind else f"the class {name}"
    others = [each for each in configs if each != name and each not in _inner(code, configs[name])]
    if others:
        notes.append(
            Note(line=configs[name].lineno, text=f"not read: the classes {', '.join(others)}")
        )
    return Found(
        kind=kind,
        style=filler.style,
        line=line or configs[name].lineno,
        options=options,
        notes=tuple(notes),
        function=ADAPTER if filler.style == "entry" else "",
        exists=filler.style != "entry",
        adapter=_adapter(code, name, options) if filler.style == "entry" else (),
        prefix=filler.prefix,
    )


def class_fields(code: Code, node: ast.ClassDef) -> tuple[tuple[Option, ...], tuple[Note, ...]]:
    """Return the fields of a class whose values keep their type, and what could not be read."""
    notes: list[Note] = []
    options = tuple(_fields(code, node, _Filler("", "overrides"), "", notes, MAX_DEPTH))
    return options, tuple(notes)


def _is_config(code: Code, node: ast.ClassDef) -> bool:
    return _is_dataclass(code, node) or _is_pydantic(code, node)


def _is_dataclass(code: Code, node: ast.ClassDef) -> bool:
    made = [(code.called(each) or code.dotted(each)).split(".")[-1] for each in node.decorator_list]
    return any(name in ("dataclass", "define", "frozen") for name in made)


def _is_pydantic(code: Code, node: ast.ClassDef) -> bool:
    bases = [code.dotted(each) for each in node.bases]
    return any(
        base.split(".")[-1] in ("BaseModel", "BaseSettings")
        or (base in code.classes and base != node.name and _is_pydantic(code, code.classes[base]))
        for base in bases
    )


def _filled(code: Code, configs: dict[str, ast.ClassDef]) -> Iterator[tuple[str, int, _Filler]]:
    """Yield what fills a class from outside, where a call or a base class says so."""
    for call in code.all(ast.Call):
        filler = _filler(code.called(call))
        given = [*call.args, *(each.value for each in call.keywords)]
        for node in [inner for each in given for inner in _elements(each)]:
            if filler is not None and code.dotted(node) in configs:
                yield code.dotted(node), call.lineno, filler
    for name, made in configs.items():
        if any(code.dotted(base).endswith("BaseSettings") for base in made.bases):
            settings = _settings_of(code, made)
            prefix = str(settings.get("env_prefix", ""))
            style: Style = "args" if settings.get("cli_parse_args") else "env"
            yield name, made.lineno, _Filler("pydantic-settings", style, "text", prefix)


def _filler(called: str) -> _Filler | None:
    """Return what fills a class that a call is given."""
    package = called.partition(".")[0]
    last = called.rpartition(".")[2]
    if package == "tyro":
        return _Filler("tyro", "args", "pair")
    if last == "HfArgumentParser":
        return _Filler("HfArgumentParser", "args", "no_")
    if last == "add_arguments" or package == "simple_parsing":
        return _Filler("simple_parsing", "args", "text")
    if package in ("pyrallis", "draccus"):
        return _Filler(package, "args", "text")
    return None


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple | ast.List) else [node]


def _settings_of(code: Code, node: ast.ClassDef) -> dict[str, object]:
    """Return what `model_config` of a class says."""
    for each in node.body:
        value = each.value if isinstance(each, ast.Assign | ast.AnnAssign) else None
        target = each.targets[0] if isinstance(each, ast.Assign) else getattr(each, "target", None)
        if not (isinstance(target, ast.Name) and target.id == "model_config"):
            continue
        found: dict[str, object] = {}
        for key in value.keywords if isinstance(value, ast.Call) else ():
            if key.arg is not None:
                try:
                    found[key.arg] = code.value(key.value)
                except Unread:
                    continue
        return found
    return {}


def _likely(code: Code, configs: dict[str, ast.ClassDef]) -> str:
    """Return the class that seems to configure the script: by its name, the outermost one."""
    inner = {each for node in configs.values() for each in _inner(code, node)}
    for name in configs:
        if name.lower().endswith(NAMES) and name not in inner:
            return name
    return ""


def _inner(code: Code, node: ast.ClassDef) -> set[str]:
    """Return the names that annotations of a class mention."""
    return {
        name.id
        for each in node.body
        if isinstance(each, ast.AnnAssign)
        for name in ast.walk(each.annotation)
        if isinstance(name, ast.Name)
    }


# Fields.


def _fields(
    code: Code, node: ast.ClassDef, filler: _Filler, above: str, notes: list[Note], depth: int
) -> Iterator[Option]:
    if depth == 0:
        notes.append(Note(line=node.lineno, text=f"{node.name} nests too deep"))
        return
    for base in node.bases:
        parent = code.classes.get(code.dotted(base))
        if parent is not None and parent is not node:
            yield from _fields(code, parent, filler, above, notes, depth - 1)
    for place, each in enumerate(node.body):
        if not (isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)):
            continue
        name = each.target.id
        if name == "model_config" or code.dotted(each.annotation).endswith("ClassVar"):
            continue
        inner = code.classes.get(code.dotted(each.annotation))
        if inner is not None and inner is not node and _is_config(code, inner):
            if filler.style == "env":
                notes.append(Note(line=each.lineno, text=f"{name}: a table inside is not read"))
            else:
                yield from _fields(code, inner, filler, f"{above}{name}.", notes, depth - 1)
            continue
        about = _docstring(node, place) or code.comment(each.lineno)
        bare = Option(key=f"{above}{name}", line=each.lineno, about=about)
        yield _spelled(_field(code, bare, each), filler)


def _docstring(node: ast.ClassDef, place: int) -> str:
    """Return the text that stands below a field."""
    following = node.body[place + 1] if place + 1 < len(node.body) else None
    if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
        text = following.value.value
        return " ".join(text.split()) if isinstance(text, str) else ""
    return ""


def _field(code: Code, bare: Option, node: ast.AnnAssign) -> Option:
    """Return a field with its default, about and choices."""
    bare = replace(bare, choices=_literals(code, node.annotation))
    value = node.value
    if isinstance(value, ast.Call) and code.called(value).split(".")[-1] in _FIELDS:
        settings = {each.arg: each.value for each in value.keywords if each.arg is not None}
        about = code.text(settings.get("description")) or _metadata_help(code, settings)
        bare = replace(bare, about=about or bare.about)
        value = settings.get("default", value.args[0] if value.args else None)
        factory = settings.get("default_factory")
        if value is None and isinstance(factory, ast.Lambda):
            value = factory.body
        elif value is None and factory is not None:
            return replace(bare, note=f"its default is made by {code.text_of(factory)}")
        if isinstance(value, ast.Constant) and value.value is Ellipsis:
            value = None
    if value is None:
        return replace(bare, note=no_default(True), needed=True)
    return entry_value(code, bare, value)


_FIELDS = ("field", "Field", "ib", "attrib", "mutable_field", "choice")


def _metadata_help(code: Code, settings: dict[str, ast.expr]) -> str:
    if help_ := settings.get("help"):
        return code.text(help_)
    metadata = settings.get("metadata")
    if isinstance(metadata, ast.Dict):
        for key, value in zip(metadata.keys, metadata.values, strict=True):
            if code.text(key) == "help":
                return code.text(value)
    return ""


def _literals(code: Code, annotation: ast.expr) -> tuple[object, ...]:
    """Return the values of `Literal["a", "b"]`."""
    if isinstance(annotation, ast.Subscript) and code.dotted(annotation.value).endswith("Literal"):
        node = annotation.slice
        return code.choices(node if isinstance(node, ast.Tuple) else None)
    return ()


def _spelled(option: Option, filler: _Filler) -> Option:
    """Return an option as the filler's command line or variables take it."""
    value = option.value
    if not isinstance(value, bool) or not filler.switches:
        if isinstance(value, dict) and filler.style != "entry":
            return replace(option, value=None, note="its default is a table")
        if isinstance(value, list) and filler.style == "env":
            return replace(option, value=None, note="a list in a variable: write it by hand")
        return option
    if filler.switches == "text":
        return text_switch(option, default=value)
    if filler.switches == "pair":  # tyro has dashes
        option = replace(option, key=option.key.replace("_", "-"))
    way, dot, name = option.key.rpartition(".")
    negated = f"no-{name}" if filler.switches == "pair" else f"no_{name}"
    return switch(
        replace(option, value=None, off=None),
        default=value, turns_on=option.key, turns_off=f"{way}{dot}{negated}",
    )  # fmt: skip


def _adapter(code: Code, name: str, options: tuple[Option, ...]) -> tuple[str, ...]:
    """Return the function that makes a task of a script that fills its class itself."""
    changed = [
        f'"{field}": {inner}(**config.{field})'
        for field, inner in _tables(code, code.classes[name])
    ]
    seed = next((each.key for each in options if each.key in ("seed", "random_seed")), "")
    changed += [f'"{seed}": run.seed'] if seed else []
    given = f"{name}(**{{{', '.join(['**config', *changed])}}})" if changed else f"{name}(**config)"
    called = ""
    for function in code.functions.values():
        for argument in function.args.args:
            if argument.annotation is not None and code.dotted(argument.annotation) == name:
                called = f"{function.name}({given})"
    return (
        f"def {ADAPTER}(config, run):",
        f"    result = {called or f'...({given})'}",
        "    run.summary(score=result)  # or run.log(step=epoch, loss=loss) where it is known",
    )


def _tables(code: Code, node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield the fields of a class that are configurations themselves, with their classes."""
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            inner = code.classes.get(code.dotted(each.annotation))
            if inner is not None and inner is not node and _is_config(code, inner):
                yield each.target.id, inner.name
