"""Saved views by name, and trials in groups."""

import json
from dataclasses import replace

import pytest

from icckd_tui.groups import grouped, groupings
from icckd_tui.screens.study import trial_of, trial_table
from icckd_tui.tables import HEAD, sorted_by
from icckd_tui.text import plain
from icckd_tui.theme import BRAILLE
from icckd_tui.views import FILE, save_view, saved_views
from tests.support import monitor as sample
from tests.tui.test_tui_decision import frame


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "icckd"


def test_a_view_is_saved_by_name_and_applied_in_another_app(watch, home):
    async def save(it):
        await it.press("slash", *"seed<2", "enter", "M", *"teacher", "enter", "o")
        await it.until(lambda: it.frame.matching is not None)
        await it.press("plus", "s", "n")
        it.pane("trials").focus()
        await it.press("l", "l", "l", "t", "T", *"seed", "enter")
        assert "Trials by seed" in it.text()
        await it.press("V", *"first seeds", "enter")
        await it.until(lambda: (home / FILE).exists())

    async def apply(it):
        assert it.app.state.choices.filter.text == ""
        await it.press("V", "enter")
        await it.until(lambda: it.frame.matching is not None)
        choices = it.app.state.choices
        assert choices.filter.text == "seed<2"
        assert choices.metrics.text == "teacher"
        assert choices.outcome == "teacher.top1"
        assert choices.group == "seed"
        assert choices.pinned == "no-margin"
        assert it.pane("trials").sorting == ("Δ", False)
        await it.until(lambda: it.pane("curves").metric == "teacher.val_top1")
        assert it.pane("curves").chart.x_low == 15.5
        assert "smoothed 0.6" in it.text()
        await it.press("V", "ctrl+d")
        assert saved_views() == {}

    watch(save)
    assert list(json.loads((home / FILE).read_text())) == ["first seeds"]
    watch(apply)


def test_a_view_of_another_study_is_applied_as_far_as_it_goes(watch, home):
    view = {
        "filter": "seed:<", "metrics": "~(", "outcome": "x", "group": 7, "pinned": [1], "x": "?",
        "sort": ["nowhere", True], "smoothing": 1e9,
        "charts": {"curves": {"low": 0.9, "high": 0.1}},
    }  # fmt: skip
    save_view("odd", view)

    async def scenario(it):
        await it.press("V", "enter")
        assert it.app.state.choices.outcome == "student.top1"
        assert it.app.state.choices.group == ""
        assert it.pane("curves").chart.x_high == 30
        assert "no-margin" in it.text()

    watch(scenario)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", '{"a": 1, "": {}}', "[" * 100_000, "\udcff"])
def test_a_file_of_views_that_is_damaged_holds_none(home, text):
    home.mkdir()
    (home / FILE).write_bytes(text.encode("utf-8", "surrogateescape"))

    assert saved_views() == {}


def test_a_place_where_nothing_can_be_written_costs_a_line(watch, home):
    home.write_text("a file, not a folder")

    async def scenario(it):
        await it.press("V", *"mine", "enter")
        said = [notification.message for notification in it.app._notifications]
        assert any("a view cannot be saved in" in text for text in said)

    watch(scenario)


def test_trials_can_be_grouped_by_any_setting_with_means_above_each_group():
    study = sample.study()
    assert {"arm", "state", "seed", "teacher.intra.margin"} <= set(groupings(study))
    found = {
        head.value: head for head, _ in grouped(study, sample.trials(), "teacher.intra.margin")
    }

    assert set(found) == {"threshold 0.5", "off"}
    assert found["off"].count == 16
    assert found["off"].difference == pytest.approx(-0.79, abs=0.02)
    assert found["threshold 0.5"].complete == 20


def test_groups_stay_whole_when_their_trials_are_sorted():
    it = frame()
    table = trial_table(it, it.trials, BRAILLE, "arm")
    rows = sorted_by(table, "Δ", descending=False).rows
    heads = [place for place, row in enumerate(rows) if row.key.startswith(HEAD)]

    assert len(heads) == len(sample.ARMS)
    for start, end in zip(heads, [*heads[1:], len(rows)], strict=True):
        arms = {trial_of(row.key)[0] for row in rows[start + 1 : end]}
        assert arms == {rows[start].key.removeprefix(HEAD)}
        differences = [plain(row.cells[5]) for row in rows[start + 1 : end] if plain(row.cells[5])]
        numbers = [float(text.replace("−", "-")) for text in differences]
        assert numbers == sorted(numbers)
    assert trial_of(rows[heads[0]].key) is None


def test_a_row_that_heads_a_group_opens_no_trial(watch):
    async def scenario(it):
        await it.press("T", *"state", "enter")
        it.pane("trials").focus()
        await it.press("g", "enter")
        assert it.screen.NAME == "study"
        assert "running" in plain(it.pane("trials").table.rows[0].cells[0])

    watch(scenario)


def test_a_factor_of_the_design_groups_by_its_labels():
    arms = tuple(
        replace(arm, levels={"filter": "on" if place % 2 else "off"})
        for place, arm in enumerate(sample.study().arms)
    )
    study = replace(sample.study(), arms=arms)

    assert [head.value for head, _ in grouped(study, sample.trials(), "filter")] == ["off", "on"]


def test_saved_views_are_there_on_every_screen(watch):
    async def scenario(it):
        await it.press("6", "V")
        assert "a new name saves" in it.text()
        await it.press("escape")

    watch(scenario)
