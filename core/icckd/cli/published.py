"""The verb that lists published numbers."""

import sys
from typing import Annotated, Literal

import typer


def published(
    output: Annotated[
        Literal["table", "md", "csv", "json"], typer.Option("--format", help="How to print.")
    ] = "table",
) -> None:
    """List published CIFAR-100 accuracies with source, reporting rule and footnotes."""
    from icckd.report.context import write_published
    from icckd.report.query import write_query
    from icckd.results.published import published_table

    if output == "table":
        write_published(sys.stdout)
    else:
        write_query(published_table(), output, sys.stdout)
