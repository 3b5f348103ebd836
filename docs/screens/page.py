"""Write docs/monitor.md from the registered screens and keys: `python docs/screens/page.py`."""

from collections.abc import Iterator
from pathlib import Path

from icckd_tui.keys import KeyGroup, key_groups
from icckd_tui.screens.registry import SCREENS, heading_of, keys_in
from icckd_tui.widgets.chart import CurveChart
from icckd_tui.widgets.table import GridTable

PAGE = Path(__file__).parents[1] / "monitor.md"
HEAD = """# The monitor

`icckd watch [STUDY]` shows a study live in the terminal; `icckd run --tui STUDY.toml` starts
one and shows it. Any number of views may be open: they read the journals, and training waits for
none of them. `icckd status` prints the same in a few plain lines, for logs and screen readers.

`python docs/screens/page.py` writes this page from the registered screens and the keys that they
declare.

## Screens
"""
TAIL = """
`:` opens the palette: every action that can do something now, by its name.

![palette](screens/palette-120x35.png)

`?` lists the keys and signs of the screen, what applies now first; `/` searches them.

![help](screens/help-120x35.png)

## The filter

`/` filters trials and arms on every screen (on Trial it searches the log).

| term | meaning |
| --- | --- |
| `cache` | a part of the arm's name |
| `~^no-(margin\\|cache)$` | a regular expression on it, up to a blank or an unopened `)` |
| `state:running`, `reason:finite` | a part of a text: `arm`, `state`, `stage`, `reason` |
| `seed<3`, `delta<0` | numbers: `seed`, `epoch`, `attempts`, `seconds`, `primary`, `delta` |
| `has:reason` | there is a value |
| `ci:excludes0` | arms whose interval of the primary outcome leaves out 0 |
| blank, `\\|`, `-` or `!`, `( )` | and, or, not, groups; quotes keep blanks |

A filter is translated to SQL and evaluated by DuckDB in a process of its own, over the trials that
the monitor has read. It is stopped after 5 s, and keys and charts never wait for it. Regular
expressions are DuckDB's (RE2): without look-around and references to groups.

![filter](screens/filter-160x45.png)

## Groups and saved views

`T` groups the trials by a setting, a factor, an arm, a state or a seed: a line above each group
tells how many of its trials are complete, and their means. `M` shows only metrics whose names
fit: a blank means and, `|` or, `-word` leaves out, `*` stands for anything, `~` begins a regular
expression. It holds for charts, series and outcomes. `n` pins the arm in focus: charts draw it
on top of all others. `V` saves filter, metrics, order, groups, charts and zoom under a name, and
applies a saved view to any study, as far as the study has what it names. Views are yours:
`~/.config/icckd/views.json`.

![groups](screens/groups-160x45.png)

## Taking along

`e` writes what the pane in focus shows into the current folder and asks for the format: a table,
whole, as CSV, Markdown or LaTeX (with booktabs); a chart as SVG or PNG, drawn by matplotlib (the
extra `figures`) in the style of the report's figures, or its values as CSV. `y` copies a table as
Markdown or a chart as CSV by the terminal's own clipboard sequence (OSC 52), which works over SSH
where the terminal allows it; inside tmux it takes `set -s set-clipboard on`. `o` on Trial opens the
log in `$PAGER`, else `$EDITOR`, else less; a read-only view starts no other program.

![against](screens/against-160x45.png)

## Terminals

From 60x16 on everything works; below there is a notice. Small terminals show one pane
at a time, the matrix with the differences below it.
Without Unicode (`LC_ALL=C`, or `ICCKD_GLYPHS=ascii`) characters are ASCII, with `NO_COLOR` or 16
colors signs and letters carry what colors would. The theme is light or dark as the terminal's
background is, where the terminal tells it (OSC 11; nobody waits for the answer). The palette (`:`)
offers other themes; `TEXTUAL_THEME` names the one to begin with.
Where there is no terminal, or a dumb one, the monitor refuses and names `icckd status`. A terminal
that tells no size is taken for 80x24, and at most 600x200 are drawn. `ctrl-z` gives the shell back,
`fg` shows the monitor again. SIGTERM, SIGHUP and SIGINT end it with the terminal as it was, and it
ends with its terminal, also where that vanishes without a signal. After an error of its own it
exits with code 1; training goes on.

Keys are handled one after the other, at most 1,000 wait, and `ctrl-q` and `ctrl-c` overtake them
all. A paste is cut at 65,536 characters, and over half a second after its last one if its end is
lost. What is not UTF-8 is left out. Where the terminal takes no output, `ctrl-q` ends the monitor
by SIGTERM after three seconds.

Ten minutes beside a writer that is fifty times as fast as training (`pytest -m long
tests/tui/test_tui_live.py`, two cores, 2026-11-24): 253 MiB at the end, growing by 1.8 MiB a
minute while 4.3 MiB of journals came; lag of the event loop at most 31 ms in 99 of 100 turns.

## Alerts

A verdict that falls, a trial that fails and the end of a session ring the terminal's bell, set its
title and show a notification (OSC 9 and OSC 777, which a terminal that knows neither ignores), in
the monitor and in the terminal of `icckd run`. A session can start a command of yours or post to a
webhook, too. Your own configuration says so, `~/.config/icckd/config.toml` (or below
`XDG_CONFIG_HOME`); no study file can:

```toml
[alerts]
on = ["verdict", "failure", "end"]     # the default: all three
command = ["notify-send", "icckd"]     # its last argument is the text; JSON is on standard input
webhook = "https://example.org/hook"   # JSON is posted: study, what, text, time
seconds = 10                           # how long either may take, at most 60
terminal = true                        # bell, title and notification
```

The command is started without a shell, and ended with all that it started when its time is over. A
command or webhook that fails costs a line, never a trial. Without the file nothing is started or
posted. A browser's tab never rings, and a replay does not.

## Replay and browser

`icckd watch --replay 60` shows a study again from its journals, sixty times as fast.

![replay](screens/replay-160x45.png)

`icckd watch --web` serves the same screens, read-only, to a browser on this machine (it needs the
extra `web`). It prints an address that opens the view once: the browser gets a cookie in exchange
for the token in it, and until the server ends that browser alone is let in. Pages of other servers
are refused, whatever cookie the browser sends along. A tab writes no files. Each tab is a process
of its own, four at most (`--tabs`), and ends with its page or its server. From another machine use
`ssh -L 8000:127.0.0.1:8000`; `--host` listens beyond this machine, without encryption. Cookies know
no ports: a browser sends the one of this view to every server of the same host name. On a machine
that others use, too, open no page of theirs (`127.0.0.1:PORT`) in a browser that has the view; its
server could read the study as you do, until `icckd watch` ends.
"""


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for number, entry in enumerate(SCREENS.values(), 1):
        screen = entry.load()
        picture = screen.PICTURE or f"{entry.name}-160x45.png"
        parts.append(f"\n### {number} {entry.title}\n\n{screen.ABOUT}\n")
        parts.append(f"\n![{entry.name}](screens/{picture})\n")
    parts.append("\n## Keys\n")
    for group in groups():
        heading = heading_of(group)
        parts.append(f"\n{heading[0].upper()}{heading[1:]}:\n\n| key | |\n| --- | --- |\n")
        parts += [
            f"| {' '.join(f'`{name}`' for name in key.names)} | {key.description} |\n"
            for key in keys_in(group)
        ]
    return "".join([*parts, TAIL])


def groups() -> Iterator[KeyGroup]:
    """Yield every group of keys once: what screens share first, each screen's own last."""
    screens = [entry.load() for entry in SCREENS.values()]
    owners = {base: None for screen in screens for base in reversed(screen.__mro__[1:])}
    for owner in (*owners, GridTable, CurveChart, *screens):
        yield from (group for group in key_groups(owner) if group.owner is owner)


if __name__ == "__main__":
    PAGE.write_text(page())
