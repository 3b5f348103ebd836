"""Every key, once: bindings, footer, help overlay, palette and docs/monitor.md come from here."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

Scope = Literal[
    "global",
    "panes",
    "table",
    "chart",
    "curves",
    "control",
    "arms",
    "study",
    "charts",
    "compare",
    "trial",
    "sql",
    "replay",
]
ScreenName = Literal["study", "charts", "compare", "trial", "queue", "sql", "host"]


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
    "pageup": "pgup",
    "pagedown": "pgdn",
    "escape": "esc",
}

KEYS: tuple[Key, ...] = (
    Key(action="open('study')", keys=("1",), scope="global", about="study: what each part does"),
    Key(action="open('charts')", keys=("2",), scope="global", about="charts: a grid of curves"),
    Key(action="open('compare')", keys=("3",), scope="global",
        about="compare: arms side by side"),
    Key(action="open('trial')", keys=("4",), scope="global", about="trial: everything about one"),
    Key(action="open('queue')", keys=("5",), scope="global", about="queue: what runs, waits, asks"),
    Key(action="open('sql')", keys=("6",), scope="global", about="SQL: a console over the views"),
    Key(action="open('host')", keys=("7",), scope="global", about="host: the machine's history"),
    Key(action="leave", keys=("q", "ctrl+q", "ctrl+c"), scope="global",
        about="leave; training never depends on this view", label="Quit", rank=0),
    Key(action="help", keys=("question_mark", "f1"), scope="global",
        about="this help", label="Help", rank=1),
    Key(action="app.command_palette", keys=("colon", "ctrl+p"), scope="global",
        about="every action by its name"),
    Key(action="back", keys=("escape",), scope="global", about="one layer back, to the study"),
    Key(action="filter", keys=("slash",), scope="global",
        about="filter trials and arms; in a log: search", label="Filter", rank=4),
    Key(action="events", keys=("i",), scope="global",
        about="what happened: failures, best values, clear results", label="Events", rank=6),
    Key(action="export", keys=("e",), scope="global",
        about="write what the pane shows to a file: asks for the format", label="Export", rank=8),
    Key(action="copy", keys=("y",), scope="global",
        about="copy what the pane shows: a table as Markdown, a chart as CSV"),
    Key(action="unlock", keys=("W",), scope="global",
        about="unlock requests to the session, or lock them again"),
    Key(action="play", keys=("semicolon",), scope="replay", about="stop the replay, or go on"),
    Key(action="seek(-1)", keys=("comma",), scope="replay", about="back in the replay"),
    Key(action="seek(1)", keys=("full_stop",), scope="replay", about="forward in the replay"),
    Key(action="faster(1)", keys=("right_curly_bracket",), scope="replay", about="replay faster"),
    Key(action="faster(-1)", keys=("left_curly_bracket",), scope="replay", about="replay slower"),
    Key(action="next_pane", keys=("tab",), scope="panes",
        about="next pane", label="Pane", rank=2),
    Key(action="previous_pane", keys=("shift+tab",), scope="panes", about="previous pane"),
    Key(action="maximize_pane", keys=("z",), scope="panes",
        about="the current pane alone, and back", label="Zoom", rank=5),
    Key(action="pick_metric", keys=("m",), scope="curves",
        about="pick the metric", label="Metric", rank=3),
    Key(action="step_metric(-1)", keys=("left_square_bracket",), scope="curves",
        about="previous metric"),
    Key(action="step_metric(1)", keys=("right_square_bracket",), scope="curves",
        about="next metric"),
    Key(action="cycle_seeds", keys=("c",), scope="curves",
        about="mean with its 95 % interval, each seed, or both", label="Seeds", rank=7),
    Key(action="smooth(1)", keys=("s",), scope="curves",
        about="smooth more", label="Smooth", rank=7),
    Key(action="smooth(-1)", keys=("S",), scope="curves", about="smooth less"),
    Key(action="cycle_x", keys=("x",), scope="curves",
        about="x axis: epoch, step, time, relative", label="X axis", rank=8),
    Key(action="zoom(1)", keys=("plus", "equals_sign"), scope="curves",
        about="zoom in, to the value cursor or to the newest values", label="In", rank=7),
    Key(action="zoom(-1)", keys=("minus",), scope="curves", about="zoom out"),
    Key(action="reset_zoom", keys=("0",), scope="curves", about="the whole range again"),
    Key(action="pan(-1)", keys=("less_than_sign",), scope="curves", about="pan left"),
    Key(action="pan(1)", keys=("greater_than_sign",), scope="curves", about="pan right"),
    Key(action="value_cursor", keys=("v",), scope="curves",
        about="value cursor: left and right move it", label="Values", rank=8),
    Key(action="follow", keys=("f",), scope="panes",
        about="stay at the newest line or value"),
    Key(action="screen.toggle_log_y", keys=("l",), scope="chart", about="logarithmic y axis"),
    Key(action="screen.toggle_log_x", keys=("L",), scope="chart", about="logarithmic x axis"),
    Key(action="screen.focus_arm(1)", keys=("down", "j"), scope="chart",
        about="focus the next arm"),
    Key(action="screen.focus_arm(-1)", keys=("up", "k"), scope="chart",
        about="focus the previous arm"),
    Key(action="screen.move_cursor(1)", keys=("right",), scope="chart",
        about="value cursor to the right"),
    Key(action="screen.move_cursor(-1)", keys=("left",), scope="chart",
        about="value cursor to the left"),
    Key(action="step_outcome(1)", keys=("o",), scope="study",
        about="matrix and differences: next outcome", label="Outcome", rank=4),
    Key(action="step_outcome(-1)", keys=("O",), scope="study",
        about="matrix and differences: previous outcome"),
    Key(action="grid(1)", keys=("w",), scope="charts", about="more charts", label="Grid", rank=4),
    Key(action="grid(-1)", keys=("d",), scope="charts", about="fewer charts"),
    Key(action="free_x", keys=("u",), scope="charts",
        about="one x range for all charts, or one for each"),
    Key(action="next_difference", keys=("n",), scope="compare",
        about="next setting in which the arm differs", label="Next", rank=6),
    Key(action="cost", keys=("o",), scope="compare",
        about="next cost: time, memory, cache", label="Cost", rank=6),
    Key(action="next_match(1)", keys=("n",), scope="trial", about="next match in the log"),
    Key(action="next_match(-1)", keys=("N",), scope="trial", about="previous match in the log"),
    Key(action="level", keys=("v",), scope="trial",
        about="log: all lines, warnings, errors", label="Level", rank=6),
    Key(action="open_log", keys=("o",), scope="trial",
        about="open the log in $PAGER or $EDITOR", label="Open", rank=8),
    Key(action="traceback", keys=("b",), scope="trial",
        about="the traceback of a failure, and back", label="Traceback", rank=6),
    Key(action="step_trial(1)", keys=("right_square_bracket",), scope="trial",
        about="next trial", label="Next", rank=7),
    Key(action="step_trial(-1)", keys=("left_square_bracket",), scope="trial",
        about="previous trial"),
    Key(action="reference", keys=("b",), scope="arms",
        about="compare with the arm under the cursor; again: as declared",
        label="Against", rank=7),
    Key(action="ask('pause')", keys=("p",), scope="control",
        about="pause the session, or resume it"),
    Key(action="ask('cancel')", keys=("X",), scope="control",
        about="cancel the trial under the cursor; asks first"),
    Key(action="ask('retry')", keys=("R",), scope="control",
        about="retry the trial under the cursor"),
    Key(action="ask('first')", keys=("P",), scope="control",
        about="put the trial under the cursor first in the queue"),
    Key(action="ask('extend')", keys=("A",), scope="control", about="ask for two more seeds"),
    Key(action="ask('stop')", keys=("D",), scope="control",
        about="stop after the running stages; asks first"),
    Key(action="edit", keys=("s",), scope="sql", about="edit the statement; enter runs it",
        label="Statement", rank=2),
    Key(action="views", keys=("v",), scope="sql", about="the views and what they hold",
        label="Views", rank=3),
    Key(action="history(-1)", keys=("p",), scope="sql", about="previous statement"),
    Key(action="history(1)", keys=("n",), scope="sql", about="next statement"),
    Key(action="interrupt", keys=("x",), scope="sql", about="stop the running statement"),
    Key(action="move(1)", keys=("down", "j"), scope="table", about="next row"),
    Key(action="move(-1)", keys=("up", "k"), scope="table", about="previous row"),
    Key(action="sideways(1)", keys=("right", "l"), scope="table", about="next column"),
    Key(action="sideways(-1)", keys=("left", "h"), scope="table", about="previous column"),
    Key(action="page(1)", keys=("pagedown",), scope="table", about="one page down"),
    Key(action="page(-1)", keys=("pageup",), scope="table", about="one page up"),
    Key(action="first", keys=("g", "home"), scope="table", about="first row"),
    Key(action="last", keys=("G", "end"), scope="table", about="last row"),
    Key(action="choose", keys=("enter",), scope="table",
        about="open what the cursor stands on"),
    Key(action="mark", keys=("space",), scope="table", about="mark the arm for the comparison"),
    Key(action="sort", keys=("t",), scope="table",
        about="sort by the column under the cursor: up, down, as planned"),
)  # fmt: skip

SCOPES: dict[Scope, str] = {
    "global": "everywhere",
    "panes": "on screens with panes",
    "table": "in tables",
    "curves": "on Study and Charts",
    "chart": "in a chart",
    "arms": "on Study, Charts and Compare",
    "study": "on Study",
    "charts": "on Charts",
    "compare": "on Compare",
    "trial": "on Trial",
    "control": "on Study, Trial and Queue, once unlocked",
    "sql": "on SQL",
    "replay": "in a replay",
}
SCREENS: dict[ScreenName, tuple[Scope, ...]] = {
    "study": ("global", "replay", "panes", "curves", "arms", "study", "control"),
    "charts": ("global", "replay", "panes", "curves", "arms", "charts"),
    "compare": ("global", "replay", "panes", "arms", "compare"),
    "trial": ("global", "replay", "panes", "trial", "control"),
    "queue": ("global", "replay", "panes", "control"),
    "sql": ("global", "replay", "panes", "sql"),
    "host": ("global", "replay", "panes"),
}


def bindings(*scopes: Scope) -> list[Binding]:
    """Return the bindings of some scopes; widgets own `table` and `chart`, screens the others."""
    return [
        Binding(",".join(key.keys), key.action, key.about, show=False) for key in keys_in(scopes)
    ]


def keys_in(scopes: Iterable[Scope]) -> tuple[Key, ...]:
    """Return the keys of these scopes, in the table's order."""
    wanted = set(scopes)
    return tuple(key for key in KEYS if key.scope in wanted)


def footer_keys(screen: ScreenName) -> tuple[Key, ...]:
    """Return the keys that the footer of a screen names, the most needed first."""
    labelled = (key for key in keys_in(SCREENS[screen]) if key.label)
    return tuple(sorted(labelled, key=lambda key: key.rank))
