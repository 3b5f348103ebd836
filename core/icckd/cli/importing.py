"""`icckd import`: runs made elsewhere become a study, and its report is printed."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from icckd.errors import UsageError
from icckd.variables import expanded

if TYPE_CHECKING:
    from icckd.imports.load import ImportRequest
    from icckd.study.model import Study

KindName = Literal["csv", "parquet", "wandb", "mlflow", "tensorboard", "optuna", "trackio", "plan"]
_OF_PLAN = frozenset(("kind", "source", "of_study", "out", "output"))
"""Parameters that go with an ablation plan; the two first of them go with runs, too."""


def import_(  # noqa: PLR0913  # every option of the command is an argument
    context: typer.Context,
    kind: Annotated[
        KindName,
        typer.Argument(
            metavar="KIND",
            help="What wrote the runs: csv, parquet, wandb, mlflow, tensorboard, optuna, trackio;"
            " or plan: a list of ablations to run, as AblationBench's.",
        ),
    ],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|FOLDER", parser=expanded, help="Where they are; of a plan - too."
        ),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A metric; repeatable, the primary one first."),
    ] = None,
    arm: Annotated[
        str, typer.Option(metavar="NAME", help="Column, or setting of a run, that names its arm.")
    ] = "arm",
    seed: Annotated[
        str, typer.Option(metavar="NAME", help="Column, or setting of a run, with its seed.")
    ] = "seed",
    baseline: Annotated[
        str, typer.Option(metavar="ARM", help="What arms are compared with; default: the first.")
    ] = "",
    step: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of the step: rows are steps of runs.")
    ] = None,
    rule: Annotated[
        str,
        typer.Option(metavar="last|best:NAME", help="Which value of a curve counts."),
    ] = "",
    direction: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=higher|lower", help="Which values are better; repeatable."),
    ] = None,
    unit: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=UNIT", help="Such as acc=%; repeatable.")
    ] = None,
    test_cases: Annotated[
        list[str] | None,
        typer.Option(
            "--test-cases",
            metavar="METRIC=N",
            help="It is a share, in percent, of so many test cases; repeatable.",
        ),
    ] = None,
    smallest_effect: Annotated[
        float | None,
        typer.Option(
            "--smallest-effect",
            metavar="NUMBER",
            help="Smallest difference of the primary metric that matters.",
        ),
    ] = None,
    adds: Annotated[
        list[str] | None,
        typer.Option(metavar="ARM", help="An arm with a part that the baseline lacks; repeatable."),
    ] = None,
    item: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column that names an item: rows are items of runs."),
    ] = None,
    generalise_to: Annotated[
        list[str] | None,
        typer.Option(
            "--generalise-to",
            metavar="seeds|items",
            help="What verdicts speak about; repeatable; default: what varies.",
        ),
    ] = None,
    common_items: Annotated[
        bool,
        typer.Option("--common-items", help="Compare arms over the items that all runs share."),
    ] = False,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="The study's name; default: the file's.")
    ] = "",
    question: Annotated[str, typer.Option(metavar="TEXT", help="What the study asks.")] = "",
    runs: Annotated[
        str,
        typer.Option(
            metavar="PATTERN", help="Of a tracker's runs: names such as '{arm}/seed-{seed}'."
        ),
    ] = "",
    experiment: Annotated[
        str, typer.Option(metavar="NAME", help="The experiment, project or study, of several.")
    ] = "",
    group: Annotated[
        str,
        typer.Option(metavar="NAME", help="Column of what items share that err together."),
    ] = "",
    long: Annotated[
        str,
        typer.Option(
            "--long", metavar="METRIC,VALUE", help="Columns of a table with a row a value."
        ),
    ] = "metric,value",
    of_study: Annotated[
        Path,
        typer.Option(
            "--for",
            metavar="STUDY",
            parser=expanded,
            help="Of an ablation plan: the study whose data, networks, training and baseline it"
            " is run with.",
        ),
    ] = Path("shipped:ablations"),
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            parser=expanded,
            help="Of an ablation plan: write the study there, never over a file; otherwise it is"
            " printed.",
        ),
    ] = None,
    output: Annotated[
        Literal["toml", "json"],
        typer.Option("--format", help="Of an ablation plan: a study, or its entries as JSON."),
    ] = "toml",
) -> None:
    """Make a study of runs that were made elsewhere, or of an ablation plan that is to be run.

    icckd starts no run here: imported ones are reported, those of a plan wait for `icckd run`.
    """
    _refuse_other_options(context, kind)
    if kind == "plan":
        from icckd.cli.ablation_plans import import_plan

        import_plan(str(source), of_study, out=out, as_json=output == "json")
        return
    from icckd.imports.load import ImportRequest

    between = long.split(",")
    if len(between) != 2:
        raise UsageError(f"--long {long!r} names no two columns", hint="--long metric,value")
    carry_out(
        ImportRequest(
            kind=kind,
            path=source,
            metrics=tuple(metric or ()),
            arm=arm,
            seed=seed,
            step=step,
            long=(between[0], between[1]),
            name=name,
            rule=rule,
            runs=runs,
            experiment=experiment,
            directions=_told("direction", direction),
            units=_told("unit", unit),
            test_cases=_counts(test_cases),
            baseline=baseline,
            question=question,
            smallest_effect=smallest_effect,
            adds=tuple(adds or ()),
            item=item,
            group=group,
            generalise_to=tuple(generalise_to or ()),
            common_items=common_items,
        )
    )


def _refuse_other_options(context: typer.Context, kind: str) -> None:
    """Refuse options of runs with an ablation plan, and the other way round."""
    for option in context.command.params:
        given = option.name and context.get_parameter_source(option.name)
        of_plan = option.name in _OF_PLAN
        is_typed = given is not None and getattr(given, "name", "") == "COMMANDLINE"
        if not is_typed or option.name in ("kind", "source") or of_plan == (kind == "plan"):
            continue
        what = "an ablation plan" if kind == "plan" else f"runs of {kind}"
        raise UsageError(
            f"{option.opts[-1]} does not go with {what}", hint="icckd import --help says which do"
        )


def _told(option: str, given: list[str] | None) -> dict[str, str]:
    """Return what an option says of each metric."""
    found = {}
    for text in given or ():
        metric, equals, word = text.rpartition("=")
        if not (metric and equals and word):
            raise UsageError(
                f"--{option} {text!r} says not of which metric", hint=f"--{option} acc=..."
            )
        found[metric] = word
    return found


def _counts(given: list[str] | None) -> dict[str, int]:
    found = {}
    for metric, word in _told("test-cases", given).items():
        if not word.isdecimal():
            raise UsageError(
                f"--test-cases {metric}={word} is no number of test cases",
                hint=f"--test-cases {metric}=10000",
            )
        found[metric] = int(word)
    return found


def carry_out(request: "ImportRequest") -> None:
    """Read, then write under the owner lock, then print what reports show."""
    from icckd.api.running import own_results
    from icckd.cli.run import print_table, say
    from icckd.imports.journals import write_study
    from icckd.imports.load import read_study
    from icckd.journal.folder import StateFolder
    from icckd.report.text import display

    if request.smallest_effect is not None and not 0 < request.smallest_effect < float("inf"):
        raise UsageError("--smallest-effect must be above 0", hint="it is a size without a sign")
    study = read_study(request)
    folder = StateFolder.current()
    with own_results(folder, say) as results:
        known = {each.name: each for each in results.studies()}
        before = known.get(study.name)
        if before is not None and before.observed is None:
            raise UsageError(
                f"study {study.name!r} is one that icckd runs, and keeps its name",
                hint="name the imported one with --name",
            )
        files = display(request.path.name)
        if before is not None and before.revision == study.revision:
            say(f"nothing new in {files}: it is revision {study.revision} of {study.name}")
        else:
            write_study(folder, study, _arguments())
            say(
                f"imported {len(study.trials)} runs of {len(study.arms)} arms from {files} as"
                f" study {study.name}, revision {study.revision}"
            )
    print_table(study.name)


def load_to_run(path: Path, overrides: Sequence[str], sweeps: Sequence[str] = ()) -> "Study":
    """Return the study of a file, which icckd is to run.

    Raises:
        UsageError: There is no such file, and a study that was imported has that name.
        SpecError: As `icckd.study.load.load`.
    """
    from icckd.study.load import load
    from icckd.study.shipped import study_path

    if not study_path(path).exists():
        from icckd.journal.folder import StateFolder
        from icckd.results.query import open_results
        from icckd.results.studies import refuse_imported

        folder = StateFolder.current()
        if folder.exists():
            with open_results(folder) as results:
                refuse_imported(results.studies(), str(path))
    return load(path, overrides, sweeps)


def _arguments() -> list[str]:
    """Return the arguments of the command, harmless; files and folders by their names alone."""
    from icckd.study.observed import visible

    words = (Path(w).name if "/" in w and Path(w).exists() else w for w in sys.argv[1:])
    return [visible(word, 1000) for word in words]
