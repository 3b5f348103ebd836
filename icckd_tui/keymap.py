"""Every key, once: bindings, footer and help overlay are made from this table."""

from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

Scope = Literal["study", "table", "curves"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A user's intent: the action it runs, where it works, what it is called.

    A `label` puts it into the footer, where keys with a lower `rank` stay longest.
    """

    action: str
    keys: tuple[str, ...]
    scope: Scope
    about: str
    label: str = ""
    rank: int = 9

    @property
    def shown(self) -> str:
        """The keys as people write them."""
        return " ".join(_NAMES.get(key, key) for key in self.keys)

    @property
    def short(self) -> str:
        """The first key alone."""
        return _NAMES.get(self.keys[0], self.keys[0])


_NAMES = {
    "question_mark": "?",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "plus": "+",
    "equals_sign": "=",
    "shift+tab": "shift-tab",
    "ctrl+c": "ctrl-c",
    "ctrl+q": "ctrl-q",
    "pageup": "pgup",
    "pagedown": "pgdn",
}

KEYS: tuple[Key, ...] = (
    Key(action="leave", keys=("q", "ctrl+q", "ctrl+c"), scope="study",
        about="leave; training never depends on this view", label="Quit", rank=0),
    Key(action="help", keys=("question_mark", "f1"), scope="study",
        about="this help", label="Help", rank=1),
    Key(action="next_pane", keys=("tab",), scope="study",
        about="next pane", label="Pane", rank=2),
    Key(action="previous_pane", keys=("shift+tab",), scope="study", about="previous pane"),
    Key(action="pick_metric", keys=("m",), scope="study",
        about="pick the metric of the curves", label="Metric", rank=3),
    Key(action="previous_metric", keys=("left_square_bracket",), scope="study",
        about="previous metric", label="Previous", rank=7),
    Key(action="next_metric", keys=("right_square_bracket",), scope="study",
        about="next metric", label="Next", rank=7),
    Key(action="maximize_pane", keys=("z",), scope="study",
        about="the current pane alone, and back", label="Zoom", rank=4),
    Key(action="toggle_seeds", keys=("c",), scope="study",
        about="curves: each seed, or mean with its 95 % interval", label="Seeds", rank=6),
    Key(action="toggle_log", keys=("L",), scope="study",
        about="curves: logarithmic y axis", label="Log", rank=8),
    Key(action="toggle_late", keys=("plus", "equals_sign"), scope="study",
        about="curves: y axis of the later half of the epochs, or of all", label="Late", rank=5),
    Key(action="follow", keys=("f",), scope="study",
        about="log: stay at the newest line", label="Follow", rank=8),
    Key(action="screen.toggle_log", keys=("l",), scope="curves", about="logarithmic y axis"),
    Key(action="screen.focus_arm(1)", keys=("down", "j", "right"), scope="curves",
        about="focus the next arm"),
    Key(action="screen.focus_arm(-1)", keys=("up", "k", "left"), scope="curves",
        about="focus the previous arm"),
    Key(action="move(1)", keys=("down", "j"), scope="table", about="next row"),
    Key(action="move(-1)", keys=("up", "k"), scope="table", about="previous row"),
    Key(action="sideways(1)", keys=("right", "l"), scope="table", about="next column"),
    Key(action="sideways(-1)", keys=("left", "h"), scope="table", about="previous column"),
    Key(action="page(1)", keys=("pagedown",), scope="table", about="one page down"),
    Key(action="page(-1)", keys=("pageup",), scope="table", about="one page up"),
    Key(action="first", keys=("g", "home"), scope="table", about="first row"),
    Key(action="last", keys=("G", "end"), scope="table", about="last row"),
    Key(action="choose", keys=("enter",), scope="table",
        about="comparison: show the curves of this arm"),
)  # fmt: skip

SCOPES: dict[Scope, str] = {
    "study": "everywhere",
    "table": "in tables",
    "curves": "in the curves",
}


def bindings(scope: Scope) -> list[Binding]:
    """Return the bindings of one scope; the screen owns `study`, widgets own theirs."""
    return [
        Binding(",".join(key.keys), key.action, key.about, show=False)
        for key in KEYS
        if key.scope == scope
    ]


def footer_keys() -> tuple[Key, ...]:
    """Return the keys that the footer names, the most needed first."""
    return tuple(sorted((key for key in KEYS if key.label), key=lambda key: key.rank))
