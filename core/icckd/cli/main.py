"""The `icckd` command: verbs, and the one place where errors are printed."""

import sys
from typing import Annotated

import typer

from icckd import __version__
from icckd.cli import inspect, studies, upkeep, versus
from icckd.cli import sql as sql_console
from icckd.cli.converting import convert
from icckd.cli.exporting import export
from icckd.cli.published import published
from icckd.errors import IcckdError

app = typer.Typer(
    name="icckd",
    help="Plan, train, watch and report ablation studies of knowledge distillation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"icckd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Plan, train, watch and report ablation studies of knowledge distillation."""


app.command("plan")(studies.plan)
app.command("run")(studies.run)
app.command("calibrate")(studies.calibrate)
app.command("watch")(studies.watch)
app.command("report")(inspect.report)
app.command("compare")(versus.compare)
app.command("diff")(versus.diff)
app.command("sql")(sql_console.sql)
app.command("export")(export)
app.command("status")(inspect.status)
app.command("ls")(inspect.list_studies)
app.command("show")(inspect.show)
app.command("logs")(inspect.logs)
app.command("published")(published)
app.command("fetch")(studies.fetch)
app.command("convert")(convert)
app.command("fsck")(upkeep.fsck)
app.command("clean")(upkeep.clean)


def main() -> None:
    """Run the command line; a deliberate error becomes one message and its exit code."""
    try:
        app()
    except IcckdError as error:
        print(f"icckd: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  hint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left, as `| head` does
        sys.exit(0)


if __name__ == "__main__":
    main()
