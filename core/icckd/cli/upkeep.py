"""Verbs that look after files: of the state folder, archives of studies, weights."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from icckd.cli import completion
from icckd.cli.report import state_folder, study_name
from icckd.configuration import configuration
from icckd.errors import UsageError
from icckd.variables import expanded

if TYPE_CHECKING:
    from icckd.journal.folder import StateFolder
    from icckd.journal.room import Room, StudyRoom
    from icckd.train.weights import Wanted

Printed = Annotated[Literal["table", "json"], typer.Option("--format", help="How to print.")]


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
    elsewhere = _shared_stages(folder)
    found = upkeep.check(folder, _tell_progress(), elsewhere)
    for finding in found.findings:
        print(f"{finding.verdict:<8} {display(finding.where)}: {display(finding.text)}")
    if repair and not found.is_whole:
        for finding in upkeep.repair(folder, found):
            print(f"mended   {display(finding.where)}")
        found = upkeep.check(folder, _tell_progress(), elsewhere)
    looked = f"{found.journals} journals, {found.lines} lines, {found.artifacts} artifacts"
    wrong = [finding for finding in found.findings if finding.verdict != "note"]
    print(f"whole: {looked}" if found.is_whole else f"not whole: {len(wrong)} problems in {looked}")
    sys.exit(0 if found.is_whole else 1)


def _shared_stages(folder: "StateFolder") -> frozenset[str]:
    """Return the stages whose artifacts lie in storage that machines share."""
    if not (shared := configuration(folder.root).storage).url:
        return frozenset()
    from icckd.storage.artifacts import published_stages  # whoever shares nothing imports none
    from icckd.storage.opening import open_storage

    return published_stages(open_storage(shared))


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


def du(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]",
            help="Only this study, by name or file.",
            autocompletion=completion.studies,
        ),
    ] = None,
    output: Printed = "table",
) -> None:
    """Show what takes how much room, by study and kind of file.

    What studies share is counted once, in a line of its own.
    """
    from icckd.journal.room import read_room
    from icckd.variables import cache_folder

    folder, name = state_folder(), study_name(study)
    try:
        cache = cache_folder()
    except RuntimeError:  # nobody has a home folder: nothing is cached
        cache = None
    room = read_room(folder, cache)
    rows = [
        row
        for row in room.studies
        if (name is None and (row.studies or row.bytes)) or name in row.studies
    ]
    if name is not None and not rows:
        known = ", ".join(row.studies[0] for row in room.studies if len(row.studies) == 1)
        raise UsageError(f"there is no study {name!r} here", hint=f"there are: {known or 'none'}")
    if output == "json":
        print(json.dumps(_room_as_json(room, rows, is_all=name is None), indent=2))
    else:
        print("\n".join(_room_lines(room, rows, is_all=name is None)))


def _room_lines(room: "Room", rows: "list[StudyRoom]", *, is_all: bool) -> list[str]:
    from icckd.report.numbers import bytes_text
    from icckd.report.text import aligned, display

    table = [["study", "journals", "artifacts", "checkpoints", "in all"]]
    for row in rows:
        who = " and ".join(row.studies) if row.studies else "of no study here"
        shared = "shared by " if len(row.studies) > 1 else ""
        sizes = (row.journals, row.artifacts, row.checkpoints, row.bytes)
        table.append([display(f"{shared}{who}"), *map(bytes_text, sizes)])
    lines = aligned(table)
    if any(len(row.studies) > 1 for row in rows):
        lines.append("what studies share is counted once, in the lines that say so")
    if is_all:
        lines += [
            "",
            *aligned(
                [
                    ("database", bytes_text(room.database), "made again from the journals"),
                    ("quarantine", bytes_text(room.quarantine), "icckd clean removes it"),
                    ("locks, requests, history", bytes_text(room.other), ""),
                    ("the state folder in all", bytes_text(room.bytes), ""),
                    ("cache, outside of it", bytes_text(room.cache), "made again when needed"),
                ]
            ),
        ]
    return lines


def _room_as_json(room: "Room", rows: "list[StudyRoom]", *, is_all: bool) -> dict[str, object]:
    found: dict[str, object] = {
        "studies": [
            {
                "studies": row.studies,
                "journals": row.journals,
                "artifacts": row.artifacts,
                "checkpoints": row.checkpoints,
                "bytes": row.bytes,
            }
            for row in rows
        ]
    }
    if is_all:
        found |= {
            "database": room.database,
            "quarantine": room.quarantine,
            "other": room.other,
            "bytes": room.bytes,
            "cache": room.cache,
        }
    return found


def archive(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="A study's name or file.", autocompletion=completion.studies
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE", parser=expanded, help="A new file: study.tar.zst."
        ),
    ],
    results_only: Annotated[
        bool,
        typer.Option(
            "--results-only",
            help="Only what reports show, without trained models and checkpoints.",
        ),
    ] = False,
) -> None:
    """Write a study into one file, to keep it or to give it away.

    Its journals, artifacts and checkpoints: all that is needed to go on.
    """
    from icckd.journal.archive import write_archive
    from icckd.report.numbers import bytes_text
    from icckd.report.text import display

    contents = write_archive(
        state_folder(), study_name(study) or "", out, results_only=results_only
    )
    missing = 0 if results_only else len(contents.stages_left_out)
    if missing:
        print(
            f"icckd: {missing} complete stages have no artifact here (icckd fsck): they are"
            " trained again where the archive is restored",
            file=sys.stderr,
        )
    print(
        f"wrote {display(str(out))}: {contents.study}, {len(contents.members)} files of"
        f" {bytes_text(contents.size)} in {bytes_text(out.stat().st_size)}"
        f"{', results only' if results_only else ''}"
    )


def restore(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", parser=expanded, help="What icckd archive wrote.")
    ],
    large: Annotated[
        bool, typer.Option("--large", help="Take an archive that grows more than 200-fold.")
    ] = False,
) -> None:
    """Put the study of an archive into the state folder.

    Every byte is checked before anything can be seen; a study that is there is never replaced.
    """
    from icckd.cli.common import tell_next
    from icckd.journal.archive import restore_archive
    from icckd.journal.folder import StateFolder
    from icckd.report.numbers import bytes_text

    folder = StateFolder.current()
    contents = restore_archive(folder, file, large=large)
    kind = ", results only: `icckd run` would train anew" if contents.results_only else ""
    print(
        f"restored {contents.study}: {len(contents.members)} files of"
        f" {bytes_text(contents.size)}{kind}"
    )
    tell_next([(f"icckd report {contents.study}", "its results")])


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
