"""Two arms over the items that they share: pairing, refusal, what a verdict speaks about."""

from dataclasses import replace

import numpy as np
import pytest

from icckd.report.answers import answers
from icckd.results.compare import compare
from icckd.results.items import ItemRun, about_of, changes_of, pair_items
from icckd.stats.items import ItemSample, difference_ways
from icckd.study.metrics import Metric
from tests.results.test_rules import study as rule_study

METRIC = "task.score"


def info(seeds=(0,), **more):
    """A study with one arm against a baseline on a metric of a task."""
    found = rule_study(seeds=tuple(seeds), rule="one extension", bound=None)
    [asked] = found.hypotheses
    return replace(
        replace(found, **more), primary=METRIC, metrics=(METRIC,),
        hypotheses=(replace(asked, metric=METRIC),),
        declared={METRIC: Metric(name=METRIC, unit="1", direction="higher", about="")},
    )  # fmt: skip


def run(scores, ids=None, groups=()):
    ids = tuple(f"q{place:03d}" for place in range(len(scores))) if ids is None else tuple(ids)
    return ItemRun(ids=ids, groups=tuple(groups), scores_I=np.array(scores, dtype=float))


def judged(study, mine, theirs, *, to_come=(), diverged=()):
    """The comparison of an arm over runs by seed."""
    [arm] = study.family
    runs = {METRIC: {arm: mine, study.baseline: theirs}}
    outcomes = {
        METRIC: {
            name: {seed: float(each.scores_I.mean()) for seed, each in by_seed.items()}
            for name, by_seed in runs[METRIC].items()
        },
        "task.nonfinite_steps": {arm: dict.fromkeys(diverged, 1.0)},
    }
    rows = {row.arm: row for row in compare(study, outcomes, {}, to_come, runs)}
    [told] = answers(study, tuple(rows.values()))
    return rows[arm], told


def drawn(seed, items, shift, noise=1.0):
    """Scores of items: what each is like, the same for every seed and arm, and noise."""
    difficulty = np.random.default_rng(99).normal(0, 1, items)
    return (
        difficulty
        + shift
        + noise * np.random.default_rng([seed, int(100 + 10 * shift)]).normal(0, 1, items)
    )


GROUPS = tuple(f"topic {place % 25:02d}" for place in range(500))


def test_one_seed_speaks_about_items_and_not_about_other_trainings():
    row, told = judged(
        info(), {0: run(drawn(0, 500, -0.5), groups=GROUPS)},
        {0: run(drawn(0, 500, 0.0), groups=GROUPS)},
    )  # fmt: skip
    assert (row.about, row.items, row.groups, row.pairs) == ("items", 500, 25, 1)
    assert row.verdict == "helps"
    assert "500 items in 25 groups, one seed: speaks about items, not about other trainings" in told


def test_several_seeds_and_items_are_both_drawn_anew():
    seeds = range(8)
    row, told = judged(
        info(seeds), {s: run(drawn(s, 500, -0.5), groups=GROUPS) for s in seeds},
        {s: run(drawn(s, 500, 0.0), groups=GROUPS) for s in seeds},
    )  # fmt: skip
    assert (row.about, row.pairs, row.test) == ("seeds and items", 8, "seeds and items")
    assert row.verdict == "helps"
    assert "500 items in 25 groups, 8 seeds: speaks about items and other trainings" in told


def test_what_a_verdict_speaks_about_can_be_declared():
    seeds = range(3)
    mine = {s: run(drawn(s, 500, -0.5), groups=GROUPS) for s in seeds}
    theirs = {s: run(drawn(s, 500, 0.0), groups=GROUPS) for s in seeds}

    both, told = judged(info(seeds), mine, theirs)
    assert (both.about, both.why, both.p, both.verdict) == (
        "seeds and items", "too few seeds", None, "undecided",
    )  # fmt: skip
    assert both.difference is not None
    assert 'a study of another name with generalise_to = ["items"]' in told
    items, _ = judged(info(seeds, generalise_to=("items",)), mine, theirs)
    assert (items.about, items.verdict, items.pairs) == ("items", "helps", 3)
    alone, told = judged(info(seeds, generalise_to=("seeds",)), mine, theirs)
    assert (alone.about, alone.why, alone.test) == ("", "too few seeds", "first look")
    assert "3 paired seeds are too few" in told


def test_right_or_wrong_without_groups_is_mcnemars_test():
    theirs = np.array([1.0] * 60 + [0.0] * 40)
    mine = theirs.copy()
    mine[:9] = 0.0
    mine[99:] = 1.0

    row, _ = judged(info(), {0: run(mine)}, {0: run(theirs)})

    assert row.test == "McNemar"
    assert row.p == pytest.approx(0.021484375)  # of 10 changes 9 one way
    assert row.verdict == "helps"
    grouped, _ = judged(
        info(), {0: run(mine, groups=[str(n % 20) for n in range(100)])},
        {0: run(theirs, groups=[str(n % 20) for n in range(100)])},
    )  # fmt: skip
    assert grouped.test == "items"


def test_arms_that_saw_other_items_are_not_compared_and_the_items_are_named():
    mine, theirs = run(drawn(0, 100, -1.0)), run(drawn(0, 101, 0.0))

    row, told = judged(info(), {0: mine}, {0: theirs})

    assert (row.why, row.items_apart, row.difference, row.p) == ("other items", 1, None, None)
    assert "not seen by both" in told
    found = pair_items({"a": {0: mine}, "b": {0: theirs}}, "a", "b")
    assert found.apart == ("q100",)
    common, told = judged(info(common_items=True), {0: mine}, {0: theirs})
    assert (common.verdict, common.items, common.items_apart) == ("helps", 100, 1)
    assert "100 items, one seed" in told


def test_an_item_of_another_group_is_refused_even_where_common_items_are_asked_for():
    groups = [str(place % 10) for place in range(100)]
    other = ["9", *groups[1:]]
    row, told = judged(
        info(common_items=True), {0: run(drawn(0, 100, -1.0), groups=groups)},
        {0: run(drawn(0, 100, 0.0), groups=other)},
    )  # fmt: skip
    assert (row.why, row.verdict) == ("other items", "undecided")
    assert "some items are of other groups in other runs" in told


def test_items_in_another_order_are_the_same_items():
    theirs = run(drawn(0, 100, 0.0))
    order = np.random.default_rng(3).permutation(100)
    scores = drawn(0, 100, -1.0)
    ids = np.array(theirs.ids)
    one, _ = judged(info(), {0: run(scores)}, {0: theirs})
    two, _ = judged(info(), {0: run(scores[order], ids=ids[order])}, {0: theirs})
    assert (two.difference, two.p) == pytest.approx((one.difference, one.p))


def test_few_groups_give_no_verdict_however_large_the_difference():
    groups = [str(place % 5) for place in range(100)]
    row, told = judged(
        info(), {0: run(drawn(0, 100, -9.0), groups=groups)},
        {0: run(drawn(0, 100, 0.0), groups=groups)},
    )  # fmt: skip
    assert (row.why, row.verdict, row.p) == ("too few groups", "undecided", None)
    assert row.difference == pytest.approx(-9.0, abs=0.5)
    assert "5 groups of items are too few, a verdict about items takes 6 at least" in told


def test_seeds_that_were_added_after_looking_are_no_part_of_a_verdict_about_items():
    mine = {s: run(drawn(s, 60, -0.2)) for s in range(4)}
    theirs = {s: run(drawn(s, 60, 0.0)) for s in range(4)}
    study = info(range(4), generalise_to=("items",))
    before, _ = judged(study, mine, theirs)
    alone = {s: run for s, run in mine.items() if s < 2}

    after, _ = judged(replace(study, added=(2, 3)), mine, theirs)
    first, _ = judged(replace(info(range(2)), generalise_to=("items",)), alone, theirs)

    assert after.pairs == 2
    assert (after.difference, after.p) == (first.difference, first.p)
    assert after.p != before.p


def test_two_looks_at_seeds_and_items_share_a_level():
    mine = {s: run(drawn(s, 60, -0.8)) for s in range(12)}
    theirs = {s: run(drawn(s, 60, 0.0)) for s in range(12)}
    sums = np.array([mine[s].scores_I - theirs[s].scores_I for s in range(12)])

    def p(part):
        whole = ItemSample(sums_SG=part, sizes_G=np.ones(60), crosses_seeds=True)
        return difference_ways(whole)[0][0]

    study = info(range(12))
    first, _ = judged(study, mine, theirs)
    second, _ = judged(replace(study, added=tuple(range(6, 12))), mine, theirs)
    assert first.p == pytest.approx(min(1.0, 2 * p(sums)))
    assert second.p == pytest.approx(min(1.0, 2 * min(p(sums[:6]), p(sums))))
    only, _ = judged(replace(study, rule="fixed"), mine, theirs)
    assert only.p == pytest.approx(p(sums))
    many = replace(study, added=tuple(range(6, 12)), added_later=(11,))
    late, told = judged(many, mine, theirs)
    assert (late.why, late.p) == ("looked before", None)
    assert "no rule for items that may be looked at without end" in told


def test_an_undecided_question_about_items_says_how_many_would_decide():
    groups = tuple(f"t{n % 20}" for n in range(100))
    study = info()
    [asked] = study.hypotheses
    study = replace(study, hypotheses=(replace(asked, smallest_effect=0.1),), smallest_effect=0.1)
    runs = {0: run(drawn(0, 100, -0.1), groups=groups)}, {0: run(drawn(0, 100, 0.0), groups=groups)}
    row, told = judged(study, *runs)
    assert row.verdict == "undecided"
    assert row.more_items > 500
    assert row.more_items % 5 == 0  # whole groups of five
    assert f"about {row.more_items:,} items in groups like these should decide" in told
    enough = max(row.more_items, 3000)
    many = tuple(f"t{n % (enough // 5)}" for n in range(enough))
    more, _ = judged(
        study, {0: run(drawn(0, enough, 0.0), groups=many)},
        {0: run(drawn(1, enough, 0.0), groups=many)},
    )  # fmt: skip
    assert more.verdict == "equivalent"


def test_a_run_that_diverged_has_no_items_and_is_not_left_out():
    seeds = range(8)
    mine = {s: run(drawn(s, 60, 1.0)) for s in seeds if s != 3}
    row, _ = judged(info(seeds), mine, {s: run(drawn(s, 60, 0.0)) for s in seeds}, diverged=(3,))
    assert (row.why, row.verdict) == ("diverged", "undecided")


def test_seeds_to_come_give_no_verdict_yet():
    study = info(range(8))
    [arm] = study.family
    seeds = range(7)
    row, told = judged(
        study, {s: run(drawn(s, 60, -1.0)) for s in seeds},
        {s: run(drawn(s, 60, 0.0)) for s in range(8)}, to_come={(arm, 7)},
    )  # fmt: skip
    assert (row.why, row.to_come, row.p) == ("seeds to come", 1, None)
    assert "1 paired seed is still to come" in told


def test_by_default_verdicts_speak_about_what_varies():
    assert about_of(info(), 100) == "items"
    assert about_of(info(range(4)), 100) == "seeds and items"
    assert about_of(info(range(4)), 1) == ""
    assert about_of(info(range(4), generalise_to=("seeds",)), 100) == ""


def test_right_or_wrong_items_say_how_little_few_seeds_can_know():
    seeds = range(6)
    theirs = {s: run([1.0] * 50 + [0.0] * 50) for s in seeds}
    mine = {s: run([1.0] * 49 + [0.0] * 51) for s in seeds}  # the same item under every seed
    row, _ = judged(info(seeds, generalise_to=("seeds",), rule="fixed"), mine, theirs)
    assert row.difference == pytest.approx(-0.01)
    assert row.verdict == "undecided"  # without its floor the spread of 0 would be certain


def test_the_items_that_changed_most_come_first_and_equal_ones_by_name():
    found = pair_items(
        {"a": {0: run([0.0, 1.0, 0.5, 0.2, 0.9])}, "b": {0: run([0.5, 1.0, 0.0, 0.3, 0.9])}},
        "a", "b",
    )  # fmt: skip
    told = changes_of("a", METRIC, found)
    assert [each.item for each in told.most] == ["q000", "q002", "q003"]
    assert [each.difference for each in told.most] == pytest.approx([-0.5, 0.5, -0.1])
    assert (told.lower, told.higher, told.same) == (2, 1, 2)
