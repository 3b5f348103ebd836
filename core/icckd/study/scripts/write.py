"""The study file for a script: TOML with every option, what it says of itself, and what is left."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from icckd.study.scripts.code import shortened
from icckd.study.scripts.outputs import NUMBER, words_of
from icckd.study.scripts.records import Guess, Option, Script

TO_DO = "TO DO"
"""What marks a line that is left to the user."""
MAX_OPTIONS = 500
MAX_ADDED = 3
"""Examples of switches that are off."""
WIDTH = 34
"""Column at which comments behind values begin."""


@dataclass(frozen=True, slots=True)
class Written:
    """A study file and how much of it is left to the user.

    Attributes:
        text: The TOML.
        options: How many options became entries of config.
        open_lines: The lines that say TO DO.
    """

    text: str
    options: int
    open_lines: tuple[int, ...]


def study_text(script: Script, *, path: str) -> Written:
    """Return the study file of a script.

    Args:
        script: What is known of it.
        path: The script as seen from the folder of the study.
    """
    study = _Study(script=script, path=path)
    lines = [
        *study.head(), "",
        *study.header(), "",
        *study.task(), "",
        *study.config(),
        *study.off(),
        *study.env(), "",
        *study.metrics(),
        *study.arms(),
    ]  # fmt: skip
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines)) + "\n"
    left = [n for n, line in enumerate(text.split("\n"), start=1) if TO_DO in line]
    return Written(text=text, options=len(study.entries), open_lines=tuple(left[1:]))


@dataclass
class _Study:
    """One study file while it is made."""

    script: Script
    path: str
    entries: list[Option] = field(init=False)
    left_out: list[Option] = field(init=False)
    results: tuple[Guess, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.entries, self.left_out = _sorted_out(self.script.options)
        self.results = self.script.guesses or (self._wanted_result(),)
        first = self.results.index(_answer(self.results))
        self.results = (
            self.results[first], *self.results[:first], *self.results[first + 1 :],
        )  # fmt: skip

    @property
    def _name(self) -> str:
        return self.script.name

    def _wanted_result(self) -> Guess:
        """Return the metric that stands for the one that was not found."""
        if self.script.found.style == "entry":
            return Guess(name="score", source="log", line=0, direction="higher")
        pattern = rf"\bscore=({NUMBER})"
        return Guess(name="score", source="stdout", place=pattern, line=0, direction="higher")

    # The tables, from above.

    def head(self) -> Iterator[str]:
        yield f"# A study of {remark(self._name)}: what do its parts contribute?"
        yield "# Made by `icckd init` from the script's text; nothing of it was run."
        yield f"# {TO_DO} marks what is left to you; then `icckd plan` shows the arms of this file."

    def header(self) -> Iterator[str]:
        first, *others = (f"task.{guess.name}" for guess in self.results)
        what = f"What do the parts of {self._name} contribute?"
        yield "[study]"
        yield _entry("name", study_name(self._name), "")
        yield _entry("question", what, f"{TO_DO}: in your words")
        yield _entry("baseline", "full", "the arm that others are compared with")
        more = f"; also found: {', '.join(others)}" if others else ""
        yield _entry("primary", first, f"the number that answers the question{more}")
        yield _entry("seeds", 8, "seeds 0 to 7: equal seeds of two arms are a pair")

    def task(self) -> Iterator[str]:
        found = self.script.found
        at = f"{remark(self._name)}, line {found.line}"
        yield "[task]"
        yield f"# {at}: options by {remark(found.kind)}"
        if found.style == "entry":
            yield from self._entry_lines()
        else:
            yield from self._command_lines()
        steps = next((each for each in self.entries if _is_steps(each)), None)
        if steps is not None:
            yield _entry("steps", steps.key, "how many steps a run logs, for its progress")
        yield _commented("inputs", ["data/*.csv"], "files besides the code that decide the results")
        yield _commented("limit", "2 h", "longest time of an attempt")

    def _entry_lines(self) -> Iterator[str]:
        found = self.script.found
        if not found.exists:
            yield f"# {TO_DO}: nothing fills that class from outside; add to {remark(self._name)}:"
            yield from (f"#     {line}" for line in found.adapter)
        yield _entry("entry", f"{self.path}:{found.function}", "called with config and run")
        uses_seed = any("run.seed" in line for line in self.script.lines)
        if found.exists and not uses_seed:
            seed = self.script.seed
            where = f" (line {seed.line} reads config's {remark(seed.key)})" if seed else ""
            yield f"# {TO_DO}: it does not use run.seed: without, all seeds train alike{where}"

    def _command_lines(self) -> Iterator[str]:
        words = list(self._command())
        yield f"command = {_list(words)}"
        if told := _STYLES.get(self.script.found.style):
            yield f"# {told}"
        for option in self.script.options:
            if option.words:
                mark = f"{TO_DO}: " if option.needed else ""
                yield f"# {mark}{' '.join(_told(option, self._name))}"
        if self.script.seed is None and not self.script.seed_variable:
            yield f"# {TO_DO}: no option for the seed was found: without one, seeds train alike."
            yield f'# Let {remark(self._name)} take one, and give it here as "{{seed}}".'

    def _command(self) -> Iterator[str]:
        found = self.script.found
        yield from ("python", _braced(self.path))
        yield from (_braced(word) for word in found.words)
        for option in self.script.options:
            yield from (_braced(word) for word in option.words)
        if found.style in ("args", "overrides"):
            yield f"{{{found.style}}}"
        if found.style == "words":
            for option in self.entries:
                yield from (option.flag, f"{{{option.key}}}")
        for option, value in self._placed():
            if found.style == "overrides":
                yield f"{_braced(option.key)}={value}"
            elif found.style != "env":
                yield from (option.flag or f"--{_braced(option.key)}", value)

    def _placed(self) -> Iterator[tuple[Option, str]]:
        """Yield the options that icckd sets itself."""
        script = self.script
        for option, value in (
            (script.seed, "{seed}"), (script.device, "{device}"), (script.folder, "{folder}"),
        ):  # fmt: skip
            if option is not None:
                yield option, value

    def config(self) -> Iterator[str]:
        yield "[task.config]"
        yield f"# what arms may change, as {remark(self._name)} has it by default"
        for option in self.entries:
            yield _entry(option.key, option.value, "; ".join(_about(option)))
        for option in self.left_out:
            mark = f"{TO_DO}: " if option.needed else ""
            told = " ".join(_told(option, self._name))
            yield f"# {_key_text(option.key)} =".ljust(WIDTH - 1) + f" # {mark}{told}"
        for note in self.script.found.notes:
            where = f"line {note.line}: " if note.line else ""
            yield f"# {where}{remark(note.text)}"
        yield ""

    def off(self) -> Iterator[str]:
        switches = [each for each in self._switches() if each.off is not False]
        numbers = self._numbers()
        if not (switches or numbers):
            return
        yield "[task.off]"
        yield "# what REMOVE puts in; true is turned off by false without an entry here"
        for option in switches:
            yield _entry(option.key, option.off, "")
        active = self._active_number()
        for option in numbers:
            mark = "" if option is active else "# "
            yield f"{mark}{_entry(option.key, _zero(option.value), '')}"
        yield ""

    def env(self) -> Iterator[str]:
        script = self.script
        given: list[tuple[str, str]] = []
        if script.found.style == "env":
            prefix = script.found.prefix
            for option in self.entries:
                given.append((f"{prefix}{option.key}".upper(), f"{{{option.key}}}"))
            for option, value in self._placed():
                given.append((f"{prefix}{option.key}".upper(), value))
        if script.seed_variable:
            given.append((script.seed_variable, "{seed}"))
        if any(guess.source == "wandb" for guess in self.results):
            given.append(("WANDB_MODE", "offline"))
        if given:
            yield "[task.env]"
            for name, value in given:
                yield _entry(name, value, "")

    def metrics(self) -> Iterator[str]:
        yield "# Every number that the study speaks of, and where the run folder has it"
        for place, guess in enumerate(self.results):
            yield f"[task.metrics.{_key_part(guess.name)}]"
            if guess.line:
                shown = self.script.lines[guess.line - 1]
                yield f"# {remark(self._name)}, line {guess.line}: {remark(shown)}"
            else:
                yield from self._nothing_found()
            yield from self._meaning(guess, is_answer=place == 0)
            yield from _source(guess)
            yield ""

    def _nothing_found(self) -> Iterator[str]:
        name = remark(self._name)
        yield f"# {TO_DO}: no number was seen that {name} writes or prints."
        if self.script.found.style == "entry":
            yield "# Name the one that answers, and report it by run.log(step=epoch, score=score),"
            yield "# or at the end by run.summary(score=score)."
        else:
            yield "# Name the one that answers, and where it is: csv, jsonl, json, tensorboard,"
            yield "# wandb, or stdout with a regular expression over printed lines."

    def _meaning(self, guess: Guess, *, is_answer: bool) -> Iterator[str]:
        if guess.unit:
            yield _entry("unit", guess.unit, "")
        elif is_answer:
            yield _commented("unit", "%", "if it is in percent")
        if guess.direction:
            yield _entry("direction", guess.direction, "which is better")
        elif is_answer:
            yield _entry("direction", "higher", f'{TO_DO}: or "lower": which is better')
        else:
            yield _commented("direction", "higher", 'or "lower", where one is better')
        if is_answer:
            yield _commented("test_images", 1000, "if it is a share, in percent, of so many cases")

    # Arms.

    def arms(self) -> Iterator[str]:
        yield "[[arm]]"
        yield _entry("name", "full", "")
        yield _entry("about", "everything as in [task.config]", "")
        taken = {"full"}
        switches = self._switches()
        active = self._active_number()
        for option in switches:
            yield from _ablation(option, taken)
        for option in self._numbers():
            lines = list(_ablation(option, taken))
            yield from lines if option is active else _as_comment(lines)
        if not switches and active is None:
            yield ""
            yield f"# {TO_DO}: no option is a switch that is on. An arm with another value reads:"
        for option in self._added()[:MAX_ADDED]:
            yield from _as_comment(list(_with_value(option, "ADD", True, taken)))
        yield from _as_comment(list(self._replacement(taken)))

    def _switches(self) -> list[Option]:
        return [each for each in self.entries if each.off is not None and _is_method_part(each)]

    def _numbers(self) -> list[Option]:
        return [each for each in self.entries if _is_strength(each) and _is_path(each.key)]

    def _active_number(self) -> Option | None:
        """Return the number whose ablation stands in for switches, where there are none."""
        return None if self._switches() else next(iter(self._numbers()), None)

    def _added(self) -> list[Option]:
        """Return switches that are off, whose parts could be added."""
        return [
            each
            for each in self.entries
            if each.value is False and each.off is None and _is_method_part(each)
        ]

    def _replacement(self, taken: set[str]) -> Iterator[str]:
        """Yield an example of an arm that has another value."""
        usable = [
            each
            for each in self.entries
            if _is_path(each.key) and each.off is None and not _is_steps(each)
        ]
        for option in usable:
            others = [c for c in option.choices if c != option.value and type(c) is str]
            if others:
                yield from _with_value(option, "REPLACE", others[0], taken)
                return
        numbers = [each for each in usable if type(each.value) in (int, float) and each.value]
        if numbers:
            most = max(numbers, key=_is_telling)
            yield from _with_value(most, "REPLACE", most.value * 2, taken)


_STYLES = {
    "args": "{args}: every entry of config as --key value; true is --key, false is left out",
    "overrides": "{overrides}: every entry of config as key=value",
}


# Which options become entries.


def _sorted_out(options: Sequence[Option]) -> tuple[list[Option], list[Option]]:
    """Return the options that become entries of config, and those that are told in comments."""
    entries: list[Option] = []
    left: list[Option] = []
    leaves: set[str] = set()
    tables: set[str] = set()
    for option in options:
        if option.words:
            continue
        parts = option.key.split(".")
        above = {".".join(parts[:n]) for n in range(1, len(parts))}
        if option.value is None:
            left.append(option)
        elif not all(parts) or len(option.key) > 150 or len(parts) > 16:
            left.append(replace(option, note="its name cannot be a key here"))
        elif option.key in leaves | tables or above & leaves:
            left.append(replace(option, note="another option has that name, or is inside it"))
        elif len(entries) == MAX_OPTIONS:
            left.append(replace(option, note=f"more than {MAX_OPTIONS} options"))
        else:
            leaves.add(option.key)
            tables |= above
            entries.append(option)
    return entries, left[:MAX_OPTIONS]


def _is_path(key: str) -> bool:
    """Whether the part of an ablation can name an entry."""
    return re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", key) is not None


def _is_method_part(option: Option) -> bool:
    """Whether a switch may be a part of a method: not the logging, a device, or a check."""
    name = (option.part or option.key).rpartition(".")[2]
    is_other = bool(set(words_of(name)) & _NO_PARTS) or name in ("train", "training", "fit")
    return _is_path(option.key) and not is_other


def _is_steps(option: Option) -> bool:
    name = option.key.replace("-", "_")
    return type(option.value) is int and option.value > 0 and name in STEPS


STEPS = (
    "epochs", "num_epochs", "n_epochs", "max_epochs", "num_train_epochs", "steps", 
    "max_steps", "total_steps", "iterations", "num_iterations", "max_iters", "rounds",
)  # fmt: skip
STRENGTHS = frozenset(
    ("dropout", "drop", "wd", "decay", "smoothing", "mixup", "cutmix", "noise", "warmup", "ema",
      "augment", "augmentation", "jitter", "regularization", "penalty", "l1", "l2", "aux")
)  # fmt: skip
"""Words in names of numbers that are off at 0."""


def _is_strength(option: Option) -> bool:
    words = words_of(option.key.rpartition(".")[2])
    named = bool(set(words) & STRENGTHS) or (words[-1] in ("weight", "lambda", "coef", "coeff"))
    is_schedule = bool(set(words) & _SCHEDULES) and not set(words) & {"warmup", "drop", "dropout"}
    is_number = isinstance(option.value, int | float) and not isinstance(option.value, bool)
    return bool(named and is_number and option.value and not is_schedule)


_SCHEDULES = frozenset(
    (
        "lr",
        "rate",
        "epoch",
        "epochs",
        "step",
        "steps",
        "iters",
        "switch",
        "start",
        "ema",
        "schedule",
    )
)


def _is_telling(option: Option) -> int:
    """Return how likely a number is one that a reader would ask about."""
    words = set(words_of(option.key))
    if words & {"lr", "rate"}:
        return 3
    return 2 if words & _SIZES else 1 if isinstance(option.value, float) else 0


_SIZES = frozenset(
    ("width", "hidden", "layers", "depth", "dim", "alpha", "beta", "gamma", "lambda", "temperature")
)


def _zero(value: Any) -> int | float:
    return 0.0 if isinstance(value, float) else 0


# Metrics.


def _answer(results: Iterable[Guess]) -> Guess:
    """Return the number that most likely answers the question."""
    return max(results, key=_fitness)


def _fitness(guess: Guess) -> int:
    words = set(words_of(guess.name))
    fit = 4 if guess.direction == "higher" else 2 if guess.direction == "lower" else 0
    fit += 4 if words & {"test", "eval"} else 2 if words & {"val", "valid", "validation"} else 0
    fit -= 2 if words & {"train", "training", "best"} else 0
    return fit + (1 if guess.source != "stdout" else 0)


def _source(guess: Guess) -> Iterator[str]:
    if guess.source == "log":
        yield "# it comes from run.log(...) or run.summary(...)"
        return
    if guess.source == "json" and "*" in guess.place:  # a file, not a pattern
        name = guess.place.rpartition("/")[2]
        yield _entry("json", name, f"{TO_DO}: its path in the run folder")
    else:
        yield _entry(guess.source, guess.place, "")
    if guess.key and guess.key != guess.name:
        yield _entry("key", guess.key, "")
    if guess.step and guess.step != "step" and guess.source in ("csv", "jsonl"):
        yield _entry("step", guess.step, "")


# Ablations.


def part_of(key: str) -> str:
    """Return what a switch or number is about, in words.

    >>> part_of("use_mixup"), part_of("no-label-smoothing"), part_of("augment.enabled")
    ('mixup', 'label smoothing', 'augment')
    """
    names = [each.strip("_-") for each in key.split(".")]
    while len(names) > 1 and names[-1].lower() in ("enabled", "enable", "active", "use", "on"):
        names.pop()
    words = re.split(r"[_-]+", names[-1])
    while len(words) > 1 and words[0].lower() in _VERBS:
        words.pop(0)
    return " ".join("weight decay" if word == "wd" else word for word in words) or key


_VERBS = ("no", "use", "enable", "disable", "with", "without", "do", "apply", "add")


def _ablation(option: Option, taken: set[str]) -> Iterator[str]:
    part = part_of(option.part or option.key)
    yield ""
    yield "[[ablation]]"
    yield _entry("name", part[:1].upper() + part[1:], "")
    yield _entry("arm", _arm(f"no-{part}", taken), "")
    yield _entry("part", f"task.config.{option.key}", "")
    yield _entry("action", "REMOVE", "")


def _with_value(option: Option, action: str, value: Any, taken: set[str]) -> Iterator[str]:
    """Yield an ablation that gives a part another value."""
    part = part_of(option.key)
    name = "Another value of {}" if action == "REPLACE" else "With {}"
    arm = "other-{}" if action == "REPLACE" else "with-{}"
    yield ""
    yield "[[ablation]]"
    yield _entry("name", name.format(part), "")
    yield _entry("arm", _arm(arm.format(part), taken), "")
    yield _entry("part", f"task.config.{option.key}", "")
    yield _entry("action", action, "")
    yield _entry("replacement", [value], "")


def _arm(words: str, taken: set[str]) -> str:
    """Return a name for an arm that no other has."""
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:60]
    name, count = slug, 2
    while name in taken:
        name, count = f"{slug}-{count}", count + 1
    taken.add(name)
    return name


def _as_comment(lines: list[str]) -> list[str]:
    return [f"# {line}" if line else "" for line in lines]


def study_name(file: str) -> str:
    """Return the name of a study from that of a file.

    >>> study_name("Train_CIFAR v2.py"), study_name("ä.py")
    ('train_cifar-v2', 'study')
    """
    stem = file.removesuffix(".py").lower()
    name = re.sub(r"[^a-z0-9._-]+", "-", stem).strip("._-")[:64].rstrip("._-")
    return name or "study"


# TOML.


def remark(text: str) -> str:
    r"""Return text that may stand in a comment: one line without control characters.

    >>> remark("a\tb\x1b[31m")
    'a b[31m'
    """
    line = " ".join(text.split())
    kept = "".join(c for c in line if unicodedata.category(c) not in _INVISIBLE)
    return shortened(kept, 160)


_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def _about(option: Option) -> Iterator[str]:
    if option.about:
        yield remark(option.about)
    if option.choices:
        yield remark(f"one of {', '.join(map(str, option.choices))}")
    if option.note:
        yield remark(option.note)
    if option.key.replace("-", "_") in ("config", "cfg", "config_file", "config_path", "conf"):
        yield "if it names a file of options: {config} in `command` is one with all of these"
    is_path = isinstance(option.value, str) and "://" not in option.value
    if is_path and set(words_of(option.key.rpartition(".")[2])) & _PATHS:
        yield "one beside this file is given with its whole path"


_NO_PARTS = frozenset(
    ("partial", "strict", "check", "enforce", "print", "ignore", "warnings", "pin", "ddp",
     "remote", "prefetcher", "trust", "channels", "overwrite", "verbose", "debug", "quiet",
     "accel", "mps", "deterministic", "cuda", "cpu", "gpu", "save", "log", "resume", "dry", "eval",
     "evaluate", "test", "wandb", "track", "tensorboard", "progress", "download", "plot", "render",
     "video", "capture", "force", "profile", "distributed", "compile", "checkpoint")
)  # fmt: skip
"""Words in names of switches that are no part of a method."""
_PATHS = frozenset(("data", "root", "path", "dir", "folder", "file", "datadir", "dataroot"))


def _told(option: Option, name: str) -> Iterator[str]:
    """Yield what is said of an option that is no entry of config."""
    file = remark(option.file or name)
    yield f"{file}, line {option.line}:"
    yield "; ".join(_about(option)) or "not read"


def _entry(key: str, value: Any, about: str) -> str:
    line = f"{_key_text(key)} = {toml(value)}"
    return f"{line.ljust(WIDTH - 1)} # {about}" if about else line


def _commented(key: str, value: Any, about: str) -> str:
    line = f"# {_key_text(key)} = {toml(value)}"
    return f"{line.ljust(WIDTH - 1)} # {about}"


def _key_text(key: str) -> str:
    return ".".join(_key_part(part) for part in key.split("."))


def _key_part(part: str) -> str:
    return part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else _quoted(part)


def toml(value: Any) -> str:
    r"""Return a value as TOML has it; a text with backslashes in single quotes, if it may be.

    >>> toml({"a": [1, True]}), toml(r"\d"), toml("it's\x7f")
    ('{ a = [1, true] }', "'\\d'", '"it\'s\\u007f"')
    """
    if isinstance(value, dict):
        inner = ", ".join(f"{_key_part(key)} = {toml(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return _list(value)
    if isinstance(value, str):
        is_plain = value.isprintable() and "'" not in value
        return f"'{value}'" if is_plain and "\\" in value else _quoted(value)
    return json.dumps(value)


def _list(values: Iterable[Any]) -> str:
    return f"[{', '.join(map(toml, values))}]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _braced(word: str) -> str:
    """Return a word of a command that has no placeholders: braces stand for themselves."""
    return word.replace("{", "{{").replace("}", "}}")
