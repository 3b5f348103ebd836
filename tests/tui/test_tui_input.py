"""Whatever is typed, pasted or sent by a terminal: the monitor lives on, and ctrl-q ends it."""

import os
import random
import re
import signal
import threading
import time

import pytest
from textual import events

from icckd_tui.input import ASK_BACKGROUND, LONGEST_PASTE, KeyStream, TerminalBackground
from tests.support.lab import Lab, planned
from tests.support.terminal import WATCH, Terminal

START, END = b"\x1b[200~", b"\x1b[201~"
WATCHDOG = 10.0  # seconds; what is meant is one, on a machine that does nothing else


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """A state folder with a small finished study."""
    lab = Lab(tmp_path_factory.mktemp("input") / "state")
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.train_all()
    return lab.folder.root


def read(*chunks, stream=None):
    """What a stream makes of these bytes: keys by their names, pastes as texts."""
    stream = stream or KeyStream()
    found = [message for chunk in chunks for message in stream.feed(chunk)]
    return [m.key if isinstance(m, events.Key) else getattr(m, "text", m) for m in found]


@pytest.mark.parametrize(
    "noise",
    [
        b"\xff\xc3(\xe2\x82", b"\x1b[99999999999u", b"\x1b[1114112u", b"\x1b[<9999999999;1;1M",
        b"\x1b[48;0;0;0;0t\x1b[<0;1;1M", b"\x1b[999999999;9R", b"\x1b\x1b\x1b[", b"\x1b[M\x1b[",
    ],
)  # fmt: skip
def test_what_is_no_key_breaks_nothing_and_ctrl_q_is_read_after_it(noise):
    stream = KeyStream()
    assert read(noise, b"\x11", stream=stream)[-1] == "ctrl+q"
    assert read(b"j", stream=stream) == ["j"]


def test_a_paste_is_one_text_however_it_arrives():
    pasted = "select 1 as é\nfrom trial"
    whole = b"a" + START + pasted.encode() + END + b"b"
    assert read(whole) == ["a", pasted, "b"]
    assert read(*(whole[at : at + 1] for at in range(len(whole)))) == ["a", pasted, "b"]


def test_a_paste_that_is_too_long_is_cut_and_what_follows_it_are_keys_again():
    much = b"x" * LONGEST_PASTE
    assert read(START, much, much, b"yy", END, b"j") == [much.decode(), "j"]


@pytest.mark.parametrize("leave", [b"\x11", b"\x1b[113;5u", b"\x1b[113::113;133:1u"])
def test_ctrl_q_is_read_inside_a_paste_that_never_ends(leave):
    assert read(START, b"x" * 5000, b"y" * 100 + leave)[-1] == "ctrl+q"
    assert "ctrl+q" in read(START, b"x" * 200_000, leave)


def test_a_paste_whose_end_is_lost_is_over_when_nothing_follows(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("icckd_tui.input.time.monotonic", lambda: now[0])
    stream = KeyStream()
    assert read(START + b"abc", stream=stream) == []
    assert list(stream.tick()) == []
    now[0] += 1.0
    assert [message.text for message in stream.tick()] == ["abc"]
    assert read(b"j", stream=stream) == ["j"]


def ends(terminal, more=b""):
    """Press ctrl-q; return the exit code and the seconds that it took."""
    pressed = time.monotonic()
    os.write(terminal.master, b"\x11" + more)
    while terminal.process.poll() is None:
        assert time.monotonic() - pressed < WATCHDOG, "ctrl-q is dead"
        try:
            terminal.read(0.02)
        except OSError:  # it left
            break
    return terminal.process.wait(WATCHDOG), time.monotonic() - pressed


def send(terminal, data):
    """Write, reading meanwhile what the program draws."""
    for at in range(0, len(data), 512):
        os.write(terminal.master, data[at : at + 512])
        terminal.read(0.001)


@pytest.mark.slow
def test_a_flood_of_keys_acts_in_order_and_ctrl_q_overtakes_it(state):
    with Terminal(state) as terminal:
        terminal.until("icc-ablations", "no-margin")
        send(terminal, b"\xff\xfe6s" + b"from trial limit 3\r")
        terminal.until("3 rows in")
        send(terminal, b"\x1b")
        terminal.read(0.3)
        send(terminal, b"1" + b"\t" + b"j" * 1000 + b"24j5k" * 200)
        code, seconds = ends(terminal)
    assert code == 0
    assert "Traceback" not in terminal.text
    print(f"ctrl-q behind 2,000 keys: {seconds:.2f} s")


@pytest.mark.slow
def test_leaving_a_monitor_at_rest_skips_the_end_of_the_interpreter(state):
    took = []
    while min(took, default=1.0) >= 1.0 and len(took) < 3:  # of three, on a busy machine
        with Terminal(state) as terminal:
            terminal.until("icc-ablations", "no-margin")
            terminal.read(1.0)
            code, seconds = ends(terminal)
        assert code == 0
        took.append(seconds)
    assert min(took) < 1


@pytest.mark.slow
def test_ctrl_q_ends_the_monitor_during_a_paste_without_end(state):
    with Terminal(state) as terminal:
        terminal.until("icc-ablations", "no-margin")
        send(terminal, b"/")
        terminal.until("Filter trials and arms")
        send(terminal, START + b"no-cache " * 40_000)
        code, seconds = ends(terminal, b"x" * 2000)
    assert code == 0
    print(f"ctrl-q within a paste: {seconds:.2f} s")


@pytest.mark.slow
def test_ctrl_q_ends_a_monitor_whose_terminal_became_too_small_for_the_pane_in_focus(state):
    with Terminal(state) as terminal:
        terminal.until("icc-ablations", "no-margin")
        terminal.press("\t")
        terminal.read(0.5)
        terminal.set_size(260, 8)
        terminal.until("This terminal is 260x8")
        terminal.read(0.5)
        assert ends(terminal)[0] == 0


PIECES = (
    b"\x1b", b"\x1b[", b"\x1b[200~", b"\x1b[201~", b"\x1b[<0;9;9M", b"\x1b[<35;70;9M", b"\x1b[I",
    b"\x1b[O", b"\x1b[48;900;900;1;1t", b"\x1b[48;30;90;0;0t", b"\x1b[99999999u", b"\x1bOP", b"\t",
    b"/~(a+)+$\r", b"6sselect 1\r", b"2dd+-v", b"zzj k l", b"\r", b"?", b":theme", b"\x80\xff",
    b"\x1b[?2048;2$y", b"\x1b[?2026;1$y", b"\x1b[1;1R",
)  # fmt: skip


def fuzz(state, seed, rounds):
    """Send random keys, sequences, bytes, floods and sizes; then ctrl-q has to end the monitor."""
    dice = random.Random(seed)
    with Terminal(state) as terminal:
        terminal.until("icc-ablations", "no-margin")
        for _ in range(rounds):
            match dice.randrange(6):
                case 0:
                    data = dice.randbytes(dice.randrange(1, 80))
                case 1:
                    data = dice.choice(PIECES) * dice.randrange(1, 50)
                case 2:
                    terminal.set_size(dice.randrange(0, 300), dice.randrange(0, 100))
                    continue
                case _:
                    data = b"".join(dice.choices(PIECES, k=5))
            data = data.translate(None, b"\x03\x11\x1a")  # these leave, or stop the process
            send(terminal, data.replace(b"q", b"").replace(b"e", b"").replace(b"o", b""))
        assert terminal.process.poll() is None, terminal.text[-3000:]
        code, seconds = ends(terminal)
    assert "Traceback" not in terminal.text, terminal.text[-3000:]
    assert code == 0, (code, seconds, terminal.text[-2000:])
    return seconds


def test_random_input_leaves_the_monitor_alive_and_leavable(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    print(f"ctrl-q after random input: {fuzz(state, 1, 60):.2f} s")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 22))
def test_much_random_input_leaves_the_monitor_alive_and_leavable(
    state, seed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    print(f"ctrl-q after random input: {fuzz(state, seed, 400):.2f} s")


BROKEN = (
    "import sys; from icckd_tui.screens.base import MonitorScreen;"
    "MonitorScreen.action_help = lambda self: 1 / 0;"
    "sys.argv = ['icckd', 'watch']; from icckd.cli.main import main; main()"
)


@pytest.mark.slow
def test_a_mistake_of_the_monitor_ends_it_with_code_1_and_says_that_training_goes_on(state):
    with Terminal(state, WATCH[0], "-c", BROKEN) as terminal:
        terminal.until("icc-ablations", "no-margin")
        terminal.press("?")
        assert terminal.wait() == 1
    assert "ZeroDivisionError" in terminal.text
    assert "icckd: the monitor ended by an error of its own" in terminal.text


MODES = {"1000", "1002", "1003", "1004", "1006", "1015", "1049", "2004"}


def left_on(terminal):
    """The modes that the program switched on and not off again."""
    modes = {}
    for names, end in re.findall(rb"\x1b\[\?([0-9;]+)([hl])", terminal.written):
        modes.update(dict.fromkeys(names.decode().split(";"), end == b"h"))
    return {name for name, on in modes.items() if on} & MODES


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)]
)
def test_ctrl_z_without_a_shell_stops_nothing_and_a_signal_leaves_the_terminal_as_it_was(
    state, number
):
    with Terminal(state) as terminal:
        terminal.until("icc-ablations", "no-margin")
        terminal.press("\x1a")
        terminal.until("there is no shell to go back to")
        assert left_on(terminal)
        terminal.process.send_signal(number)
        assert terminal.wait() == -number
    assert left_on(terminal) == set()


@pytest.mark.long
@pytest.mark.parametrize("how", ["signal", "ctrl-q"])
def test_a_signal_and_ctrl_q_end_a_monitor_whose_output_is_stuck(state, how):
    with Terminal(state) as terminal:
        terminal.until("icc-ablations", "no-margin")
        stop = threading.Event()

        def storm():
            while not stop.wait(0.01):
                os.write(terminal.master, b"234")

        typing = threading.Thread(target=storm)
        typing.start()
        time.sleep(3.0)  # what it draws fills the terminal, which nobody reads
        stop.set()
        typing.join()
        if how == "signal":
            terminal.process.send_signal(signal.SIGTERM)
        else:
            os.write(terminal.master, b"\x11")
        ended = terminal.process.wait(WATCHDOG)
    assert ended == -signal.SIGTERM


@pytest.mark.slow
def test_ctrl_z_gives_the_shell_back_and_fg_shows_the_monitor_again(state):
    shell = ("bash", "--norc", "--noprofile", "-i")
    with Terminal(state, *shell, PS1="READY>", ICCKD_TEST=" ".join(WATCH)) as terminal:
        terminal.until("READY>")
        terminal.press("$ICCKD_TEST\n")
        terminal.until("icc-ablations", "no-margin")
        terminal.read(1.0)  # nothing of it is drawn again by itself
        terminal.forget()
        terminal.press("\x1a")
        terminal.until("READY>")
        assert b"\x1b[?1049l" in terminal.written
        assert left_on(terminal) <= {"2004"}, "that one is the shell's"
        terminal.forget()
        terminal.press("fg\n")
        terminal.until("icc-ablations", "no-margin", "Filter", "Quit")
        terminal.forget()
        terminal.press("\x11")
        terminal.until("READY>")


def told(*chunks):
    """What a stream that asked for the background makes of these bytes."""
    found = read(*chunks, stream=KeyStream(awaits_background=True))
    return [each.is_dark if isinstance(each, TerminalBackground) else each for each in found]


@pytest.mark.parametrize(
    ("answer", "is_dark"),
    [
        (b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\", False),
        (b"\x1b]11;rgb:1e1e/1e1e/2e2e\x07", True),
        (b"\x1b]11;rgb:f/f/e\x07", False),
        (b"\x1b]11;rgba:0000/0000/0000/ffff\x07", True),
        (b"\x1b]11;rgb:0000/0000/ffff\x07", True),
    ],
)
def test_an_answer_about_the_background_becomes_no_keys_however_it_arrives(answer, is_dark):
    assert told(b"a" + answer + b"b") == [is_dark, "a", "b"]
    assert told(*(answer[at : at + 1] for at in range(len(answer))), b"j") == [is_dark, "j"]


def test_an_answer_whose_end_is_lost_swallows_no_keys_for_long(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("icckd_tui.input.time.monotonic", lambda: now[0])
    stream = KeyStream(awaits_background=True)

    assert read(b"\x1b]11;rgb:ff", stream=stream) == []
    now[0] += 1.0
    assert list(stream.tick()) == []
    assert read(b"jk", stream=stream) == ["j", "k"]


def test_escape_is_a_key_while_an_answer_is_awaited():
    stream, found = KeyStream(awaits_background=True), []

    assert read(b"\x1b", stream=stream) == []
    end = time.monotonic() + WATCHDOG
    while not found and time.monotonic() < end:
        time.sleep(0.02)
        found = list(stream.tick())
    assert [message.key for message in found] == ["escape"]


LIGHT_GROUND, DARK_GROUND = ["48", "2", "255", "255", "255"], ["48", "2", "17", "20", "24"]


@pytest.mark.slow
def test_the_theme_follows_the_background_of_the_terminal_and_waits_for_no_answer(state):
    def has(terminal, ground):
        return any(ground == codes[at : at + 5] for codes in terminal.colors for at in range(9))

    with Terminal(state) as terminal:
        terminal.until("icc-ablations", "no-margin")
        assert ASK_BACKGROUND.encode() in terminal.written
        assert has(terminal, DARK_GROUND)
        assert not has(terminal, LIGHT_GROUND)
        os.write(terminal.master, b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\")
        end = time.monotonic() + WATCHDOG
        while not has(terminal, LIGHT_GROUND):
            assert time.monotonic() < end
            terminal.read(0.05)
        assert ends(terminal)[0] == 0
