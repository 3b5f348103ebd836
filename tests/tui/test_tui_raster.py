import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd_tui.theme import ASCII, BRAILLE
from icckd_tui.widgets.plot import (
    Window,
    column_spans,
    filled,
    halves,
    labels,
    log_ticks,
    nice_step,
    packed,
    ticks,
    transformed,
    widened,
)

values = st.floats(-1e6, 1e6)
series = st.lists(st.one_of(values, st.just(float("nan"))), min_size=1, max_size=80)


def window(x, y, columns=20, rows=6):
    finite = y[np.isfinite(y)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    low, high = widened(float(low), float(high))
    return Window(float(x[0]), float(max(x[-1], x[0] + 1)), low, high, columns, rows)


def line_dots(x, y, view):
    return filled(*column_spans(x, y, view), view)


@settings(max_examples=60, deadline=None)
@given(series, st.integers(1, 30), st.integers(1, 10))
def test_minimum_and_maximum_of_every_column_are_drawn(points, columns, rows):
    y = np.array(points)
    x = np.arange(len(y), dtype=float)
    view = window(x, y, columns, rows)

    dots = line_dots(x, y, view)

    edges = np.linspace(view.x_low, view.x_high, columns * 2 + 1)
    place = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, columns * 2 - 1)
    for column in range(columns * 2):
        inside = y[(place == column) & np.isfinite(y)]
        for extreme in (inside.min(), inside.max()) if inside.size else ():
            assert dots[view.dot_row(np.array([extreme]))[0], column]


@settings(max_examples=60, deadline=None)
@given(st.lists(values, min_size=2, max_size=40))
def test_a_line_without_gaps_is_connected(points):
    y = np.array(points)
    x = np.arange(len(y), dtype=float)

    dots = line_dots(x, y, window(x, y))

    assert dots.any(axis=0).all()
    top, bottom = dots.argmax(axis=0), dots.shape[0] - 1 - dots[::-1].argmax(axis=0)
    assert (np.maximum(top[1:], top[:-1]) <= np.minimum(bottom[1:], bottom[:-1])).all()


@given(values, values)
def test_higher_values_are_never_drawn_lower(one, other):
    view = Window(0, 1, -1e6, 1e6, 4, 9)
    low, high = sorted((one, other))

    rows = view.dot_row(np.array([low, high]))

    assert rows[1] <= rows[0]


def test_a_missing_value_leaves_a_gap():
    x = np.arange(5.0)
    y = np.array([1.0, 1.0, np.nan, 1.0, 1.0])
    view = Window(0, 4, 0, 2, 8, 2)

    drawn = line_dots(x, y, view).any(axis=0)

    assert drawn[:4].all()
    assert not drawn[5:11].any()
    assert drawn[12:].all()


def test_a_value_between_two_gaps_is_one_dot():
    y = np.array([np.nan, 3.0, np.nan])

    assert line_dots(np.arange(3.0), y, Window(0, 2, 0, 4, 5, 3)).sum() == 1


@pytest.mark.parametrize("points", [[], [2.0], [np.nan], [2.0, 2.0, 2.0]])
@pytest.mark.parametrize("size", [(1, 1), (7, 3)])
def test_odd_series_are_drawn_without_complaint(points, size):
    y = np.array(points, dtype=float)
    x = np.arange(len(y), dtype=float)

    dots = line_dots(x, y, Window(0, 2, 1, 3, *size))

    assert dots.shape == (size[1] * 4, size[0] * 2)
    assert dots.any() == bool(np.isfinite(y).any())


def test_values_that_a_logarithm_lacks_are_skipped():
    found = transformed(np.array([-1.0, 0.0, 10.0, np.inf, np.nan]), log=True)

    assert found[2] == 1.0
    assert np.isnan(found[[0, 1, 3, 4]]).all()


def test_spans_outside_the_points_are_empty():
    low, high = column_spans(np.array([2.0, 3.0]), np.array([1.0, 1.0]), Window(0, 4, 0, 2, 2, 1))

    assert np.isnan(low[0])
    assert np.isnan(high[0])
    assert low[2] == high[2] == 1.0


def test_dots_become_the_braille_cells_of_unicode():
    dots = np.zeros((4, 4), bool)
    dots[0, 0] = dots[3, 3] = True

    pattern = packed(dots)

    assert "".join(BRAILLE.cells[p] for p in pattern[0]) == "\u2801\u2880"
    assert "".join(ASCII.cells[p] for p in pattern[0]) == "'."


def test_half_cells_count_where_half_of_their_dots_are_set():
    dots = np.zeros((4, 2), bool)
    dots[0] = True

    assert halves(dots).tolist() == [[True], [False]]


@given(st.floats(1e-6, 1e6), st.integers(1, 12))
def test_steps_are_one_two_or_five_and_few_enough(span, most):
    step = nice_step(span, most)

    assert round(step / 10 ** np.floor(np.log10(step * 1.000001)), 6) in (1, 2, 5)
    assert span / step <= most * (1 + 1e-6)


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e5), st.integers(1, 10))
def test_ticks_rise_within_the_range(low, span, most):
    found = ticks(low, low + span, most)

    assert found == sorted(set(found))
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in found)
    assert len(found) <= most + 1


def test_ticks_of_ranges_without_width_are_none():
    assert ticks(1, 1, 4) == ticks(float("nan"), 1, 4) == log_ticks(0, 10, 4) == []


def test_logarithmic_ticks_are_round():
    assert log_ticks(0.1, 100, 4) == [0.1, 1, 10, 100]
    assert log_ticks(0.1, 1.2, 4) == [0.1, 0.2, 0.5, 1.0]
    assert len(log_ticks(1e-9, 1e9, 4)) <= 5


def test_labels_need_no_more_than_their_step():
    assert labels([90.0, 90.5, 91.0]) == ["90.0", "90.5", "91.0"]
    assert labels([]) == []
    assert labels([1e-7, 2e-7]) == ["1e-07", "2e-07"]


@settings(max_examples=60, deadline=None)
@given(st.lists(series, min_size=1, max_size=4), st.integers(1, 30))
def test_series_drawn_together_have_the_extremes_that_each_has_alone(rows, columns):
    length = min(len(row) for row in rows)
    y = np.array([row[:length] for row in rows])
    x = np.arange(length, dtype=float)
    view = Window(0.0, float(max(length - 1, 1)), 0.0, 1.0, columns, 4)

    together = column_spans(x, y, view)

    for place, alone in enumerate(y):
        for found, wanted in zip(together, column_spans(x, alone, view), strict=True):
            np.testing.assert_array_equal(found[place], wanted)
