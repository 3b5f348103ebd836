"""`icckd data check`: what a folder of images holds, and whether a study can train on it."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icckd.errors import UsageError
from icckd.variables import expanded

if TYPE_CHECKING:
    from icckd.study.data import Data
    from icckd.train.data.files import Survey
    from icckd.train.datasets.folders import ImageFolderData

app = typer.Typer(help="Look at the images that studies train on.", no_args_is_help=True)
MOST_CLASSES = 40
"""Classes whose counts are listed; the others are summed up."""


@app.command("check")
def check(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="PATH|STUDY",
            parser=expanded,
            help="A folder of images, or a study file (TOML).",
        ),
    ],
) -> None:
    """Decode every image and list classes, counts, sizes, modes, what is left out, what is wrong.

    Exit code 4 where a study could not train on it.
    """
    from icckd.report.text import display
    from icckd.run.prepare import data_root
    from icckd.train.data.files import fingerprint, survey

    problems: list[str] = []
    for data, root in [as_data(what)] if what.is_dir() else _of_study(what, data_root()):
        found = survey(data, root, decode=True)
        if found is None:
            print(f"{data.kind}: no folder of images; fingerprint {fingerprint(data, root)[:16]}")
            continue
        problems += found.problems()
        print("\n".join(map(display, _whole(found))))
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        print(f"not sound: {count}", file=sys.stderr)
        sys.exit(4)


def _whole(found: "Survey") -> Iterable[str]:
    inventory = found.inventory
    yield f"{inventory.folder}: {inventory.images} images, {len(inventory.classes)} classes"
    for part, images in inventory.parts.items():
        counts = [0] * len(inventory.classes)
        for label in images.labels:
            counts[label] += 1
        pairs = list(zip(inventory.classes, counts, strict=True))
        listed = ", ".join(f"{name} {count}" for name, count in pairs[:MOST_CLASSES])
        more = (
            f", and {len(pairs) - MOST_CLASSES} more classes" if len(pairs) > MOST_CLASSES else ""
        )
        yield f"  {part or 'all'}: {len(images.names)} images: {listed}{more}"
    if found.sizes:
        low_width, low_height, width, height = found.sizes
        yield f"  sizes: {low_width}x{low_height} to {width}x{height} pixels, width first"
    for words, count in sorted(found.words.items()):
        yield f"  mode {words}: {count}"
    for line in inventory.left_out:
        yield f"  not read: {line}"
    for line in found.problems():
        yield f"  problem: {line}"


def as_data(folder: Path) -> "tuple[ImageFolderData, Path]":
    """Return the settings of a folder of images, wherever it is."""
    from icckd.train.datasets.folders import ImageFolderData

    whole = folder.resolve()
    return ImageFolderData.model_construct(kind="image-folder", folder=whole.name), whole.parent


def _of_study(path: Path, root: Path) -> "list[tuple[Data, Path]]":
    from icckd.study.arms import expand
    from icckd.study.load import load
    from icckd.study.plan import datasets
    from icckd.study.shipped import study_path
    from icckd.study.tasks import uses_engine

    if not study_path(path).exists():
        raise UsageError(
            f"there is no file or folder {path}", hint="give a folder of images, or a study file"
        )
    study = load(path)
    if not uses_engine(study.task):
        raise UsageError(
            f"{path} has no [data]: its tasks read their own", hint="give a folder of images"
        )
    return [(data, root) for data in datasets(expand(study))]
