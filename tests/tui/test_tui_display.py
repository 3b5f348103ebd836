import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from icckd_tui.text import display, fit
from icckd_tui.theme import ASCII, BRAILLE, glyphs_for


@given(st.text())
def test_nothing_that_controls_a_terminal_gets_through(text):
    shown = display(text)

    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert len(shown) <= 400


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;aGVsbG8=\x07name", "name"),
        ("\x1b]0;title\x1b\\name", "name"),
        ("a\x1b[2J\x1b[31mb\x1b[0m", "ab"),
        ("\x9b31mred", "red"),
        ("safe\u202eexe.txt", "safeexe.txt"),
        ("one\r\ntwo\tthree", "one two three"),
        ("[bold]x[/bold] [/bad]", "[bold]x[/bold] [/bad]"),
        ("\ud800bad", "bad"),
        ("", ""),
    ],
)
def test_what_a_hostile_name_looks_like(text, shown):
    assert display(text) == shown


def test_a_long_text_is_cut():
    assert display("x" * 10_000_000, 10) == "x" * 9 + "~"


@given(st.text(max_size=30), st.integers(0, 20))
def test_fit_gives_exactly_the_width(text, width):
    assert cell_len(fit(display(text), width)) == width


def test_glyphs_follow_encoding_and_locale():
    assert glyphs_for("UTF-8", "de_DE.UTF-8") is BRAILLE
    assert glyphs_for("utf8", "") is BRAILLE
    assert glyphs_for("ascii", "en_US.UTF-8") is ASCII
    assert glyphs_for("iso-8859-1", "") is ASCII
    assert glyphs_for("utf-8", "POSIX") is ASCII
    assert glyphs_for(None, "") is ASCII


def test_ascii_glyphs_are_ascii():
    texts = [*ASCII.states.values(), ASCII.cells, ASCII.plus_minus, ASCII.shade, ASCII.delta]

    assert "".join(texts).isascii()
