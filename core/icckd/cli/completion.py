"""What the shell offers after Tab: studies, arms and metrics that are there at this moment.

Nothing here opens a database or loads what trains, nothing is written, and nothing raises: a shell
that completes has no place for an error. Journals are read by their first lines, unchecked, for
what is offered is only typed, and checked when the command runs.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ParamSpec

import typer

P = ParamSpec("P")
MOST_STUDY_FILES = 200
LONGEST_LINE = 32 << 20
"""A plan is one line; a longer one is not read for a Tab."""
_HEADER_LINES = 3
"""The plan stands in one of the first lines."""


def _quiet(found: Callable[P, Iterable[str]]) -> Callable[P, list[str]]:
    """Make a function that offers nothing where it fails."""

    def offer(*arguments: P.args, **options: P.kwargs) -> list[str]:
        try:
            return list(dict.fromkeys(found(*arguments, **options)))
        except Exception:  # whatever it was: the shell goes on without an offer
            return []

    return offer


def study_files(incomplete: str) -> list[str]:
    """Return the study files in the folder that is being typed, and the shipped studies."""
    return _studies(incomplete, names=False)


def studies(incomplete: str) -> list[str]:
    """Return the names of the studies that were run, then study files and shipped studies."""
    return _studies(incomplete, names=True)


def arms(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the arms of the study that `--study` names, or of the newest one."""
    return _of_plan(ctx.params, incomplete, _arms)


def metrics(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the metrics that the plan of that study names."""
    return _of_plan(ctx.params, incomplete, _metrics)


@_quiet
def _studies(incomplete: str, *, names: bool) -> Iterator[str]:
    if names:
        yield from (name for name, _ in _sessions() if name.startswith(incomplete))
    folder = Path(incomplete).parent if "/" in incomplete else Path()
    typed = incomplete.rpartition("/")[0] + "/" if "/" in incomplete else ""
    for count, entry in enumerate(sorted(folder.expanduser().glob("*.toml"))):
        if count == MOST_STUDY_FILES:
            break
        if (name := f"{typed}{entry.name}").startswith(incomplete) and _is_study(entry):
            yield name
    from icckd.study.shipped import shipped_names

    offered = (f"shipped:{name}" for name in shipped_names())
    yield from (name for name in offered if name.startswith(incomplete))


def _is_study(path: Path) -> bool:
    with path.open("rb") as file:
        return b"[study]" in file.read(1 << 20)


@_quiet
def _of_plan(
    params: dict[str, Any], incomplete: str, read: Callable[[dict[str, Any]], Iterable[str]]
) -> Iterator[str]:
    wanted = params.get("study")
    named = str(wanted) if wanted else ""
    if named.endswith(".toml"):
        named = _name_in(Path(named))
    for name, journal in reversed(list(_sessions())):
        if named in ("", name) and (plan := _plan(journal)) is not None:
            yield from (each for each in read(plan) if each.startswith(incomplete))
            return


def _name_in(path: Path) -> str:
    import tomllib

    return str(tomllib.loads(path.read_text())["study"]["name"])


def _arms(plan: dict[str, Any]) -> Iterator[str]:
    yield from (str(arm["name"]) for arm in plan["arms"])


def _metrics(plan: dict[str, Any]) -> Iterator[str]:
    study = plan["study"]["study"]
    yield str(study.get("primary") or "student.top1")
    yield from map(str, plan["study"].get("outcomes") or ())


def _sessions() -> Iterator[tuple[str, Path]]:
    """Yield study and journal of each session, the oldest first."""
    from icckd.variables import state_folder

    found = []
    for journal in (state_folder() / "sessions").glob("*/journal.jsonl"):
        header = next(_lines(journal), {})
        if header.get("k") == "H":
            found.append((header.get("ordinal", 0), header["t"], str(header["study"]), journal))
    yield from ((study, journal) for _, _, study, journal in sorted(found))


def _plan(journal: Path) -> dict[str, Any] | None:
    return next((line for line in _lines(journal) if line.get("k") == "p"), None)


def _lines(journal: Path) -> Iterator[dict[str, Any]]:
    """Yield the first lines of a journal that can be read."""
    try:
        with journal.open("rb") as file:
            for _ in range(_HEADER_LINES):
                yield json.loads(file.readline(LONGEST_LINE))
    except (OSError, ValueError, RecursionError):
        return
