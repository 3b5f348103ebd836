"""The screens of the monitor, in the order of their number keys.

To add a screen, write one file with a subclass of `MonitorScreen` and add one row here: it then has
a number key, a place in footer, help, palette and docs/monitor.md. From another package it comes by
an entry point of the group `icckd.screens` under the screen's name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from icckd.errors import MachineError
from icckd_tui.keys import EVERYWHERE, Key, KeyGroup

if TYPE_CHECKING:
    from icckd_tui.screens.base import MonitorScreen


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenEntry:
    """A screen that can be opened.

    Attributes:
        name: Its name in the app and in the footer.
        about: Its title, a colon, and what it shows.
        target: The module and the class in it, imported when the screen is first opened.
    """

    name: str
    about: str
    target: str

    @property
    def title(self) -> str:
        """The title, with a capital."""
        title = self.about.split(":")[0]
        return title[0].upper() + title[1:]

    def load(self) -> type[MonitorScreen]:
        """Import the class.

        Raises:
            MachineError: The package that brings it is broken.
        """
        from icckd_tui.screens.base import MonitorScreen

        module, _, name = self.target.partition(":")
        try:
            found = getattr(import_module(module), name)
            if not issubclass(found, MonitorScreen) or self.name != found.NAME:
                raise TypeError(f"{name} is not a MonitorScreen with NAME = {self.name!r}")
        except Exception as error:  # whatever another package's import raises
            raise MachineError(
                f"screen {self.name!r} cannot be loaded from {self.target}: {error}",
                hint="update or remove the package that brings it",
            ) from error
        return cast("type[MonitorScreen]", found)


SCREENS: dict[str, ScreenEntry] = {}


def register(name: str, about: str, target: str) -> None:
    """Add a screen; see `ScreenEntry`.

    Raises:
        ValueError: There is a screen of that name.
    """
    if name in SCREENS:
        raise ValueError(f"there is a screen {name!r}")
    SCREENS[name] = ScreenEntry(name=name, about=about, target=target)


register("study", "study: what each part does", "icckd_tui.screens.study:StudyScreen")
register("charts", "charts: a grid of curves", "icckd_tui.screens.charts:ChartsScreen")
register("compare", "compare: arms side by side", "icckd_tui.screens.compare:CompareScreen")
register("trial", "trial: everything about one", "icckd_tui.screens.trial:TrialScreen")
register("queue", "queue: what runs, waits, asks", "icckd_tui.screens.queue:QueueScreen")
register("sql", "SQL: a console over the views", "icckd_tui.screens.sql:SqlScreen")
register("host", "host: the machine's history", "icckd_tui.screens.host:HostScreen")


GROUP = "icckd.screens"


def register_installed() -> None:
    """Add the screens of other installed packages; none is imported before it is opened.

    Raises:
        MachineError: Two screens share a name.
    """
    from importlib.metadata import entry_points

    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        if entry.name in SCREENS and SCREENS[entry.name].target == entry.value:
            continue
        package = entry.dist.name if entry.dist is not None else entry.value
        try:
            register(entry.name, f"{entry.name}: a screen of {package}", entry.value)
        except ValueError as error:
            raise MachineError(
                f"{package}: {error} already", hint="remove one of the packages that bring it"
            ) from error


def number_keys() -> Iterator[Key]:
    """Yield the keys that open the first nine screens, by their numbers in the order above."""
    for number, entry in enumerate(list(SCREENS.values())[:9], 1):
        yield Key(str(number), f"open_number({number})", entry.about)


def keys_in(group: KeyGroup) -> tuple[Key, ...]:
    """Return the keys of a group; of those that work everywhere, the screens' numbers first."""
    return (*number_keys(), *group.keys) if group.heading == EVERYWHERE else group.keys


def heading_of(group: KeyGroup) -> str:
    """Return where keys work, with the titles of the screens that have them."""
    if "{screens}" not in group.heading:
        return group.heading
    titles = [entry.title for entry, screen in loaded() if issubclass(screen, group.owner)]
    *others, last = titles
    screens = f"{', '.join(others)} and {last}" if others else last
    return group.heading.format(screens=screens)


def loaded() -> Iterator[tuple[ScreenEntry, type[MonitorScreen]]]:
    """Yield every screen and its class, without those that are broken."""
    for entry in SCREENS.values():
        with contextlib.suppress(MachineError):
            yield entry, entry.load()
