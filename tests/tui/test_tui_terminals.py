"""The monitor on real pseudo-terminals of many kinds: poor, small, restless, vanishing."""

import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.support.lab import Lab, planned
from tests.support.lanes import slow_but
from tests.support.terminal import WATCH, Terminal

SIXTEEN = {*map(str, (*range(30, 38), 39, *range(40, 48), 49, *range(90, 98), *range(100, 108)))}
PLAIN = {"", "0", "1", "2", "3", "4", "7", "22", "23", "24", "27"}
IGNORING = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
IGNORING += "sys.argv = ['icckd', 'watch']; from icckd.cli.main import main; main()"


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """A state folder with a small finished study."""
    lab = Lab(tmp_path_factory.mktemp("terminals") / "state")
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.train_all()
    return lab.folder.root


@pytest.mark.parametrize(
    "ignoring", slow_but([False, True], False), ids=["", "where SIGHUP is ignored"]
)
def test_a_terminal_that_vanishes_without_a_signal_ends_the_monitor(state, ignoring):
    command = (WATCH[0], "-c", IGNORING) if ignoring else WATCH
    with Terminal(state, *command, controlling=False) as terminal:
        terminal.until("icc-ablations", "no-margin")
        terminal.hang_up()
        ended = terminal.process.wait(8)
    assert ended == (129 if ignoring else -signal.SIGHUP)


def colors_of(terminal):
    return {code for codes in terminal.colors for code in codes}


def test_without_color_no_hue_is_written(state):
    with Terminal(state, NO_COLOR="1") as terminal:
        terminal.until("icc-ablations", "no-margin")
        assert terminal.leave() == 0
    for codes in terminal.colors:
        while codes:
            code, *codes = codes
            if code in ("38", "48"):
                assert codes[0] == "2"
                assert len(set(codes[1:4])) == 1, "a gray"
                codes = codes[4:]
            else:
                assert code in PLAIN


@pytest.mark.slow
def test_a_terminal_of_sixteen_colors_gets_no_others(state):
    with Terminal(state, TERM="xterm", COLORTERM=None) as terminal:
        terminal.until("icc-ablations", "no-margin", "complete")
        assert terminal.leave() == 0
    assert colors_of(terminal) <= SIXTEEN | PLAIN
    assert colors_of(terminal) & SIXTEEN


@pytest.mark.parametrize("arguments", [("watch",), ("run", "--tui", "no-study.toml")])
def test_a_dumb_terminal_is_refused_with_what_to_do_instead(state, arguments):
    with Terminal(state, *WATCH[:-1], *arguments, TERM="dumb") as terminal:
        assert terminal.wait() == 4
    assert "icckd: a dumb terminal has no full screen" in terminal.text
    assert "hint: `icckd status` prints the same" in terminal.text


def test_without_a_terminal_there_is_no_screen(state):
    done = subprocess.run(
        WATCH, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
        env={**os.environ, "ICCKD_HOME": str(state)},
    )  # fmt: skip
    assert done.returncode == 4
    assert done.stdout == ""
    assert "needs a terminal" in done.stderr


def test_a_closed_standard_input_is_no_terminal(state):
    command = ("bash", "-c", f"{' '.join(WATCH)} <&-")
    with Terminal(state, *command) as terminal:
        assert terminal.wait() == 4
    assert "icckd: a full screen needs a terminal" in terminal.text


def test_a_theme_that_does_not_exist_is_refused_with_those_that_do(state):
    with Terminal(state, TEXTUAL_THEME="sepia") as terminal:
        assert terminal.wait() == 2
    assert "icckd: TEXTUAL_THEME='sepia' is not a theme" in terminal.text
    assert "icckd-light" in terminal.text


@pytest.mark.parametrize(("width", "height"), [(0, 0), pytest.param(1, 1, marks=pytest.mark.long)])
def test_a_terminal_of_no_size_is_drawn_once_and_left_at_q(state, width, height):
    with Terminal(state, size=(width, height)) as terminal:
        terminal.until("no-margin" if not width else "…")
        terminal.read(1.0)
        assert len(terminal.written) < 100_000
        assert terminal.leave() == 0


@pytest.mark.slow
def test_the_c_locale_gets_ascii_alone(state):
    with Terminal(state, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0") as terminal:
        terminal.until("icc-ablations", "no-margin")
        pages = (("2", "teacher.val_top1"), ("5", "Queue"), ("?", "In tables"), ("q", ""),
                 (":", "Search actions"), ("\x1b", ""))  # fmt: skip
        for key, words in pages:
            terminal.press(key)
            terminal.until(words)
        terminal.read(0.5)  # a key right after escape would be taken for Alt and that key
        assert terminal.leave() == 0
    assert terminal.text.isascii()


def test_a_terminal_that_is_too_small_says_so_until_it_grows(state):
    with Terminal(state, size=(59, 16)) as terminal:
        terminal.until("This terminal is 59x16; icckd needs 60x16.")
        assert "no-margin" not in terminal.text
        terminal.set_size(60, 16)
        terminal.until("no-margin")
        assert terminal.leave() == 0


@pytest.mark.slow
def test_a_storm_of_sizes_ends_in_the_last_one(state):
    with Terminal(state) as terminal:
        terminal.until("no-margin")
        for step in range(60):
            terminal.set_size(40 + step * 7 % 160, 8 + step * 5 % 50)
            terminal.read(0.01)
        terminal.set_size(58, 15)
        terminal.until("This terminal is 58x15")
        terminal.forget()
        terminal.set_size(160, 45)
        terminal.until("icc-ablations", "Matrix", "Log")
        assert terminal.leave() == 0


@pytest.mark.slow
def test_o_leaves_the_terminal_to_the_pager_and_comes_back(state, tmp_path):
    kept = tmp_path / "kept.txt"
    pager = tmp_path / "pager"
    pager.write_text(f'#!/bin/sh\ncp "$1" {kept}\necho THE PAGER IS HERE\nread -r line\n')
    pager.chmod(0o755)
    with Terminal(state, PAGER=str(pager)) as terminal:
        terminal.until("no-margin")
        terminal.press("4")
        terminal.until("4 trial", "Environment", "Log")
        terminal.press("o")
        terminal.until("THE PAGER IS HERE")
        terminal.forget()
        terminal.press("\n")
        terminal.until("Environment")
        assert terminal.leave() == 0
    assert " info " in kept.read_text()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_inside_tmux_the_screen_is_whole_and_keys_arrive(state, tmp_path):
    server = ("tmux", "-L", f"icckd-{tmp_path.name}", "-f", "/dev/null")

    def tmux(*arguments):
        return subprocess.run(
            [*server, *arguments], capture_output=True, text=True, check=True, timeout=30
        ).stdout

    def shows(*words):
        end = time.monotonic() + 30
        while not all(word in (text := tmux("capture-pane", "-p", "-t", "one")) for word in words):
            assert time.monotonic() < end, text
            time.sleep(0.1)
        return text.splitlines()

    command = f"env ICCKD_HOME={state} LC_ALL=C.UTF-8 {' '.join(WATCH)}"
    tmux("-u", "new-session", "-d", "-s", "one", "-x", "80", "-y", "30", command)
    try:
        lines = shows("icc-ablations", "no-margin", "1 study")
        assert lines[0].startswith(" icc-ablations")
        first = next(place for place, line in enumerate(lines) if line.startswith("╭"))
        end = max(place for place, line in enumerate(lines) if line.startswith("╰"))
        assert end > 20
        sides = [line[0] + line[79] for line in lines[first : end + 1]]
        assert set(sides) == {"╭╮", "││", "╰╯"}, lines
        assert sides.count("╭╮") == 2  # the matrix, and the differences below it
        tmux("send-keys", "-t", "one", "3")
        shows("Comparison with full", "comparison 1/4")
        tmux("send-keys", "-t", "one", "1", "q")
        end = time.monotonic() + 20
        while subprocess.run([*server, "has-session"], capture_output=True).returncode == 0:
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        subprocess.run([*server, "kill-server"], capture_output=True, check=False)
