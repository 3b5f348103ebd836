"""What a user or a site configures, and no study file can change: studies are untrusted.

`~/.config/icckd/config.toml` is the user's own; `config.toml` in the state folder stands for the
place where it lies, and goes before it. Nothing of this decides a number or is in a digest.

executor = "slurm"

[slurm]
partition = "gpu"
prologue = ["module load cuda"]

[alerts]
on = ["verdict", "failure", "end"]
command = ["notify-send", "icckd"]
webhook = "https://example.org/hook"
seconds = 10
terminal = true

[storage]
url = "s3://bucket/prefix"
"""

import difflib
import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args
from urllib.parse import urlsplit

from icckd.errors import UsageError

CONFIG_HOME = "XDG_CONFIG_HOME"
FILE = "config.toml"
What = Literal["verdict", "failure", "end"]
"""What alerts are about: a verdict falls, a stage fails, a study's session ends."""
Precedence = Literal["seeds", "arms"]
"""What is finished first: a seed through all arms, or an arm with all its seeds."""
Mix = Literal["refuse", "allow"]
"""Whether arms of one seed may be computed on several models of device."""
MOST_SECONDS = 60.0
LEAST_PUSH_SECONDS, MOST_PUSH_SECONDS = 0.1, 600.0


@dataclass(frozen=True, kw_only=True)
class Alerts:
    """What the user is told of, and how.

    Attributes:
        on: What alerts are about.
        command: A command and its arguments, started for each alert: its text is the last
            argument, JSON is on standard input. Empty starts nothing.
        webhook: An address of http or https that JSON is posted to; "" posts nothing.
        seconds: How long either may take, at most `MOST_SECONDS`.
        terminal: Whether a terminal rings its bell, has a title and shows a notification.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    on: tuple[What, ...] = get_args(What)
    command: tuple[str, ...] = ()
    webhook: str = ""
    seconds: float = 10.0
    terminal: bool = True

    def __post_init__(self) -> None:
        """Check what types do not say."""
        if self.webhook and not self.webhook.startswith(("https://", "http://")):
            raise ValueError("webhook: an address of https:// or http:// is wanted")
        if not 0 < self.seconds <= MOST_SECONDS:
            raise ValueError(f"seconds: more than 0 and at most {MOST_SECONDS:g} are wanted")
        if self.command and not all(self.command):
            raise ValueError("command: it holds an empty word")


_WORD = re.compile(r"[\w.,:;&|*()\[\]@/+=%~-]*")


@dataclass(frozen=True, kw_only=True)
class Local:
    """How workers share this machine.

    Attributes:
        memory_gib: Memory that the workers of a session may take together, in GiB; 0 takes what is
            free.
        gpu_workers: Most workers on one GPU. They are as many as gain by it, of stages whose memory
            was measured.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    memory_gib: float = 0.0
    gpu_workers: int = 4

    def __post_init__(self) -> None:
        """Check what types do not say."""
        if not 0 <= self.memory_gib < math.inf:
            raise ValueError("memory_gib: 0 or more is wanted")
        if not 1 <= self.gpu_workers <= 64:
            raise ValueError("gpu_workers: 1 to 64 are wanted")


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """How stages are submitted to Slurm.

    Attributes:
        partition: A partition; "" leaves it to Slurm, as all that follows.
        account: An account.
        qos: A quality of service.
        constraint: Features that nodes must have, such as a model of CPU or GPU.
        classes: The constraint that leads to a class of hardware, by the model of its device as
            `icckd show` tells it; it takes the place of `constraint`.
        gres: Generic resources of a task, such as `gpu:1`.
        memory: Of a task, such as `8G`.
        cpus: CPUs of a task; 0 takes the threads of a stage.
        time_minutes: Time limit of a task; 0 leaves it to the partition.
        signal_seconds: How long before its time limit a task is told to save; Slurm may tell it up
            to a minute earlier.
        minimum_minutes: Least predicted length of a task: shorter lists of stages share one.
        tasks: Most tasks at once, waiting ones too; 0 takes what Slurm allows, at most 1000.
        prologue: Lines of bash that a task begins with.
        options: Further options of sbatch, such as `--reservation=course`.
        when_stopped: What becomes of tasks when the session is interrupted.
        poll_seconds: How often what tasks say is read; Slurm itself is asked a fifth as often.
        client_seconds: How long a command of Slurm may take.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    classes: Mapping[str, str] = field(default_factory=dict)
    gres: str = ""
    memory: str = ""
    cpus: int = 0
    time_minutes: int = 0
    signal_seconds: int = 120
    minimum_minutes: float = 10.0
    tasks: int = 0
    prologue: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    when_stopped: Literal["leave", "cancel"] = "leave"
    poll_seconds: float = 2.0
    client_seconds: float = 12.0

    def __post_init__(self) -> None:
        """Check what types do not say."""
        for name in ("partition", "account", "qos", "constraint", "gres", "memory"):
            if not _WORD.fullmatch(getattr(self, name)):
                raise ValueError(f"{name}: one word without spaces or quotes is wanted")
        if not all(word and _WORD.fullmatch(word) for word in self.classes.values()):
            raise ValueError("classes: one word without spaces or quotes is wanted for each")
        for name in ("cpus", "time_minutes", "signal_seconds", "minimum_minutes", "tasks"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: 0 or more is wanted")
        if not (0.05 <= self.poll_seconds <= 60 and 1 <= self.client_seconds <= 300):
            raise ValueError("poll_seconds is from 0.05 to 60, client_seconds from 1 to 300")
        if any("\n" in line for line in (*self.prologue, *self.options)):
            raise ValueError("prologue and options: each is one line")
        if not all(option.startswith("-") for option in self.options):
            raise ValueError("options: each begins with a dash, as in --reservation=course")


@dataclass(frozen=True, kw_only=True)
class Autoscale:
    """What the autoscaler of a Ray cluster may add: so many nodes of this size.

    Attributes:
        nodes: How many; 0 says that it adds none.
        cpus: CPUs of each.
        gpus: GPUs of each.
        memory_gib: Memory of each, in GiB.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    nodes: int = 0
    cpus: int = 0
    gpus: int = 0
    memory_gib: float = 0.0

    def __post_init__(self) -> None:
        """Check what types do not say."""
        if not all(0 <= n < math.inf for n in (self.nodes, self.cpus, self.gpus, self.memory_gib)):
            raise ValueError("numbers from 0 are wanted")


@dataclass(frozen=True, kw_only=True)
class Ray:
    """The Ray cluster of the executor `ray`.

    Attributes:
        address: Of its head node, `HOST:PORT`, or `auto`; "" starts a Ray for each session.
        memory_gib: Least that Ray sets aside for a list of stages, in GiB; it limits nothing.
        classes: The custom resource that nodes of a class of hardware have, by the model of their
            device as `icckd show` tells it.
        autoscale: What its autoscaler may add.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    address: str = ""
    memory_gib: float = 0.0
    classes: Mapping[str, str] = field(default_factory=dict)
    autoscale: Autoscale = field(default_factory=Autoscale)

    def __post_init__(self) -> None:
        """Check what types do not say."""
        if not 0 <= self.memory_gib < math.inf:
            raise ValueError("memory_gib: 0 or more is wanted")
        if not all(name and name not in ("CPU", "GPU", "memory") for name in self.classes.values()):
            raise ValueError("classes: a resource of one's own is wanted for each")


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """What machines share: docs/storage.md. Credentials come from the environment, never from here.

    Attributes:
        url: `s3://bucket/prefix`, or `file:///folder`; "" is none.
        endpoint: Address of a server that is not AWS.
        region: Of the bucket.
        seconds: Time between two segments of a journal; a change of state is pushed at once.
        takeover_seconds: A session whose counter stands still for so long may be taken over.
        scratch: Where a node works that does not see the state folder; "" is its temporary folder.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    url: str = ""
    endpoint: str = ""
    region: str = ""
    seconds: float = 5.0
    takeover_seconds: float = 60.0
    scratch: str = ""

    def __post_init__(self) -> None:
        """Check what types do not say."""
        parts, server = urlsplit(self.url), urlsplit(self.endpoint)
        if "@" in parts.netloc + server.netloc or parts.query or parts.fragment:
            raise ValueError("url: credentials and queries do not belong here")
        is_folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
        if self.url and not is_folder and not (parts.scheme == "s3" and parts.netloc):
            raise ValueError("url: s3://bucket/prefix or file:///folder is wanted")
        if self.endpoint and server.scheme not in ("https", "http"):
            raise ValueError("endpoint: an address of https:// or http:// is wanted")
        if not LEAST_PUSH_SECONDS <= self.seconds <= MOST_PUSH_SECONDS:
            raise ValueError(f"seconds: {LEAST_PUSH_SECONDS:g} to {MOST_PUSH_SECONDS:g} are wanted")
        if self.takeover_seconds < 2 * self.seconds:
            raise ValueError("takeover_seconds: at least twice `seconds` is wanted")
        if self.scratch and not Path(self.scratch).is_absolute():
            raise ValueError("scratch: a path from / on is wanted")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What is configured; everything has a default.

    Attributes:
        executor: What trains, unless the command says otherwise.
        first: What is finished first, unless the command says otherwise.
        mix: Whether arms of one seed may be computed on several models of device, unless the
            command says otherwise.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    executor: str = "local"
    first: Precedence = "seeds"
    mix: Mix = "refuse"
    local: Local = field(default_factory=Local)
    slurm: Slurm = field(default_factory=Slurm)
    ray: Ray = field(default_factory=Ray)
    alerts: Alerts = field(default_factory=Alerts)
    storage: StorageSettings = field(default_factory=StorageSettings)


KEYS = tuple(each.name for each in fields(Configuration))
"""Keys that a study file must not have."""
HINT = "docs/cluster.md#settings has every key, docs/monitor.md#alerts those of alerts"


def config_folder() -> Path | None:
    """Return the user's folder of icckd's configuration, or None where nobody has a home."""
    base = os.environ.get(CONFIG_HOME, "")
    if base and Path(base).is_absolute():  # the specification has others ignored
        return Path(base) / "icckd"
    try:
        return Path.home() / ".config" / "icckd"
    except RuntimeError:
        return None


def configuration(state_folder: Path | None = None) -> Configuration:
    """Return what the user configures and, before that, the state folder; else the defaults.

    Args:
        state_folder: The state folder; without one only the user is asked.

    Raises:
        UsageError: A file cannot be read, or holds what it must not.
    """
    tables: dict[str, Any] = {}
    # One that cannot be entered is told by whoever needs it.
    can_be_entered = state_folder is not None and os.access(state_folder, os.X_OK)
    for folder in (config_folder(), state_folder if can_be_entered else None):
        if folder is not None:
            tables = _merged(tables, _tables_in(folder / FILE))
    return _validated(tables, None) if tables else Configuration()


def _tables_in(path: Path) -> dict[str, Any]:
    """Return what a file holds, which was found right."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the configuration {path} is not TOML: {error}", hint=HINT) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the configuration {path} cannot be read: {error}", hint=HINT) from error
    _validated(tables, path)
    return tables


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            merged[key] = _merged(under, value)
        else:
            merged[key] = value
    return merged


def _validated(tables: Mapping[str, Any], path: Path | None) -> Configuration:
    from pydantic import TypeAdapter, ValidationError  # most users have no file to check

    try:
        return TypeAdapter(Configuration).validate_python(tables)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        why = first["msg"].removeprefix("Value error, ")
        near = _nearest(first["loc"]) if first["type"] == "unexpected_keyword_argument" else ""
        raise UsageError(
            f"the configuration {path or FILE}: {key}: {why}",
            hint=f"did you mean {near!r}? {HINT}" if near else HINT,
        ) from error


def _nearest(way: tuple[int | str, ...]) -> str:
    """Return the key that somebody may have meant, or ""."""
    table: Any = Configuration
    for part in way[:-1]:
        table = {each.name: each.default_factory for each in fields(table)}.get(str(part))
        if table is None or not is_dataclass(table):
            return ""
    known = [each.name for each in fields(table)]
    return next(iter(difflib.get_close_matches(str(way[-1]), known, n=1)), "")
