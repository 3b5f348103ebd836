"""Keys: a binding that also tells footer, help, palette and docs/monitor.md what it is for.

Screens and widgets declare their keys as `BINDINGS`, as Textual has it; everything that lists keys
reads those lists.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from textual.binding import Binding
from textual.dom import DOMNode


@dataclass(frozen=True)
class Key(Binding):
    """A key, or several that do the same, separated by commas.

    Attributes:
        show: Whether Textual's own footer would show it; the monitor has a footer of its own.
        label: Its name in the footer, "" to leave it out.
        rank: Keys of a low rank stay in the footer longest when room is short.
        heading: Where it works, as the help says it; "" takes the class's `KEYS_HEADING`, and
            without one "on" and the screens that have the key.
    """

    show: bool = False
    label: str = ""
    rank: int = 10
    heading: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The keys as people write them."""
        return tuple(_NAMES.get(key, key) for key in self.key.split(","))

    @property
    def title(self) -> str:
        """What it does in a few words, for the palette."""
        return self.description.split(":")[0].split(";")[0].capitalize()


_NAMES = {
    "question_mark": "?",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "plus": "+",
    "equals_sign": "=",
    "minus": "-",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "comma": ",",
    "full_stop": ".",
    "semicolon": ";",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    "slash": "/",
    "colon": ":",
    "shift+tab": "shift-tab",
    "ctrl+c": "ctrl-c",
    "ctrl+q": "ctrl-q",
    "ctrl+p": "ctrl-p",
    "ctrl+z": "ctrl-z",
    "pageup": "pgup",
    "pagedown": "pgdn",
    "escape": "esc",
}


EVERYWHERE = "everywhere"


@dataclass(frozen=True, slots=True)
class KeyGroup:
    """Keys that work in the same place.

    Attributes:
        owner: The class that declares them.
        heading: Where they work; "{screens}" stands for the screens that have them.
    """

    owner: type[DOMNode]
    heading: str
    keys: tuple[Key, ...]


def key_groups(owner: type[DOMNode]) -> Iterator[KeyGroup]:
    """Yield the keys of a screen or widget class: its own first, then those of its bases."""
    for base in owner.__mro__:
        if not issubclass(base, DOMNode):
            continue
        default = vars(base).get("KEYS_HEADING", "on {screens}")
        headings: dict[str, list[Key]] = {}
        for key in _declared_keys(base):
            headings.setdefault(key.heading or default, []).append(key)
        for heading, keys in headings.items():
            yield KeyGroup(base, heading, tuple(keys))


def keys_of(owner: type[DOMNode]) -> tuple[Key, ...]:
    """Return every key of a screen or widget class, those of its bases first."""
    return tuple(key for base in reversed(owner.__mro__) for key in _declared_keys(base))


def footer_keys(screen: type[DOMNode]) -> tuple[Key, ...]:
    """Return the keys that the footer of a screen names, the most needed first."""
    return tuple(sorted((key for key in keys_of(screen) if key.label), key=lambda key: key.rank))


def _declared_keys(base: type) -> list[Key]:
    return [key for key in vars(base).get("BINDINGS", ()) if isinstance(key, Key)]
