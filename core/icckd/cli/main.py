"""The `icckd` command: verbs, and the one place where errors are printed."""

import errno
import os
import sys
from collections.abc import Callable
from typing import Annotated, cast

import typer

from icckd import __version__, variables
from icckd.cli import data, report, streams, studies, upkeep
from icckd.cli import sql as sql_console
from icckd.cli.doctor import doctor
from icckd.cli.importing import import_
from icckd.cli.init import init
from icckd.errors import IcckdError, MachineError

app = typer.Typer(
    name="icckd",
    help="Plan, train, watch and report ablation studies of knowledge distillation.",
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
    """Plan, train, watch and report ablation studies of knowledge distillation."""
    for notice in variables.check():
        print(f"icckd: {notice}", file=sys.stderr)


_VERBS: dict[str, Callable[..., None]] = {
    "init": init,
    "plan": studies.plan,
    "run": studies.run,
    "check": studies.check,
    "schema": studies.schema,
    "calibrate": studies.calibrate,
    "import": import_,
    "watch": studies.watch,
    "report": report.report,
    "compare": report.compare,
    "diff": report.diff,
    "sql": sql_console.sql,
    "export": report.export,
    "status": report.status,
    "ls": report.list_studies,
    "show": report.show,
    "logs": report.logs,
    "mcp": report.mcp,
    "published": report.published,
    "fetch": studies.fetch,
    "convert": upkeep.convert,
    "doctor": doctor,
    "fsck": upkeep.fsck,
    "clean": upkeep.clean,
}
for _name, _function in _VERBS.items():  # without a short help of its own a long line is cut off
    app.command(_name, short_help=(_function.__doc__ or "").partition("\n")[0])(_function)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command line; a deliberate error becomes one message and its exit code.

    So does what the system refuses, wherever it was met: a path that cannot be read, a full disk.
    """
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
