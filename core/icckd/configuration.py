"""The user's own configuration: `~/.config/icckd/config.toml`, which no study file can change.

[alerts]
on = ["verdict", "failure", "end"]
command = ["notify-send", "icckd"]
webhook = "https://example.org/hook"
seconds = 10
terminal = true
"""

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from icckd.errors import UsageError

CONFIG_HOME = "XDG_CONFIG_HOME"
FILE = "config.toml"
What = Literal["verdict", "failure", "end"]
"""What alerts are about: a verdict falls, a stage fails, a study's session ends."""
MOST_SECONDS = 60.0


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


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What is configured; everything has a default."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    alerts: Alerts = field(default_factory=Alerts)


def config_folder() -> Path | None:
    """Return the user's folder of icckd's configuration, or None where nobody has a home."""
    base = os.environ.get(CONFIG_HOME, "")
    if base and Path(base).is_absolute():  # the specification has others ignored
        return Path(base) / "icckd"
    try:
        return Path.home() / ".config" / "icckd"
    except RuntimeError:
        return None


def configuration() -> Configuration:
    """Return the user's configuration; without a file, the defaults.

    Raises:
        UsageError: The file cannot be read, or holds what it must not.
    """
    folder = config_folder()
    path = folder / FILE if folder is not None else None
    hint = "docs/monitor.md, Alerts, has every key"
    try:
        text = "" if path is None else path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return Configuration()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the configuration {path} cannot be read: {error}", hint=hint) from error
    from pydantic import TypeAdapter, ValidationError  # most users have no file to check

    try:
        return TypeAdapter(Configuration).validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the configuration {path} is not TOML: {error}", hint=hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        why = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"the configuration {path}: {key}: {why}", hint=hint) from error
