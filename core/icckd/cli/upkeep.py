"""Verbs that look after files: fsck and clean for the state folder, convert for weights."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icckd.cli.report import state_folder
from icckd.errors import UsageError
from icckd.variables import expanded

if TYPE_CHECKING:
    from icckd.train.weights import Wanted


def fsck(
    repair: Annotated[
        bool, typer.Option("--repair", help="Move away what is wrong and can be made again.")
    ] = False,
) -> None:
    """Check the state folder, and mend it with --repair.

    Exit code 1 when something is missing or damaged.
    """
    from icckd.report.text import display
    from icckd.results import fsck as upkeep

    folder = state_folder()
    found = upkeep.check(folder, _tell_progress())
    for finding in found.findings:
        print(f"{finding.verdict:<8} {display(finding.where)}: {display(finding.text)}")
    if repair and not found.is_whole:
        for finding in upkeep.repair(folder, found):
            print(f"mended   {display(finding.where)}")
        found = upkeep.check(folder, _tell_progress())
    looked = f"{found.journals} journals, {found.lines} lines, {found.artifacts} artifacts"
    wrong = [finding for finding in found.findings if finding.verdict != "note"]
    print(f"whole: {looked}" if found.is_whole else f"not whole: {len(wrong)} problems in {looked}")
    sys.exit(0 if found.is_whole else 1)


PROGRESS_SECONDS = 2.0


def _tell_progress() -> Callable[[str, int, int], None]:
    """Return what tells on standard error, every two seconds, how far a long look is."""
    told_at = time.monotonic()

    def tell(what: str, done: int, total: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= PROGRESS_SECONDS:
            told_at = time.monotonic()
            print(f"icckd: looking at {what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    return tell


def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without, only show it.")] = False,
) -> None:
    """Show files of the state folder that nothing needs any more.

    Checkpoints that no plan needs, and damaged files that fsck moved away; --yes removes them.
    """
    from icckd.report.numbers import bytes_text
    from icckd.report.text import display
    from icckd.results.fsck import clean as carry_out

    folder = state_folder()
    found = carry_out(folder, remove=yes)
    for spare in found:
        where = display(str(spare.path.relative_to(folder.root)))
        print(f"{bytes_text(spare.bytes):>10}  {where}: {display(spare.text)}")
    total = bytes_text(sum(spare.bytes for spare in found))
    if not found:
        print("nothing can go: every file is needed")
    else:
        print(f"removed {total}" if yes else f"{total} in all; `icckd clean --yes` removes that")


def convert(
    source: Annotated[
        Path, typer.Argument(parser=expanded, help="A checkpoint that torch.save wrote.")
    ],
    target: Annotated[Path, typer.Argument(parser=expanded, help="The safetensors file to write.")],
    part: Annotated[
        str | None, typer.Option("--part", help="Dotted name of the state dict in the checkpoint.")
    ] = None,
    meant_for: Annotated[
        tuple[Path, str] | None,
        typer.Option(
            "--for",
            metavar="STUDY teacher|student",
            help="Take what this network of a study needs; write nothing where it does not fit.",
        ),
    ] = None,
) -> None:
    """Convert a checkpoint of another project into safetensors.

    No code of the file is run.
    """
    from icckd.report.text import display
    from icckd.train.convert import convert as carry_out

    needed = None if meant_for is None else _needed(*meant_for)
    found = carry_out(source, target, part, needed)
    print(
        f"took {found.tensors} tensors ({found.values:,} values) from"
        f" {display(found.part) or 'the whole file'}",
        file=sys.stderr,
    )
    if found.wrappers:
        print(f"took off the names: {', '.join(found.wrappers)}", file=sys.stderr)
    for text in found.left[:MOST_LEFT]:
        print(f"left {display(text)}", file=sys.stderr)
    if len(found.left) > MOST_LEFT:
        print(f"left {len(found.left) - MOST_LEFT} more", file=sys.stderr)
    if needed is not None and found.fit is not None:
        head = "; its last layer starts anew" if found.fit.new_head else ""
        print(f"fits {needed.name}: nothing is missing{head}", file=sys.stderr)
    print(
        "trusted: torch's restricted unpickler, which makes tensors, plain containers and NumPy's"
        " numbers only; whether these weights are what their source says, nobody has checked",
        file=sys.stderr,
    )
    print(f'weights = {{ file = {json.dumps(str(target))}, sha256 = "{found.sha256}" }}')


MOST_LEFT = 12
"""Lines on what was not taken."""


def _needed(path: Path, role: str) -> "Wanted":
    """Return what a network of a study needs.

    Raises:
        SpecError: The study is not valid.
        UsageError: It has no such network, or one that starts from no file.
    """
    from icckd.study.data import class_count
    from icckd.study.load import load
    from icckd.train.networks.torchvision import TorchvisionModel
    from icckd.train.weights import wanted

    study = load(expanded(path))
    networks = {"teacher": study.teacher.model, "student": study.student.model}
    if role not in networks:
        raise UsageError(f"a study has no {role!r}", hint="give: --for STUDY teacher, or student")
    model = networks[role]
    if not isinstance(model, TorchvisionModel):
        raise UsageError(
            f"the {role} of {path} is of kind {model.kind!r}, which starts from no file",
            hint='weights go with a model of kind = "torchvision"',
        )
    return wanted(model.name, class_count(study.data) or 1000)
