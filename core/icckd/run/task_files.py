"""Which files decide what a task computes, as far as that can be known without running it.

The script of a task or the module of its function, the modules beside it that these import, the
other files that its command names, the inputs that the study declares, and the version of the
interpreter. Nothing of the user is imported: imports are read from syntax trees. What a script
opens without the study saying so, installed packages and the environment are not seen.
"""

import ast
import functools
import glob
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from icckd.errors import SpecError
from icckd.study.paths import nearest
from icckd.study.source import parse_module
from icckd.study.tasks import Task, TaskSource, interpreter_of, placeholders

PYTHONS = ("python", "python3")
"""First words of a command that stand for the interpreter of the task."""
_VERSION = "import platform; print(platform.python_version())"
_FIND = (
    "import importlib.util, sys; sys.path.insert(0, sys.argv[2]);"
    " found = importlib.util.find_spec(sys.argv[1]); print(found.origin if found else '')"
)
_START_SECONDS = 60.0
OLDEST = (3, 9)
"""The oldest Python that can call the function of an entry."""


def source_of_task(task: Task, folder: Path) -> TaskSource:
    """Return the files behind a task, with their digests.

    Args:
        task: The task.
        folder: The folder of its study, against which names are read.

    Raises:
        SpecError: A script, module, function, interpreter or program is not there, or a pattern of
            `inputs` matches nothing.
    """
    inputs = _inputs(task, folder)
    files = _class_files(task, folder)
    if task.entry is not None:
        files |= _entry_files(task, folder)
        version = python_version(task, folder)
        if _numbers(version) < OLDEST:
            raise SpecError(
                f"task: an entry needs Python 3.9, and {task.python} is {version}",
                hint="take a newer interpreter, or give command = [...]",
            )
        return TaskSource(files=files, inputs=inputs, python=version)
    words = [word for word in task.command or () if not any(placeholders(word))]
    first = (task.command or ("",))[0]
    is_python = first in PYTHONS
    if not is_python and first in words:
        program(first, folder)
    named = list(_named(words[1:] if is_python else words, folder))
    for name, path in named:
        if path.is_file():
            files |= _with_imports(name, path, folder)
    if is_python and "-m" in words:
        files |= _module_of_command(words, folder)
    return TaskSource(
        files=files,
        inputs=inputs,
        python=python_version(task, folder) if is_python else "",
        folders=tuple(name for name, path in named if path.is_dir()),
    )


def interpreter(task: Task, folder: Path) -> str:
    """Return the interpreter of a task: its own, or the one that runs icckd."""
    return interpreter_of(task.python, folder)


def program(word: str, folder: Path) -> str:
    """Return the program that the first word of a command names.

    Raises:
        SpecError: There is none.
    """
    path = str(folder / os.path.expanduser(word)) if os.sep in word else shutil.which(word)
    if path is None or not os.access(path, os.X_OK) or os.path.isdir(path):
        beside = folder / word
        if beside.is_file() and os.access(beside, os.X_OK):
            return str(beside)
        raise SpecError(
            f"task: no program {word!r} can be run",
            hint="give a program on the PATH, or one beside the study that is executable",
        )
    return path


def word_in(folder: Path, word: str) -> str:
    """Return a word of a command: with its whole path if it names a file or folder of the study."""
    is_name = word and not word.startswith("-") and not os.path.isabs(word)
    return str(folder / word) if is_name and (folder / word).exists() else word


def python_version(task: Task, folder: Path) -> str:
    """Return the version of a task's interpreter.

    Raises:
        SpecError: It cannot be run.
    """
    return _version_of(interpreter(task, folder))


def python_of(task: Task, folder: Path) -> str:
    """Return the version of the interpreter of a task; "" where it has none, or it fails."""
    is_python = task.entry is not None or (task.command or ("",))[0] in PYTHONS
    try:
        return python_version(task, folder) if is_python else ""
    except SpecError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version; none where it has no such numbers."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


@functools.cache
def _version_of(python: str) -> str:
    if python == sys.executable:
        return sys.version.split()[0].rstrip("+")
    return _ask(python, "-c", _VERSION)


def _ask(python: str, *arguments: str) -> str:
    """Return what an interpreter prints.

    Raises:
        SpecError: It cannot be run, or fails.
    """
    hint = "task.python is the path of a Python interpreter, such as ../env/bin/python"
    try:
        done = subprocess.run(
            [python, *arguments], capture_output=True, text=True, timeout=_START_SECONDS,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise SpecError(f"task: {python} did not answer in a minute", hint=hint) from error
    except OSError as error:
        raise SpecError(f"task: cannot run {python}: {error.strerror}", hint=hint) from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        raise SpecError(f"task: {python} cannot be used: {last}", hint=hint)
    return done.stdout.strip()


# The function of an entry.


def entry_file(task: Task, folder: Path) -> Path:
    """Return the file of the module that an entry names.

    Raises:
        SpecError: There is none.
    """
    module, _, _ = (task.entry or "").rpartition(":")
    if module.endswith(".py"):
        path = folder / module
        if not path.is_file():
            scripts = sorted(each.name for each in folder.glob("*.py"))
            raise SpecError(
                f"task: entry = {task.entry!r}: there is no file {path}",
                hint=nearest(module, scripts) if scripts else "entry names a file beside the study",
            )
        return path
    beside = folder.joinpath(*module.split("."))
    for path in (beside.with_suffix(".py"), beside / "__init__.py"):
        if path.is_file():
            return path
    found = _find_module(interpreter(task, folder), module, str(folder))
    if not found or not Path(found).is_file():
        raise SpecError(
            f"task: entry = {task.entry!r}: there is no module {module!r}",
            hint='entry = "train.py:train" names a file beside the study, and a function in it',
        )
    return Path(found)


@functools.cache
def _find_module(python: str, module: str, folder: str) -> str:
    return _ask(python, "-c", _FIND, module, folder)


def _entry_files(task: Task, folder: Path) -> dict[str, str]:
    path = entry_file(task, folder)
    _, _, function = (task.entry or "").rpartition(":")
    defined = _top_level_names(path)
    if function not in defined:
        raise SpecError(
            f"task: entry = {task.entry!r}: {path.name} has no function {function!r}",
            hint=nearest(function, sorted(defined)) if defined else "it defines nothing",
        )
    module = (task.entry or "").rpartition(":")[0]
    if module.endswith(".py"):
        return _with_imports(module, path, folder)
    if not path.is_relative_to(folder):
        return {module: digest_of_file(path)}
    return _with_imports(path.relative_to(folder).as_posix(), path, folder, root=folder)


def _class_files(task: Task, folder: Path) -> dict[str, str]:
    """Return the files behind the class of a task's config, where it lies beside the study."""
    module = (task.config_class or "").rpartition(":")[0]
    path = folder / module if module.endswith(".py") else folder.joinpath(*module.split("."))
    for file in (path, path.with_suffix(".py"), path / "__init__.py"):
        if module and file.is_file():
            return _with_imports(file.relative_to(folder).as_posix(), file, folder, root=folder)
    return {}


def _top_level_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in _parsed(path).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {each.asname or each.name for each in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise SpecError(
            f"task: {path.name}, line {error.lineno}: {error.msg}", hint="mend the file"
        ) from error
    except ValueError as error:
        raise SpecError(f"task: {path.name} is no Python: {error}", hint="mend the file") from error
    except OSError as error:
        raise SpecError(
            f"task: cannot read {path}: {error.strerror}", hint="ask for the rights"
        ) from error


# The files of a command, and the modules beside a script.


def _named(words: list[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the words that name a file or folder of the study, each once."""
    for word in dict.fromkeys(words):
        if word and not word.startswith("-") and (folder / word).exists():
            yield word, folder / word


def _module_of_command(words: list[str], folder: Path) -> dict[str, str]:
    """Return the files behind `python -m module`, where the module lies beside the study."""
    place = words.index("-m") + 1
    if place >= len(words):
        return {}
    beside = folder.joinpath(*words[place].split("."))
    for path in (beside.with_suffix(".py"), beside / "__main__.py"):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            return _with_imports(name, path, folder, root=folder)
    return {}


def _with_imports(
    name: str, path: Path, folder: Path, *, root: Path | None = None
) -> dict[str, str]:
    """Return the digest of a file, and of the modules beside it that a script imports.

    Args:
        name: What to call the file.
        path: Where it is.
        folder: The study's folder: files in it are called by their path from there.
        root: Where its imports are looked for; by default beside it, as for `python script.py`.
    """
    found = {name: digest_of_file(path)}
    if path.suffix != ".py":
        return found
    waiting, seen = [path], {path}
    if root is None:
        root = path.parent
    else:  # the packages around a module are imported before it
        parts = path.relative_to(root).with_suffix("").parts
        for package in _modules(root, list(parts[:-1])):
            seen.add(package)
            waiting.append(package)
            found[package.relative_to(folder).as_posix()] = digest_of_file(package)
    while waiting:
        for module in _imported(waiting.pop(), root):
            if module not in seen:
                seen.add(module)
                waiting.append(module)
                is_inside = module.is_relative_to(folder)
                label = module.relative_to(folder if is_inside else root).as_posix()
                found[label] = digest_of_file(module)
    return dict(sorted(found.items()))


def _imported(path: Path, root: Path) -> Iterator[Path]:
    """Yield the files below `root` of the modules that a file imports anywhere."""
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            for each in node.names:
                yield from _modules(root, each.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = root
            if node.level:
                base = path.parents[node.level - 1]
            parts = node.module.split(".") if node.module else []
            yield from _modules(base, parts)
            for each in node.names:
                yield from _modules(base, [*parts, each.name])


def _modules(root: Path, parts: list[str]) -> Iterator[Path]:
    """Yield the files of a module and of the packages around it, those that exist."""
    for length in range(1, len(parts) + 1):
        path = root.joinpath(*parts[:length])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                yield file


def _inputs(task: Task, folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for pattern in task.inputs:
        names = sorted(glob.glob(os.path.expanduser(pattern), root_dir=folder, recursive=True))
        files = [n for n in names if (folder / n).is_file() and "__pycache__" not in Path(n).parts]
        if not files:
            raise SpecError(
                f"task: inputs = {pattern!r} matches no file in {folder}",
                hint="** goes into folders, as in src/**/*.py",
            )
        found |= {name: digest_of_file(folder / name) for name in files}
    return found


def digest_of_file(path: Path) -> str:
    """Return what names the content of a file; of Python, comments and layout do not count.

    Raises:
        SpecError: It cannot be read.
    """
    try:
        told = path.stat()
        return _digest(path, told.st_mtime_ns, told.st_size, told.st_ino)
    except OSError as error:
        raise SpecError(
            f"task: cannot read {path}: {error.strerror}", hint="ask for the rights"
        ) from error


@functools.lru_cache(maxsize=65536)
def _digest(path: Path, changed: int, size: int, inode: int) -> str:
    if path.suffix == ".py":
        return parse_module(path.read_bytes(), path.stem).digest
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
