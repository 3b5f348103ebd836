"""The filter language: what it means, that both statements find the same trials, its limits."""

import contextlib
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.errors import UsageError
from icckd.results.query import open_results
from icckd_tui.data import Frame
from icckd_tui.filter import EVERYTHING, FilterRunner, parse
from tests.support import monitor as sample
from tests.support.lab import lab as lab
from tests.support.lab import planned


@pytest.fixture(scope="module")
def runner():
    """The real process that evaluates filters."""
    running = FilterRunner()
    yield running
    running.close()


def found_by(runner, text, frame):
    return runner.select(parse(text), frame.study, frame.trials, frame.comparisons)


def frame():
    return Frame(
        study=sample.study(),
        progress=sample.progress(),
        trials=sample.trials(),
        comparisons=sample.comparisons(),
        series=sample.SERIES,
        log=(),
    )


MEANINGS = (
    ("cache", lambda t: "cache" in t.arm),
    ("state:running", lambda t: t.state == "running"),
    ("state=failed seed>=4", lambda t: t.state == "failed" and t.seed >= 4),
    ("state:failed | seed=0", lambda t: t.state == "failed" or t.seed == 0),
    ("-arm:no", lambda t: "no" not in t.arm),
    ("!(arm=full | arm:plain)", lambda t: t.arm != "full" and "plain" not in t.arm),
    ("~^no.*matched$", lambda t: t.arm.startswith("no") and t.arm.endswith("matched")),
    ("delta<-1", lambda t: t.difference is not None and t.difference < -1),
    ("has:reason", lambda t: t.reason != ""),
    ("primary>=95", lambda t: t.primary is not None and t.primary >= 95),
    ('reason:"is not finite"', lambda t: "is not finite" in t.reason),
    ("~^no-(margin|cache)$", lambda t: t.arm in ("no-margin", "no-cache")),
    ("(~^no-(margin|cache)$|seed=99)", lambda t: t.arm in ("no-margin", "no-cache")),
    ("arm:~CACHE$", lambda t: t.arm.endswith("cache")),
    ("seed!=0 epoch=30", lambda t: t.seed != 0 and t.epoch == 30),
    ("stage:teacher attempts=1", lambda t: t.stage == "teacher" and t.attempts == 1),
    ("has:delta seconds>70", lambda t: t.difference is not None and t.seconds > 70),
    ("ci:excludes0", lambda t: t.arm in ("no-margin", "no-cache", "plain-kd", "single-view")),
)


def test_terms_mean_what_the_help_says(runner):
    for text, holds in MEANINGS:
        found = found_by(runner, text, frame())

        assert found == tuple(t for t in sample.trials() if holds(t)), text
        assert 0 < len(found) < len(sample.trials()), text


def test_values_that_are_missing_or_no_numbers_pass_no_comparison(runner):
    odd = [
        replace(row, primary=value, difference=value)
        for row, value in zip(sample.trials(), (None, math.nan, math.inf, -math.inf), strict=False)
    ]
    whole = replace(frame(), trials=tuple(odd))

    assert found_by(runner, "primary>0", whole) == (odd[2],)
    assert found_by(runner, "delta<0", whole) == (odd[3],)
    assert found_by(runner, "has:primary", whole) == (odd[2], odd[3])


def test_texts_that_would_end_a_literal_stay_texts(runner):
    hostile = "x' union select 0 --\x1f|\n"
    rows = (replace(sample.trials()[0], arm=hostile), *sample.trials()[1:])
    whole = replace(frame(), trials=rows)

    assert found_by(runner, '"x\' union"', whole) == (rows[0],)
    assert found_by(runner, '"--"', whole) == (rows[0],)


def test_the_empty_filter_gives_the_very_same_rows(runner):
    whole = frame()

    assert found_by(runner, "  ", whole) is whole.trials
    assert parse("") == EVERYTHING
    assert found_by(runner, "seed=0", replace(whole, trials=())) == ()


def test_a_result_is_kept_while_filter_and_rows_are_the_same(runner):
    whole, chosen = frame(), parse("seed<3")
    arguments = (chosen, whole.study, whole.trials, whole.comparisons)

    assert runner.select(*arguments) is runner.select(*arguments)
    more = (*whole.trials, replace(whole.trials[0], seed=2))
    assert len(runner.select(chosen, whole.study, more, whole.comparisons)) == 22


def test_a_pattern_that_backtracks_for_ever_elsewhere_is_answered_at_once(runner):
    arm = "a" * 60 + "!"
    rows = tuple(replace(row, arm=arm) for row in sample.trials())
    found_by(runner, "seed=0", frame())

    # Answered, not stopped: by backtracking it would take 2^60 steps, and the limit would end it.
    assert found_by(runner, 'arm:"~^(a+)+$"', replace(frame(), trials=rows)) == ()


def test_a_filter_that_takes_longer_than_the_limit_is_stopped_and_the_next_one_works():
    slow = FilterRunner(wall_seconds=0.001)
    try:
        with pytest.raises(UsageError, match=r"stopped after 0\.001 s"):
            found_by(slow, "seed=0", replace(frame(), trials=sample.trials() * 2000))
        slow._sandbox._wall_seconds = 30.0
        assert len(found_by(slow, "seed=0", frame())) == 7
    finally:
        slow.close()


def test_a_pattern_that_only_python_knows_is_refused_by_name(runner):
    with pytest.raises(UsageError, match="invalid perl operator"):
        found_by(runner, 'arm:"~(?=full)"', frame())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sed:1", "no field 'sed'"),
        ("seed:x", "'x' is not"),
        ("(state:failed", "parenthesis is open"),
        ("state:failed)", "unexpected"),
        ("-", "nothing follows"),
        ('arm:"x', "cannot read"),
        ("~[", "not a regular expression"),
        ("arm<x", "has no meaning"),
        ("ci:x", "cannot read"),
        ("a" * 501, "too long"),
    ],
)
def test_mistakes_are_named(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        parse(text)


@pytest.mark.parametrize(
    "text",
    ["(" * 500, "-" * 499 + "a", "!(" * 250, "~" + "(" * 490, "~a{99999999999}", "seed=nan",
     "delta<inf", "seed>1e999"],
)  # fmt: skip
def test_filters_that_once_broke_the_reader_are_refused(text):
    with pytest.raises(UsageError):
        parse(text)


PIECES = st.sampled_from(
    ["(", ")", "|", "-", "!", '"', "~", ":", "=", "<", ">=", "seed", "arm", "delta", "reason",
     "has:", "ci:excludes0", "state:", " ", "nan", "1e9", "_", "'", "\0", "\u202e", "\x1b[2J", "[",
     "{2,1}", "(?P<a>", "\\1", "*", "é", "\ud800", "--", ";", "/*"]
)  # fmt: skip


@pytest.mark.slow
def test_any_text_is_a_filter_that_finds_trials_or_one_clear_error(lab, runner):
    """Both statements are run: the database answers them or refuses them."""
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.train_all()
    with open_results(lab.folder) as results:

        @settings(max_examples=250, deadline=None)
        @given(st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=60))
        def judge(text):
            with contextlib.suppress(UsageError):
                results.query(parse(text).over_views(frame()), rows=10)
            with contextlib.suppress(UsageError):
                found_by(runner, text, frame())

        judge()


terms = st.sampled_from(
    ["margin", "state:complete", "state!=failed", "seed<2", "seed>=1", "delta<0", "primary>90",
     "has:reason", "~cache$", "stage=student", "epoch>=4", "seconds>0", "ci:excludes0",
     "arm=no-cache", "reason:finite", "attempts=1"]
)  # fmt: skip
filters = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(" ".join),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} | {pair[1]})"),
        inner.map(lambda part: f"-({part})"),
    ),
    max_leaves=6,
)


@pytest.mark.slow
def test_the_statement_over_the_views_finds_the_same_trials(lab, runner):
    with lab.finished("s1", planned(seeds=(0, 1, 2))) as session:
        session.train_all(skip=[("no-cache", 2)])
        session.train(session.stage("no-cache", 2), end="failed")
    with open_results(lab.folder) as results:
        study = results.study()
        whole = replace(
            frame(),
            study=study,
            trials=results.trials(study),
            comparisons=results.comparisons(study),
        )

        @settings(max_examples=60, deadline=None)
        @given(filters)
        def same(text):
            rows = results.query(parse(text).over_views(whole), rows=100)[0].rows
            found = found_by(runner, text, whole)
            assert [row[:2] for row in rows] == [(t.arm, t.seed) for t in found]

        same()
