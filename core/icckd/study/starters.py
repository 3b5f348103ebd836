"""The study files that `icckd init` begins with: short, commented, ready to plan and to run."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Template = Literal["digits", "mnist", "cifar100", "task", "blank"]
_FOLDER = Path(__file__).parent / "templates"
_SCRIPT = "train_digits.py"
_STEPS = 60_000
"""Training images that a network of a folder's study sees at least, over all epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """A study to begin with.

    Attributes:
        text: The TOML.
        about: What it is, in a few words.
        files: Texts of the files beside it, by name.
        options: What `icckd plan` and `icckd run` need beside its name.
    """

    text: str
    about: str
    files: dict[str, str]
    options: str = ""


_ABOUT: dict[Template, str] = {
    "digits": "a small study of digits",
    "mnist": "a small study of MNIST (icckd fetch mnist)",
    "cifar100": "a study of CIFAR-100 for a GPU (icckd fetch cifar100)",
    "task": f"a small study of code of your own ({_SCRIPT})",
    "blank": "an empty study",
}


def of_template(template: Template, file: str) -> Starter:
    """Return the study of a template.

    Args:
        template: Its name.
        file: The study file as commands will name it; the study is called after it.
    """
    scripts = {_SCRIPT: (_FOLDER / _SCRIPT).read_text(encoding="utf-8")}
    return Starter(
        text=_filled(template, file, SCRIPT=_SCRIPT),
        about=_ABOUT[template],
        files=scripts if template == "task" else {},
    )


def of_folder(
    file: str, *, folder: str, root: str, counts: str, training: int, test: int
) -> Starter:
    """Return a study of a folder of images.

    Args:
        file: The study file as commands will name it; the study is called after it.
        folder: The folder of images, below `root`.
        root: The folder of data sets to give by `--data`, or "" where it is found without.
        counts: How many images and classes there are, in words.
        training: How many images are trained on.
        test: How many there are to test on, which bounds the differences that can be seen.
    """
    options = f" --data {root}" if root else ""
    epochs = max(2, min(20, _STEPS // max(1, training)))
    effect = max(2.0, math.ceil(2 * 100 / test) / 2)
    text = _filled(
        "folder", file, COUNTS=counts, DATA=options, FOLDER=folder, EPOCHS=str(epochs),
        EFFECT=f"{effect:g}",
    )  # fmt: skip
    return Starter(text=text, about=f"a small study of {counts}", files={}, options=options)


def _filled(template: str, file: str, **words: str) -> str:
    from icckd.study.observed import study_name  # it needs pydantic, which `--help` does not

    text = (_FOLDER / f"{template}.toml").read_text(encoding="utf-8")
    name = study_name(Path(file).name.removesuffix(".toml"))
    for key, word in {"FILE": file, "NAME": name, **words}.items():
        text = text.replace(f"@{key}@", json.dumps(word, ensure_ascii=False)[1:-1])
    return _aligned(text)


def _aligned(text: str) -> str:
    """Let what is said of the commands at the top of a file begin in one column."""
    found = list(re.finditer(r"^(#     icckd .*\S)  +(\S.*)$", text, re.M))
    width = max((len(line[1]) for line in found), default=0)
    for line in found:
        text = text.replace(line[0], f"{line[1].ljust(width)}   {line[2]}")
    return text
