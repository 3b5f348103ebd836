"""Read a training script: which options it has, which of them icckd sets, what it gives."""

import ast
import re
from dataclasses import replace
from pathlib import Path

from icckd.errors import UsageError
from icckd.study.scripts.classes import class_options
from icckd.study.scripts.code import Code, read_code
from icckd.study.scripts.functions import (
    click_options,
    entry_options,
    fire_options,
    typer_options,
)
from icckd.study.scripts.hydra import hydra_options
from icckd.study.scripts.options import absl_options, argparse_options
from icckd.study.scripts.outputs import guesses
from icckd.study.scripts.records import Found, Option, Script

READERS = (
    entry_options, hydra_options, typer_options, click_options, fire_options, argparse_options,
    absl_options, class_options,
)  # fmt: skip
"""Kinds of interfaces, the more telling ones first."""

SEEDS = ("seed", "random_seed", "manual_seed", "rng_seed", "random_state", "global_seed")
DEVICES = ("device", "torch_device")
FOLDERS = (
    "out", "output", "outdir", "out_dir", "output_dir", "output_folder", "output_path", "out_path",
    "save_dir", "save_folder", "save_path", "log_dir", "logdir", "log_folder", "result_dir",
    "results_dir", "results", "work_dir", "workdir", "run_dir", "rundir", "exp_dir",
    "experiment_dir", "checkpoint_dir", "ckpt_dir", "default_root_dir",
)  # fmt: skip


def read_script(path: Path) -> Script:
    """Return what a script says of itself. It is not imported and nothing of it runs.

    Raises:
        UsageError: It cannot be read, is no Python, or has no options that are seen.
    """
    code = read_code(path)
    try:
        return _read(code)
    except RecursionError as error:
        raise UsageError(
            f"the script {path} nests too deep to be read", hint="write its study by hand"
        ) from error


def _read(code: Code) -> Script:
    found = _interface(code)
    options = [_negated(option) for option in found.options]
    seed = _taken(options, SEEDS)
    device = folder = None
    if found.style != "entry":
        device = _taken(options, DEVICES)
        folder = _folder(options)
    return Script(
        name=code.path.name,
        lines=code.lines,
        found=found,
        seed=seed,
        device=device,
        folder=folder,
        options=tuple(options),
        seed_variable="" if seed is not None else _seed_variable(code),
        guesses=guesses(code, has_folder=folder is not None, logs=found.style == "entry"),
    )


def _negated(option: Option) -> Option:
    """Return an option such as `--no-mixup`, which is false, as the switch of what it names."""
    way, dot, name = option.key.rpartition(".")
    named = re.match(r"(?:no|disable|without|wo|skip)[-_](.+)", name)
    if named is None or option.value is not False or option.off is not None:
        return option
    return replace(option, off=True, part=f"{way}{dot}{named[1]}")


def _interface(code: Code) -> Found:
    empty: Found | None = None
    for reader in READERS:
        found = reader(code)
        if found is not None and (found.options or found.kind == "Hydra"):
            return found
        empty = empty or found
    if empty is not None and empty.style == "entry":
        return empty
    unread = f" ({empty.kind} is there, and none of its options can be read)" if empty else ""
    raise UsageError(
        f"the script {code.path} has no options{unread}",
        hint="give it options by argparse, or a function train(config, run) that reads config",
    )


def _taken(options: list[Option], names: tuple[str, ...]) -> Option | None:
    """Take the option of one of some names out of the options."""
    for name in names:
        for place, option in enumerate(options):
            last = option.key.rpartition(".")[2].replace("-", "_").lower()
            if last == name and not option.words and not isinstance(option.value, bool | list):
                return options.pop(place)
    return None


def _folder(options: list[Option]) -> Option | None:
    """Take the option for the folder of the results: a text that names no file."""
    left = [
        option
        for option in options
        if option.value is None or (isinstance(option.value, str) and _is_folder(option.value))
        if "." not in option.key or option.key.startswith("path")
        if not option.note.startswith("action")
    ]
    taken = _taken(left, FOLDERS)
    if taken is not None:
        options.remove(taken)
    return taken


def _is_folder(value: str) -> bool:
    return not re.search(r"\.[A-Za-z][A-Za-z0-9]{0,5}$", value)


def _seed_variable(code: Code) -> str:
    """Return the environment variable that seems to hold the seed; "" if there is none."""
    for node in code.nodes:
        name = ""
        if isinstance(node, ast.Call) and code.called(node) in ("os.getenv", "os.environ.get"):
            name = code.text(node.args[0]) if node.args else ""
        elif isinstance(node, ast.Subscript) and code.dotted(node.value) == "os.environ":
            name = code.text(node.slice)
        if re.fullmatch(r"([A-Z0-9_]+_)?SEED", name) and name != "PYTHONHASHSEED":
            return name
    return ""
