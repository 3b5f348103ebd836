"""Make the pictures of the screens from a real state folder.

    python docs/screens/make.py STATE_FOLDER OUT_DIR [PART_OF_NAME]

Writes one SVG for each screen and, where Chromium is found, a PNG beside it: other renderers
ignore the SVG's text lengths or have no braille.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ["TEXTUAL_COLOR_SYSTEM"] = "truecolor"  # read when textual is imported
os.environ.pop("NO_COLOR", None)

from icckd.journal.folder import StateFolder
from icckd_tui.app import WatchApp
from icckd_tui.feed import source_in
from icckd_tui.replay import STEPS, replay_of

WAIT_SECONDS = 60.0
HOST_SECONDS = 60.0
"""For a first stretch of the host's history."""


@dataclass(frozen=True)
class Shot:
    """A picture: its name, the terminal's size, the keys pressed first, and the theme."""

    name: str
    size: tuple[int, int]
    keys: tuple[str, ...] = ()
    theme: str = "icckd-dark"
    at: float | None = None
    """How much of the study is over, in a replay of its journals; None: as it is."""
    replays: bool = False
    """Whether the bar tells of the replay."""


STATEMENT = (
    "select arm, metric, n, round(mean, 2) as mean, round(difference, 2) as difference"
    " from comparison where metric like '%top1' order by metric, mean desc"
)
SHOTS = (
    Shot("study-160x45", (160, 45)),
    Shot("study-160x45-light", (160, 45), ("plus",), "icckd-light"),
    Shot("study-80x24", (80, 24)),
    Shot("study-running-80x24", (80, 24), at=0.55),
    Shot("curves-80x24", (80, 24), ("tab", "tab")),
    Shot("charts-160x45", (160, 45), ("2", "s", "v")),
    Shot("charts-80x24", (80, 24), ("2", "z")),
    Shot("compare-160x45", (160, 45), ("3",)),
    Shot("trial-160x45", (160, 45), ("4", *("right_square_bracket",) * 13)),
    Shot("groups-160x45", (160, 45), ("tab",) * 4 + ("T", *"margin", "enter")),
    Shot("study-running-160x45", (160, 45), at=0.55),
    Shot("queue-160x45", (160, 45), ("5",), at=0.55),
    Shot("sql-160x45", (160, 45), ("6", "s", *STATEMENT, "enter")),
    Shot("host-160x45", (160, 45), ("7",)),
    Shot("help-120x35", (120, 35), ("question_mark",)),
    Shot("palette-120x35", (120, 35), ("colon", *"metric")),
    Shot("filter-160x45", (160, 45), ("slash", *"ci:excludes0 seed<3")),
    Shot("against-160x45", (160, 45), ("j", "j", "b")),
    Shot("replay-160x45", (160, 45), ("full_stop",) * 5 + ("i",), at=0.5, replays=True),
)


async def svg_of(folder: StateFolder, shot: Shot) -> str:
    """Return the screen as SVG once it shows the study."""
    if shot.at is None:
        app = WatchApp(source_in(folder), None, theme=shot.theme)
    else:
        source, player = replay_of(folder, 0.01)
        player.seek(round(shot.at * STEPS))
        shown = player if shot.replays else None
        app = WatchApp(source, None, theme=shot.theme, clock=lambda: player.now, player=shown)
    async with app.run_test(size=shot.size) as pilot:
        for _ in range(int(WAIT_SECONDS / 0.1)):
            await asyncio.sleep(0.1)
            if app.state.frame is not None:
                break
        else:
            sys.exit(f"no study could be read from {folder.root}")
        await pilot.pause()
        for key in shot.keys:
            await pilot.press(key)
            await pilot.pause()
            if key == "full_stop":  # a step of the replay is read by the feed
                await asyncio.sleep(1.5)
        await asyncio.sleep(HOST_SECONDS if shot.keys[:1] == ("7",) else 3.0)
        return app.export_screenshot(title="icckd watch")


def picture(browser: str, svg: Path, png: Path) -> None:
    """Render an SVG with headless Chromium."""
    width, height = re.findall(r"[\d.]+", svg.read_text().split('viewBox="')[1])[2:4]
    size = f"{int(float(width)) + 1},{int(float(height)) + 1}"
    with tempfile.TemporaryDirectory() as profile:
        page = Path(profile) / "page.html"
        head = '<meta charset="utf-8"><body style="margin:0;background:transparent">'
        page.write_text(f"{head}{svg.read_text()}</body>")
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", "--hide-scrollbars",
                "--default-background-color=00000000", f"--user-data-dir={profile}/user",
                f"--window-size={size}", f"--screenshot={png.absolute()}", page.as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


def main(state: str, out: str, only: str = "") -> None:
    """Write every picture, or those whose name contains `only`."""
    folder, target = StateFolder(Path(state).absolute()), Path(out)
    target.mkdir(parents=True, exist_ok=True)
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    for shot in (shot for shot in SHOTS if only in shot.name):
        svg = target / f"{shot.name}.svg"
        svg.write_text(asyncio.run(svg_of(folder, shot)))
        if browser is None:
            print(f"{svg} (no Chromium: no PNG)")
            continue
        picture(browser, svg, svg.with_suffix(".png"))
        svg.unlink()
        print(svg.with_suffix(".png"))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python docs/screens/make.py STATE_FOLDER OUT_DIR [PART_OF_NAME]")
    main(*sys.argv[1:])
