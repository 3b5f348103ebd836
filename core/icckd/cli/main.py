"""The `icckd` command: verbs, and the one place where errors are printed."""

import errno
import gc
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from icckd import __version__, variables
from icckd.cli import OBJECTS, ablation_plans, blas, data, report, streams, studies, upkeep
from icckd.cli import sql as sql_console
from icckd.cli.doctor import doctor
from icckd.cli.importing import import_
from icckd.cli.init import init
from icckd.errors import IcckdError, MachineError

RUN, LOOK, COMPARE, DATA, UPKEEP = "Run", "Look", "Compare", "Data", "Upkeep"


class _Grouped(TyperGroup):
    """A command whose help lists its verbs under headings."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs, in their order, under the heading of each."""
        for heading in (RUN, LOOK, COMPARE, DATA, UPKEEP):
            verbs = [
                (name, verb.get_short_help_str(formatter.width))
                for name in self.list_commands(ctx)
                if (verb := self.get_command(ctx, name)) is not None
                and getattr(verb, "rich_help_panel", None) == heading
            ]
            with formatter.section(heading):
                formatter.write_dl(verbs)


app = typer.Typer(
    name="icckd",
    cls=_Grouped,
    help="Plan, train, watch and report ablation studies. Begin with: icckd init",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich takes longer to import than all that --help needs
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
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
    """Plan, train, watch and report ablation studies. Begin with: icckd init."""
    for notice in variables.check():
        print(f"icckd: {notice}", file=sys.stderr)


def _add(name: str, heading: str, verb: Callable[..., None], example: str) -> None:
    """Add a verb under its heading in the help, with a command line to start from."""
    app.command(
        name,
        rich_help_panel=heading,
        epilog=f"Example: {example}",
        short_help=(verb.__doc__ or "").partition("\n")[0],  # else a long line is cut off
    )(verb)


_add("init", RUN, init, "icckd init --template digits")
_add("plan", RUN, studies.plan, "icckd plan shipped:ablations")
_add("run", RUN, studies.run, "icckd run study.toml student.training.lr=0.1 --seeds 0:4")
_add("bind", RUN, ablation_plans.bind, "icckd bind study.toml")
_add("coverage", COMPARE, ablation_plans.coverage, "icckd coverage study.toml plan.md")
_add("check", RUN, studies.check, "icckd check shipped:own-method")
_add("calibrate", RUN, studies.calibrate, "icckd calibrate study.toml --arm no-margin-matched")
_add("watch", LOOK, studies.watch, "icckd watch icc-ablations")
_add("status", LOOK, report.status, "icckd status icc-ablations")
_add("ls", LOOK, report.list_studies, "icckd ls icc-ablations")
_add("show", LOOK, report.show, "icckd show no-margin/3 --study icc-ablations")
_add("logs", LOOK, report.logs, "icckd logs no-margin/3 --follow")
_add("sql", LOOK, sql_console.sql, 'icckd sql "select arm, seed, value from outcome limit 5"')
_add("report", COMPARE, report.report, "icckd report icc-ablations -o report.html")
_add("compare", COMPARE, report.compare, "icckd compare full no-margin --metric student.top1")
_add("diff", COMPARE, report.diff, "icckd diff full no-margin")
_add("export", COMPARE, report.export, "icckd export tensorboard icc-ablations -o runs")
_add("published", COMPARE, report.published, "icckd published --format md")
_add("import", DATA, import_, "icckd import csv results.csv --arm method --metric acc")
_add("fetch", DATA, studies.fetch, "icckd fetch mnist --data data")
app.add_typer(data.app, name="data", rich_help_panel=DATA)
_add("convert", DATA, upkeep.convert, "icckd convert resnet.pth resnet.safetensors --part model")
_add("doctor", UPKEEP, doctor, "icckd doctor --device cuda")
_add("fsck", UPKEEP, upkeep.fsck, "icckd fsck --repair")
_add("du", UPKEEP, upkeep.du, "icckd du")
_add("archive", UPKEEP, upkeep.archive, "icckd archive icc-ablations -o icc-ablations.tar.zst")
_add("restore", UPKEEP, upkeep.restore, "icckd restore icc-ablations.tar.zst")
_add("clean", UPKEEP, upkeep.clean, "icckd clean --yes")
_add("schema", UPKEEP, studies.schema, "icckd schema study.toml > study.schema.json")
_add("mcp", UPKEEP, report.mcp, "icckd mcp   (in the settings of the client that starts it)")


def main() -> None:
    """Run the command line; a deliberate error becomes one message and its exit code.

    So does what the system refuses, wherever it was met: a path that cannot be read, a full disk.
    """
    gc.set_threshold(OBJECTS)
    blas.one_thread()
    streams.prepare()
    variables.leave_current_folder()
    try:
        _run()
    except IcckdError as error:
        print(f"icckd: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  hint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        streams.discard_output()
        sys.exit(0)  # the reader of our output left, as `| head` does


def _run() -> None:
    try:
        try:
            app()
        finally:
            streams.flush_output()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _refused(error) from error
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OF_TRAINING:
            raise
        from icckd.api.running import WITH_TORCH

        raise MachineError(
            f"this needs {error.name}, which is not installed", hint=WITH_TORCH
        ) from error


_OF_TRAINING = ("torch", "torchvision")
"""What the light installation does without."""


def _refused(error: OSError) -> IcckdError:
    """Return the error for what the system refused and nothing else explains."""
    if error.filename is None and error.errno in _OF_OUTPUT:
        streams.discard_output()
        return cast(IcckdError, streams.unwritten(error))
    from icckd.report.text import display

    name = "" if error.filename is None else f"{display(os.fsdecode(error.filename))}: "
    return MachineError(f"{name}{error.strerror or error}", hint=_HINTS.get(error.errno or 0, ""))


_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF, errno.EFBIG)
_HINTS = {
    errno.EACCES: "ask its owner for the rights, or set ICCKD_HOME to a folder of your own",
    errno.EPERM: "ask its owner for the rights, or set ICCKD_HOME to a folder of your own",
    errno.ENOSPC: "free space on that disk, then run again: finished stages are kept",
    errno.EDQUOT: "free space within your quota, then run again: finished stages are kept",
    errno.EROFS: "set ICCKD_HOME to a folder that can be written",
    errno.ELOOP: "a link there leads to itself",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
}


if __name__ == "__main__":
    main()
