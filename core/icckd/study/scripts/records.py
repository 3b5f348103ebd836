"""What is known of a script from its text alone: how it is started, its options, what it writes."""

from dataclasses import dataclass
from typing import Any, Literal

Style = Literal["args", "words", "overrides", "env", "entry"]
"""How options reach a script: `--key value` of all, words of the command for each, `key=value`,
variables, or an argument of a function.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One thing that can be set when the script is started.

    Attributes:
        key: Its name as the study's config has it; dots go into tables.
        line: Where it stands in its file.
        file: That file, where it is not the script itself.
        value: Its default; None where that is not known, or where there is none.
        off: What switches it off, where it is a switch that is on; None elsewhere.
        choices: The values that it takes, where it lists them.
        about: What the script says of it.
        note: What a user must know besides: why its default is not known, how it is spelled.
        part: For a switch: the name of what it switches.
        needed: The script does not start without it and has no default.
        flag: How it is spelled, where that is not `--key`.
        words: How it stands in the command, where it cannot be an entry of config.
    """

    key: str
    line: int
    file: str = ""
    value: Any = None
    off: Any = None
    choices: tuple[Any, ...] = ()
    about: str = ""
    note: str = ""
    part: str = ""
    needed: bool = False
    flag: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something in the script that could not be read, or that decides how the study is made."""

    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one kind of interface tells of a script.

    Attributes:
        kind: What reads the options, in words: "argparse", "Typer", ...
        style: How they are given.
        line: Where that is seen.
        options: All of them, in the order of the text.
        notes: What could not be read.
        words: What stands between the script and its options: a subcommand, fixed overrides.
        function: For the style "entry": the function to call.
        exists: Whether that function is there; if not, `adapter` is it.
        adapter: Lines of Python that a user adds to the script, for classes that nothing starts.
        prefix: For the style "env": what names of variables begin with.
    """

    kind: str
    style: Style
    line: int
    options: tuple[Option, ...]
    notes: tuple[Note, ...] = ()
    words: tuple[str, ...] = ()
    function: str = ""
    exists: bool = True
    adapter: tuple[str, ...] = ()
    prefix: str = ""


Source = Literal["csv", "jsonl", "json", "tensorboard", "wandb", "stdout", "log"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A number that the script seems to give, and the line that says so.

    Attributes:
        name: The metric's name in the study.
        source: Where it is read: the key of the study file, or "log" for `run.log`.
        place: File, pattern, folder or regular expression.
        key: Column, key or tag.
        step: Column or key of the step; "" where none was seen.
        line: The line that gives it.
        unit: "%" where the line shows it, else "".
        direction: "higher" or "lower" where the name says it, else "".
    """

    name: str
    source: Source
    place: str = ""
    key: str = ""
    step: str = ""
    line: int
    unit: str = ""
    direction: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script as far as it can be read.

    Attributes:
        name: The name of its file.
        lines: Its text, for evidence.
        found: Its options and how it is started.
        seed: The option that takes the seed; it is not among `options`.
        device: The option that takes the device.
        folder: The option that takes the folder of the results.
        options: What is left for the study's config.
        seed_variable: The environment variable that it takes the seed from, or "".
        guesses: What it seems to give.
    """

    name: str
    lines: tuple[str, ...]
    found: Found
    seed: Option | None
    device: Option | None
    folder: Option | None
    options: tuple[Option, ...]
    seed_variable: str
    guesses: tuple[Guess, ...]
