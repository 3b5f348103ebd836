"""`icckd sql`: a console over the views, one answer, or all views as files."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from icckd.cli import take_ctrl_c
from icckd.cli.report import AnswerFormat, folder_named, state_folder
from icckd.errors import IcckdError, UsageError

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

    from icckd.results.sandbox import Fence

CONSOLE_ROWS = 200
ANSWER_ROWS = 100_000
_HISTORY = "sql_history"
_KEYWORDS = (
    "select", "from", "where", "group by", "order by", "having", "limit", "inner join",
    "left join", "using", "on", "as", "distinct", "count", "avg", "median", "stddev", "min", "max",
    "case", "when", "then", "else", "end", "and", "or", "not", "null", "is", "in", "like",
    "between", "union all", "with", "over", "partition by", "filter", "describe", "summarize",
    "show tables", "pivot", "unpivot", "isfinite", "round",
)  # fmt: skip
_HELP = """\
One statement, ended by `;` or an empty line. Tab completes, the arrows recall.
  .views       what the views hold
  .describe X  columns of a view
  .refresh     take in what is new
  .quit        leave; so does Ctrl-D
Ctrl-C stops a statement that runs."""


def sql(
    statement: Annotated[
        str | None,
        typer.Argument(metavar="[STATEMENT]", help="Answer this instead of opening the console."),
    ] = None,
    output: Annotated[AnswerFormat, typer.Option("--format", help="How to print.")] = "table",
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", parser=folder_named, help="Write every view there, a file each."
        ),
    ] = None,
    kind: Annotated[
        Literal["parquet", "csv"], typer.Option("--as", help="Format of exported files.")
    ] = "parquet",
    for_spreadsheet: Annotated[
        bool,
        typer.Option(
            "--for-spreadsheet",
            help="In CSV, put ' before texts that a spreadsheet would run as formulas.",
        ),
    ] = False,
) -> None:
    """Ask the results in SQL; nothing can be changed.

    Without a statement it is a console with history and completion.
    """
    if export is not None:
        from icckd.results.export import export_views

        done = export_views(state_folder(), export, kind, for_spreadsheet=for_spreadsheet)
        for path in done.files:
            print(path)
        _say_formulas(done.formulas, for_spreadsheet)
    elif statement is not None:
        print_answer(statement, output, for_spreadsheet=for_spreadsheet)
    else:
        _console()


def print_answer(statement: str, output: str, *, for_spreadsheet: bool = False) -> None:
    """Print the answer to one statement; `.views` lists the views.

    Args:
        statement: The statement.
        output: The format.
        for_spreadsheet: Whether texts that look like formulas are escaped in CSV.

    Raises:
        UsageError: The statement is not one that reads, or takes too much.
    """
    from icckd.report.query import (
        FORMATS,
        formulas_in,
        without_formulas,
        write_query,
        write_views,
    )
    from icckd.results.sandbox import Fence

    if output not in FORMATS:
        raise UsageError(
            f"an answer to SQL cannot be printed as {output}", hint=f"formats: {', '.join(FORMATS)}"
        )
    if statement.strip() == ".views":
        write_views(sys.stdout)
        return
    with Fence(state_folder().root) as fence:
        table, is_cut = fence.ask(statement, rows=ANSWER_ROWS)
    if output == "csv":
        _say_formulas(formulas_in(table), for_spreadsheet)
        table = without_formulas(table) if for_spreadsheet else table
    write_query(table, output, sys.stdout)
    if is_cut:
        print(f"icckd: only the first {ANSWER_ROWS:,} rows are shown", file=sys.stderr)


def _say_formulas(count: int, is_escaped: bool) -> None:
    """Tell that CSV holds texts which a spreadsheet would run, or that they are escaped."""
    if count:
        how = "have ' before them" if is_escaped else "would be run; --for-spreadsheet escapes them"
        print(f"icckd: formulas of a spreadsheet in {count} texts: they {how}", file=sys.stderr)


def _console() -> None:
    from icckd.results.sandbox import Fence

    take_ctrl_c()
    folder = state_folder()
    with Fence(folder.root) as fence:
        words = _words(fence)
        session = _session(folder.root / _HISTORY, words)
        print("SQL over the studies here; .help explains, .quit leaves")
        for text in _statements(session):
            try:
                if not _carry_out(text, fence):
                    return
            except IcckdError as error:
                print(f"{error.message}{f'  ({error.hint})' if error.hint else ''}")
            except KeyboardInterrupt:
                print("stopped")


def _carry_out(text: str, fence: "Fence") -> bool:
    """Carry out one line; return whether another follows."""
    from icckd.report.query import write_query, write_views

    command, _, rest = text.rstrip("; \n").partition(" ")
    if command in (".quit", ".exit"):
        return False
    if command == ".help":
        print(_HELP)
    elif command == ".views":
        write_views(sys.stdout)
    elif command == ".refresh":
        fence.close()
    elif command.startswith(".") and command != ".describe":
        raise UsageError(f"there is no command {command}", hint=".help lists them")
    else:
        statement = f'describe "{rest.strip()}"' if command == ".describe" else text
        table, is_cut = fence.ask(statement, rows=CONSOLE_ROWS)
        write_query(table, "table", sys.stdout)
        if is_cut:
            print(f"... only the first {CONSOLE_ROWS} rows are shown")
    return True


def _words(fence: "Fence") -> list[str]:
    """Return what can be completed: keywords, views, tables, their columns."""
    table, _ = fence.ask(
        "select distinct unnest([table_name, column_name]) as word"
        " from information_schema.columns order by word",
        rows=10_000,
    )
    return [*_KEYWORDS, *(str(row[0]) for row in table.rows)]


def _session(history: Path, words: Iterable[str]) -> "PromptSession[str]":
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    recalled: History = FileHistory(str(history))
    try:
        os.close(os.open(history, os.O_CREAT | os.O_RDWR, 0o666))
    except OSError as error:  # somebody else's folder, or a full disk: it is read all the same
        print(f"icckd: statements are not kept: {history}: {error.strerror}", file=sys.stderr)
        recalled = InMemoryHistory()
    return PromptSession(
        history=recalled,
        completer=WordCompleter(list(words), ignore_case=True),
        complete_while_typing=False,
    )


def _statements(session: "PromptSession[str]") -> Iterable[str]:
    """Yield what is typed, statement by statement, until the end of input."""
    lines: list[str] = []
    while True:
        try:
            line = session.prompt("     > " if lines else "icckd> ")
        except KeyboardInterrupt:
            lines = []
            continue
        except EOFError:
            return
        lines.append(line)
        text = "\n".join(lines).strip()
        is_whole = text.endswith(";") or text.startswith(".") or (bool(text) and not line.strip())
        if is_whole or not text:
            lines = []
        if is_whole:
            yield text
