"""Write docs/monitor.md, keys and all, from the keymap: `python docs/screens/page.py`."""

from pathlib import Path

from icckd_tui.keymap import SCOPES, SCREENS, Scope, ScreenName, keys_in

PAGE = Path(__file__).parents[1] / "monitor.md"
HEAD = """# The monitor

`icckd watch [STUDY]` shows a study live in the terminal; `icckd run --tui STUDY.toml` starts
one and shows it. Any number of views may be open: they read the journals, and training waits for
none of them. `icckd status` prints the same in a few plain lines, for logs and screen readers.

This page is written by `python docs/screens/page.py` from the keymap that the program itself uses.

## Screens
"""
ABOUT: dict[ScreenName, tuple[str, str]] = {
    "study": (
        "study-running-160x45.png",
        "The matrix has a row for everything that was varied and a cell for each arm: the paired"
        " difference from the baseline, with `*` where its 95 % interval leaves out 0, the number"
        " of seeds so far while they run, and a hatch where a seed failed. Below it stand the same"
        " differences with their intervals, and the trials. The arm under the cursor is in focus"
        " everywhere: in the charts its curve and the baseline's have their intervals. `b`"
        " compares with the arm under the cursor instead of the declared baseline, for this view"
        " alone; titles say so, and no part is judged then.",
    ),
    "charts": (
        "charts-160x45.png",
        "One to nine series side by side. Smoothing runs over every value of the raw series. The"
        " value cursor reads all charts at one place, and a table holds what it reads. Marked arms"
        " are drawn alone.",
    ),
    "compare": (
        "compare-160x45.png",
        "Marked arms, or all, side by side: every outcome with its paired difference, the verdict"
        " on each part, the primary outcome against a cost, and the settings that differ.",
    ),
    "trial": (
        "trial-160x45.png",
        "One trial: attempts, the process that trains it, outcomes, settings, environment, every"
        " series, and its log with search, levels and the traceback of a failure.",
    ),
    "queue": (
        "queue-160x45.png",
        "The stages in the plan's order with the time that each is expected to take, and what the"
        " session was asked and answered. A view starts locked; `W` unlocks requests, and those"
        " that give up work ask once more. A request is a small file that the session carries out"
        " and confirms in its journal. `P` puts a trial's waiting stages ahead of all others.",
    ),
    "sql": (
        "sql-160x45.png",
        "A console over the documented views. Statements run in a process of their own that can"
        " read nothing else and change nothing; `x` stops one. A filter that is set stands in the"
        " history as SQL.",
    ),
    "host": (
        "host-160x45.png",
        "The last ten minutes of CPU, memory, disk and GPUs, the processes that train with their"
        " trials, and whether memory may run out: a running stage is expected to reach the median"
        " peak of complete stages of its shape. `a minute` is by how much a process grows: the"
        " slope of its last samples, one a second, sixty at most.",
    ),
}
TAIL = """
`:` opens the palette: every action of the screen by its name.

![palette](screens/palette-120x35.png)

`?` lists the keys and signs of the screen.

![help](screens/help-120x35.png)

## The filter

`/` filters trials and arms on every screen (on Trial it searches the log).

| term | meaning |
| --- | --- |
| `cache` | a part of the arm's name |
| `~pattern` | a regular expression on it |
| `state:running`, `reason:finite` | a part of a text: `arm`, `state`, `stage`, `reason` |
| `seed<3`, `delta<0` | numbers: `seed`, `epoch`, `attempts`, `seconds`, `primary`, `delta` |
| `has:reason` | there is a value |
| `ci:excludes0` | arms whose interval of the primary outcome leaves out 0 |
| blank, `\\|`, `-` or `!`, `( )` | and, or, not, groups; quotes keep blanks |

![filter](screens/filter-160x45.png)

## Taking along

`e` writes what the pane in focus shows into the current folder and asks for the format: a table,
whole, as CSV, Markdown or LaTeX (with booktabs); a chart as SVG or PNG, drawn by matplotlib (the
extra `figures`) in the style of the report's figures, or its values as CSV. `y` copies a table as
Markdown or a chart as CSV by the terminal's own clipboard sequence (OSC 52), which works over SSH
where the terminal allows it; inside tmux it takes `set -s set-clipboard on`. `o` on Trial opens the
log in `$PAGER`, else `$EDITOR`, else less; a read-only view starts no other program.

![against](screens/against-160x45.png)

## Terminals

From 60x16 on everything works; below there is a notice. Small terminals show one pane at a time.
Without Unicode (`LC_ALL=C`, or `ICCKD_GLYPHS=ascii`) characters are ASCII, with `NO_COLOR` or 16
colors signs and letters carry what colors would. The palette (`:`) offers light and dark themes.
Where there is no terminal, or a dumb one, the monitor refuses and names `icckd status`. It ends
with its terminal, also where the terminal vanishes without a signal.

Ten minutes beside a writer that is fifty times as fast as training (`pytest -m long
tests/tui/test_tui_live.py`, two cores, 2026-11-24): 253 MiB at the end, growing by 1.8 MiB a
minute while 4.3 MiB of journals came; lag of the event loop at most 31 ms in 99 of 100 turns.

## Replay and browser

`icckd watch --replay 60` shows a study again from its journals, sixty times as fast.

![replay](screens/replay-160x45.png)

`icckd watch --web` serves the same screens, read-only, to a browser on this machine (it needs the
extra `web`); there is no login, and nothing but the loopback interface is served.
"""


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for number, (name, (picture, about)) in enumerate(ABOUT.items(), 1):
        parts.append(
            f"\n### {number} {name.capitalize()}\n\n{about}\n\n![{name}](screens/{picture})\n"
        )
    parts.append("\n## Keys\n")
    for scope, title in SCOPES.items():
        parts.append(f"\n{title.capitalize()}{_where(scope)}:\n\n| key | |\n| --- | --- |\n")
        parts += [f"| {_code(key.shown)} | {key.about} |\n" for key in keys_in((scope,))]
    return "".join([*parts, TAIL])


def _where(scope: Scope) -> str:
    if scope in ("global", "table", "chart", "replay"):
        return ""
    names = [name for name, scopes in SCREENS.items() if scope in scopes]
    return "" if len(names) == 1 else f" ({', '.join(names)})"


def _code(keys: str) -> str:
    return " ".join(f"`{key}`" for key in keys.split())


if __name__ == "__main__":
    PAGE.write_text(page())
