"""The verb that turns checkpoints of other projects into weights that a study can name."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def convert(
    source: Annotated[Path, typer.Argument(help="A checkpoint that torch.save wrote.")],
    target: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    part: Annotated[
        str | None, typer.Option("--part", help="Dotted name of the state dict in the checkpoint.")
    ] = None,
) -> None:
    """Convert a checkpoint of another project into safetensors, running no code of the file."""
    from icckd.engine.convert import convert as carry_out
    from icckd.report.text import display

    found = carry_out(source, target, part)
    where = display(found.part) or "the whole file"
    print(
        f"took {found.tensors} tensors ({found.values:,} values) from {where}\n"
        "trusted: torch's restricted unpickler, which makes tensors and plain containers only;"
        " whether these weights are what their source says, nobody has checked",
        file=sys.stderr,
    )
    print(f'weights = {{ file = {json.dumps(str(target))}, sha256 = "{found.sha256}" }}')
