"""Verbs that set arms side by side: diff, compare."""

import sys
from typing import Annotated

import typer

from icckd.errors import UsageError

Which = Annotated[
    str | None, typer.Option("--study", help="A study's name or file; default: the newest.")
]


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="[STUDY:]ARM or [STUDY:]ARM/SEED")],
    second: Annotated[str, typer.Argument(metavar="B", help="The same, to set against it.")],
    study: Which = None,
) -> None:
    """Explain in what two arms or trials differ: settings, ground, stages, outcomes."""
    from icckd.cli.inspect import open_folder, study_name
    from icckd.report.versus import write_diff
    from icckd.results.versus import find_subject

    with open_folder() as results:
        name = study_name(study)
        subjects = [find_subject(results, text, name) for text in (first, second)]
        write_diff(results, subjects[0], subjects[1], sys.stdout)


def compare(
    arms: Annotated[
        list[str],
        typer.Argument(metavar="[STUDY:]ARM...", help="Two or more; the first is the reference."),
    ],
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Outcomes; default: those of the studies.")
    ] = None,
    study: Which = None,
) -> None:  # fmt: skip
    """Compare any arms over equal seeds, across studies too."""
    from icckd.cli.inspect import open_folder, study_name
    from icckd.report.versus import write_comparison
    from icckd.results.versus import find_subject
    from icckd.spec.metrics import OUTCOMES
    from icckd.spec.paths import nearest

    if len(arms) < 2:
        raise UsageError("one arm cannot be compared", hint="icckd compare full no-margin")
    for name in metric or ():
        if name not in OUTCOMES:
            raise UsageError(f"unknown metric {name!r}", hint=nearest(name, list(OUTCOMES)))
    with open_folder() as results:
        default = study_name(study)
        subjects = [find_subject(results, text, default) for text in arms]
        asked = metric or [m for subject in subjects for m in subject.study.metrics]
        write_comparison(results, subjects, list(dict.fromkeys(asked)), sys.stdout)
