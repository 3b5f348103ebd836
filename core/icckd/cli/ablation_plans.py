"""Ablation plans on the command line: made into studies, bound, covered, written back.

An ablation plan lists ablations that somebody asks for; `icckd plan`, in contrast, shows what a
study takes. What carries the verbs out is imported when they are called.
"""

import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from icckd.cli.common import write_new
from icckd.errors import SpecError, UsageError
from icckd.variables import expanded

if TYPE_CHECKING:
    from icckd.study.ablation_plans.bind import Bound, Proposal
    from icckd.study.ablation_plans.edit import StudyFile
    from icckd.study.ablation_plans.records import PlanEntry
    from icckd.study.ablation_plans.write import Draft
    from icckd.study.model import Ablation, Requested

MOST_SHOWN = 20


def import_plan(source: str, of_study: Path, *, out: Path | None, as_json: bool) -> None:
    """Print an ablation plan as a study, or write it; or print its entries as JSON.

    Raises:
        SpecError: The plan or the study cannot be read.
        UsageError: The file is there already, or the options do not go together.
    """
    from icckd.report.text import display
    from icckd.study.ablation_plans.read import read_plan
    from icckd.study.ablation_plans.write import draft, entries_json, study_file
    from icckd.study.load import load, read_text
    from icckd.study.shipped import study_path

    if out is not None and out.name == "-":
        out = None
    if out is not None and as_json:
        raise UsageError("--format json is printed: it goes without -o", hint="icckd ... > FILE")
    path = study_path(of_study)
    if out is not None:
        _refuse_elsewhere(path, out)
    plan = read_plan(source)
    study = load(path)
    made = draft(plan, study, tomllib.loads(read_text(path)), str(of_study))
    text = f"{entries_json(made.bound)}\n" if as_json else study_file(made)
    for note in made.notes[:MOST_SHOWN]:
        _say(display(note, 400))
    _say(_summary(made, display(plan.source, 200)))
    for each in made.open[:MOST_SHOWN]:
        _say(f"  open: {_open_line(each)}")
    if out is None:
        sys.stdout.write(text)
        return
    write_new(out, text)
    _say(f"wrote {out}; next: icckd {'bind' if made.open else 'plan'} {out}")


def _summary(made: "Draft", source: str) -> str:
    arms = {name for each in made.bound for name in each.arms or ()}
    count, left = len(made.bound), len(made.open)
    plural = "ablation" if count == 1 else "ablations"
    return f"{count} {plural} of {source}: {count - left} bound to {len(arms)} arms, {left} open"


def _open_line(each: "Bound") -> str:
    from icckd.report.text import display

    return f"{display(each.entry.name, 80)}: {display(each.reason, 300)}"


def _refuse_elsewhere(path: Path, out: Path) -> None:
    """Refuse to write a study whose paths would lead elsewhere from there."""
    from icckd.study.load import load

    study = load(path)
    has_paths = any(name.endswith(".py") for name in study.plugins) or study.task is not None
    if has_paths and path.absolute().parent != out.absolute().parent:
        raise UsageError(
            f"{path.name} names files beside it, which {out} would not find",
            hint=f"write the study into {path.absolute().parent}",
        )


def _say(text: str) -> None:
    print(f"icckd: {text}", file=sys.stderr, flush=True)


# Binding.

StudyFileArgument = Annotated[
    Path, typer.Argument(metavar="STUDY", parser=expanded, help="A study file (TOML).")
]


def bind(
    study: StudyFileArgument,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=PART",
            help="Bind this one: 'Ablation A=teacher.intra.margin', or =none; repeatable.",
        ),
    ] = None,
) -> None:
    """Bind what an ablation plan asks for to settings, in the study file; asks on a terminal."""
    from icckd.report.text import display
    from icckd.study.ablation_plans.edit import StudyFile, number_of
    from icckd.study.load import read_text
    from icckd.study.requested import open_of, refuse_open

    file = StudyFile(study, read_text(study))
    before = file.text
    if given:
        for text in given:
            name, equals, part = text.rpartition("=")
            if not (equals and name and part):
                raise UsageError(
                    f"--set {display(text, 80)!r} is not NAME=PART",
                    hint='--set "Ablation A=teacher.intra.margin"',
                )
            _say_bound(file.bind(number_of(file.study, name.strip()), part.strip()))
    elif open_of(file.study):
        if not sys.stdin.isatty():
            refuse_open(file.study)
        _ask(file)
    if file.text != before:
        file.save()
    left = len(open_of(file.study))
    _say(f"{display(str(study), 300)}: {left} requested ablations are open")


def _ask(file: "StudyFile") -> None:
    """Ask for the part of each open ablation, until nothing is typed any more."""
    from icckd.cli import take_ctrl_c
    from icckd.study.ablation_plans.bind import Binder
    from icckd.study.ablation_plans.edit import entry_of
    from icckd.study.requested import open_of

    take_ctrl_c()
    for asked in open_of(file.study):
        number = file.study.requested.index(asked)
        entry = entry_of(asked)
        proposals = Binder(file.study).bind(entry).proposals
        _show(entry, proposals)
        while True:
            try:
                typed = input("part (a number, a path, none; Enter leaves it open): ").strip()
            except EOFError:
                print()
                return
            if not typed:
                break
            is_number = typed.isdecimal() and 0 < int(typed) <= len(proposals)
            part = proposals[int(typed) - 1].path if is_number else typed
            try:
                _say_bound(file.bind(number, part))
                break
            except SpecError as error:
                print(f"  {error.message}" + (f" ({error.hint})" if error.hint else ""))


def _show(entry: "PlanEntry", proposals: "Sequence[Proposal]") -> None:
    from icckd.report.text import display
    from icckd.study.ablation_plans.items import item_text

    items = ", ".join(display(item_text(item), 80) for item in entry.items)
    print(f"\n{display(entry.name, 200)}")
    print(f"  {entry.action} {display(entry.component, 500)}{f': {items}' if items else ''}")
    for number, each in enumerate(proposals, start=1):
        unfit = f"; but {display(each.unfit, 200)}" if each.unfit else ""
        print(f"  {number}) {each.path}  {each.score:.2f}: {display(each.reason, 200)}{unfit}")


def _say_bound(bound: "Bound") -> None:
    from icckd.report.text import display
    from icckd.study.ablation_plans.items import item_text

    arms = ", ".join(bound.arms or ()) or f"no arm: {bound.reason}"
    _say(f"{display(bound.entry.name, 120)}: {display(arms, 400)}")
    for item, reason in bound.left_out:
        _say(f"  left out: {display(item_text(item), 80)}: {display(reason, 300)}")
    for note in bound.notes:
        _say(f"  {display(note, 300)}")


# Coverage, and back.


def coverage(
    study: StudyFileArgument,
    plans: Annotated[
        list[str], typer.Argument(metavar="PLAN...", help="Ablation plans; - is standard input.")
    ],
    output: Annotated[
        Literal["table", "md", "json"], typer.Option("--format", help="How to print.")
    ] = "table",
) -> None:
    """Show which ablations of ablation plans a study answers: wholly, in part, or not."""
    from icckd.report.text import aligned, display, markdown_table, write_lines
    from icckd.study.ablation_plans.coverage import coverage as covered
    from icckd.study.ablation_plans.items import json_text
    from icckd.study.ablation_plans.read import read_plan
    from icckd.study.load import load
    from icckd.study.shipped import study_path

    found = covered(load(study_path(study)), [read_plan(path) for path in plans])
    if output == "json":
        sys.stdout.write(json_text([asdict(each) for each in found], indent=2) + "\n")
        return
    rows = [("plan", "ablation", "answered", "by", "missing")] + [
        (
            display(each.source, 60),
            display(each.name, 60),
            each.answer,
            display(", ".join(each.arms) or "-", 200),
            display("; ".join(each.missing) or "-", 400),
        )
        for each in found
    ]
    if output == "md":
        write_lines(sys.stdout, markdown_table(rows))
        return
    write_lines(sys.stdout, aligned(rows))
    counts = Counter(each.answer for each in found)
    told = ", ".join(f"{counts[word]} {word}" for word in ("wholly", "in part", "not"))
    print(f"\n{len(found)} ablations of {len(plans)} plans: {told}")


def export_plan(study: str, out: Path | None) -> None:
    """Print what a study asks for as an ablation plan, or write it into a file that is not there.

    Args:
        study: A study file, or the name of a study that was planned here.
        out: The file.
    """
    from icckd.report.text import display
    from icckd.study.ablation_plans.export import plan_lines

    requested, ablations = _asked_in(study)
    lines = "".join(f"{line}\n" for line in plan_lines(requested, ablations))
    if not lines:
        raise UsageError(
            f"study {display(study, 200)!r} has no ablation, and no plan asks for one",
            hint="[[ablation]] or [[requested]] tables make one",
        )
    if out is None:
        sys.stdout.write(lines)
    else:
        write_new(out, lines)


def _asked_in(study: str) -> "tuple[Sequence[Requested], Sequence[Ablation]]":
    from icckd.study.shipped import is_shipped, study_path

    if study.endswith(".toml") or "/" in study or is_shipped(study):
        from icckd.study.load import load

        read = load(study_path(expanded(study)))
        return read.requested, read.ablation
    from icckd.cli.report import open_folder
    from icckd.study.model import Ablation
    from icckd.study.requested import read_requested

    with open_folder() as results:
        resolved = results.reported(study).resolved
    own = resolved.get("ablation")
    tables = own if isinstance(own, (list, tuple)) else ()
    return read_requested(resolved), [Ablation.model_validate(each) for each in tables]
