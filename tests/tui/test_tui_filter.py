"""The filter language: what it means, and that its SQL finds the same trials."""

import contextlib
from dataclasses import replace

import pytest
import tui_sample as sample
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.errors import UsageError
from icckd.results.read import open_results
from icckd_tui.view_model.filter import EVERYTHING, parse
from icckd_tui.view_model.frame import Frame
from tests.store.conftest import lab as lab
from tests.store.conftest import planned


def frame():
    return Frame(
        study=sample.study(),
        progress=sample.progress(),
        trials=sample.trials(),
        comparisons=sample.comparisons(),
        series=sample.SERIES,
        log=(),
    )


@pytest.mark.parametrize(
    ("text", "holds"),
    [
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
        ("arm:~CACHE$", lambda t: t.arm.endswith("cache")),
        ("seed!=0 epoch=30", lambda t: t.seed != 0 and t.epoch == 30),
        ("ci:excludes0", lambda t: t.arm in ("no-margin", "no-cache", "plain-kd", "single-view")),
    ],
)
def test_terms_mean_what_the_help_says(text, holds):
    found = parse(text).rows(frame())

    assert found == tuple(t for t in sample.trials() if holds(t))
    assert 0 < len(found) < len(sample.trials())


def test_the_empty_filter_gives_the_very_same_rows():
    whole = frame()

    assert parse("  ").rows(whole) is whole.trials
    assert EVERYTHING.rows(whole) is whole.trials


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sed:1", "no field 'sed'"),
        ("seed:x", "'x' is none"),
        ("(state:failed", "parenthesis is open"),
        ("state:failed)", "unexpected"),
        ("-", "nothing follows"),
        ('arm:"x', "cannot read"),
        ("~[", "no regular expression"),
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


def test_any_text_is_a_filter_that_judges_and_asks_or_one_clear_error(lab):
    """Its SQL is run as well: the database answers it or refuses it."""
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.train_all()
    with open_results(lab.folder) as results:

        @settings(max_examples=250, deadline=None)
        @given(st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=60))
        def judge(text):
            with contextlib.suppress(UsageError):
                chosen = parse(text)
                chosen.rows(frame())
                results.query(chosen.sql(frame()), rows=10)

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


def test_the_sql_of_a_filter_finds_the_same_trials(lab):
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
            chosen = parse(text)
            rows = results.query(chosen.sql(whole), rows=100)[0].rows
            assert [row[:2] for row in rows] == [(t.arm, t.seed) for t in chosen.rows(whole)]

        same()
