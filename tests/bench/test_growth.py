"""Made state folders are as real ones, and the exponent is that of the largest sizes."""

import growth
import made_state
import pytest

from icckd.journal.audit import journal_facts
from icckd.results.query import open_results
from icckd.study.metrics import OUTCOMES, SERIES


@pytest.mark.parametrize("simulated_from", [1, 10**9])
def test_a_made_folder_holds_a_finished_study_of_whole_journals(
    tmp_path, monkeypatch, simulated_from
):
    monkeypatch.setattr(made_state, "SIMULATED_FROM", simulated_from)
    folder = made_state.make(tmp_path / "state", arms=2, seeds=3, epochs=2)
    made_state.make(folder.root, arms=2, seeds=1, epochs=1, name="other")

    facts = [journal_facts(path) for path in folder.journals()]
    with open_results(folder) as results:
        study = results.study("made")
        outcomes = results.outcomes(study)
        told = {found.name for found in results.studies()}

    assert len(facts) == 2 + 12 + 4
    assert all(f.close is not None and f.count_is_right and not f.bad_lines for f in facts)
    assert told == {"made", "other"}
    assert study.complete == study.trials == 6
    assert set(study.metrics) <= set(outcomes)


def test_made_series_and_outcomes_are_of_the_catalogue():
    for kind, names in made_state.SERIES.items():
        assert {f"{kind}.{name}" for name in names} <= set(SERIES)
    drawn = {f"{kind}.{name}" for kind in made_state.SERIES for name in made_state.OUTCOMES}
    assert len(drawn - set(OUTCOMES)) <= 1  # a student has no intra-class loss


@pytest.mark.parametrize(
    ("costs", "expected"),
    [([3.0, 3.0, 3.0], 0.0), ([1.0, 9.0, 90.0], 1.0), ([1.0, 9.0, 900.0], 2.0)],
)
def test_the_exponent_is_the_slope_between_the_two_largest_sizes(costs, expected):
    assert growth.exponent([1, 10, 100], costs) == pytest.approx(expected)


def test_a_table_has_a_dash_where_nothing_was_measured():
    lines = growth.table("viewers", {0: {"a": None, "b": 1.0}, 2: {"a": 2.0, "b": 1.0}})
    assert lines[0] == "| viewers | 0 | 2 | exponent |"
    assert lines[2:] == ["| a | - | 2 | - |", "| b | 1 | 1 | - |"]
