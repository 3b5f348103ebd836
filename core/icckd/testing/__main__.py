"""`python -m icckd.testing my_parts.py`: tries the laws of a plug-in's parts, without pytest.

`python -m icckd.testing executor NAME` tries those of an executor.
"""

import argparse
import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icckd.errors import IcckdError, UsageError
from icckd.testing.executors import case_of, laws_of_executor
from icckd.testing.laws import BrokenLawError, sentence
from icckd.testing.trials import Asked, Trials

EXECUTOR = "executor"


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all laws, print a line of each; return the exit code: 1 where one is broken."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if words[:1] == [EXECUTOR] and len(words) > 1:
            return _try_executor(words[1:])
        return _try_all(_asked(arguments))
    except IcckdError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code


def _asked(arguments: Sequence[str] | None) -> Asked:
    parser = argparse.ArgumentParser(
        prog="python -m icckd.testing",
        description="Try what icckd demands of a model, distiller, loss, data set or metric.",
    )
    parser.add_argument("plugin", help="a file, or an entry point of the group icckd.parts")
    parser.add_argument(
        "--settings",
        nargs=2,
        action="append",
        default=[],
        metavar=("PART", "TABLE"),
        help="settings to try, as in 'model perceptron' '{ hidden = 8 }'; may be repeated",
    )
    parser.add_argument(
        "--image",
        metavar="CxHxW",
        help="channels, height and width of the images that models are tried on, as in 3x32x32",
    )
    given = parser.parse_args(arguments)
    settings: dict[str, list[dict[str, Any]]] = {}
    for part, table in given.settings:
        settings.setdefault(part, []).append(_table(table))
    return Asked(plugin=given.plugin, settings=settings, image=_image(given.image))


def _table(text: str) -> dict[str, Any]:
    try:
        found = tomllib.loads(f"it = {text}")["it"]
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"--settings takes an inline table of TOML, not {text!r}: {error}",
            hint="write it as '{ hidden = 8 }'",
        ) from error
    return dict(found)


def _image(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    numbers = text.split("x")
    if len(numbers) != 3 or not all(each.isdigit() and int(each) for each in numbers):
        raise UsageError(
            f"--image takes channels, height and width, not {text!r}", hint="write it as 3x32x32"
        )
    channels, height, width = map(int, numbers)
    return channels, height, width


def _try_all(asked: Asked) -> int:
    trials = Trials(asked)
    counts = {"holds": 0, "broken": 0, "not tried": 0}
    before = ""
    for number, trial in enumerate(trials.trials):
        if trial.part != before:
            print(trial.part)
            before = trial.part
        tried = trials.hold(number)
        counts[tried.verdict] += 1
        print(f"  {tried.verdict:9}  {trial.text}", flush=True)
        if tried.text:
            print("             " + tried.text.replace("\n", "\n             "))
    print(
        f"{counts['holds']} laws hold, {counts['broken']} are broken,"
        f" {counts['not tried']} were not tried"
    )
    return 1 if counts["broken"] else 0


def _try_executor(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog=f"python -m icckd.testing {EXECUTOR}",
        description="Try what icckd demands of an executor, by the capabilities that it declares.",
    )
    parser.add_argument("name", help="an executor, as icckd run --executor finds it")
    parser.add_argument(
        "--folder", type=Path, help="where state folders are made: one that all machines see"
    )
    given = parser.parse_args(words)
    broken = 0
    laws = laws_of_executor(given.name)
    for number, law in enumerate(laws):
        home = given.folder and given.folder / f"{number}-{os.getpid()}"
        with case_of(given.name, home) as case:
            try:
                law(case)
            except BrokenLawError as error:
                broken += 1
                print(f"  broken     {sentence(law)}\n             {error}", flush=True)
            else:
                print(f"  holds      {sentence(law)}", flush=True)
    print(f"{len(laws) - broken} laws hold, {broken} are broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
