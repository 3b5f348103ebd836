"""What is asked, answered and running, and which key acts on it."""

from dataclasses import replace

import pytest

from icckd_tui.comparison import (
    comparison_detail,
    comparison_table,
    forest_table,
    forest_title,
)
from icckd_tui.data import Frame
from icckd_tui.decision import (
    answer_lines,
    bar_text,
    decided_text,
    next_step,
    seeds_advised,
    sign_text,
)
from icckd_tui.matrix import factors_of, matrix_table
from icckd_tui.text import plain
from icckd_tui.theme import ASCII, BRAILLE
from icckd_tui.widgets.bars import bar_view
from tests.support import monitor as sample


def frame(**more):
    values = {
        "study": sample.study(),
        "progress": sample.progress(),
        "trials": sample.trials(),
        "comparisons": sample.comparisons(),
        "declared": sample.comparisons(),
        "series": sample.SERIES,
        "log": (),
    }
    return Frame(**{**values, **more})


def judged(**verdicts):
    """The sample with other verdicts on its two parts: arm with underscores = verdict."""
    rows = tuple(
        replace(
            row,
            verdict=verdicts[row.arm.replace("-", "_")],
            more_seeds=None,
            p_equivalence_adjusted=0.01,
            smallest_effect=0.5,
        )
        if row.metric == "student.top1" and row.arm.replace("-", "_") in verdicts
        else row
        for row in sample.comparisons()
    )
    return frame(comparisons=rows, declared=rows)


def told(it, width=156, most=12, glyphs=BRAILLE):
    return [plain(line) for line in answer_lines(it, width, most, glyphs)]


def test_a_sentence_each_says_what_is_asked_answered_and_running():
    lines = told(frame())

    assert lines[0].split() == ["Asked", *["What", "do", "the", "parts", "contribute?"]]
    assert "1 of 2 decided: no-margin needs 30 to 57 more seeds; a does that" in lines[1]
    assert "B Removing the margin filter changes student.top1 by -0.90 points" in lines[2]
    assert any("D Removing the negative cache lowers" in line for line in lines)
    runs = " ".join(line.strip() for line in lines[-2:])
    assert "4 more, 29 of 56 trials complete, about 14 min left; ✗ 2 failed (no-cache s3:" in runs


def test_with_little_room_the_answers_are_in_one_sentence():
    lines = told(frame(), width=77, most=4)

    assert len(lines) <= 4
    text = " ".join(" ".join(line.split()) for line in lines)
    assert "B no-margin undecided (needs 30 to 57 more seeds), D no-cache helps" in text
    assert all(len(line) <= 77 for line in lines[:-1])


def test_a_study_without_questions_says_that_nothing_is_judged():
    nothing = frame(study=replace(sample.study(), hypotheses=(), family=()))

    assert "asks no primary question" in told(nothing)[1]
    assert bar_text(nothing) == ("", "")


def test_the_end_says_the_answer_in_the_bar():
    over = replace(judged(no_margin="helps", no_cache="equivalent"),
                   progress=sample.progress("ended"))  # fmt: skip

    assert bar_text(over)[0] == "no-margin helps, no-cache equivalent"
    for width in (80, 120, 160):
        decided = bar_text(over)
        text = plain(bar_view(over.study, over.progress, sample.NOW, width, BRAILLE, decided))
        assert "no-margin helps, no-cache equivalent" in text or "2 of 2 decided" in text
        assert text.rstrip().endswith("ENDED")


def test_the_bar_says_what_is_decided_and_which_key_acts_on_it():
    assert bar_text(frame()) == (
        "1 of 2 decided; no-margin needs 30 to 57 more seeds: a",
        "1 of 2 decided: a",
    )


def test_the_end_of_an_open_study_says_what_it_waits_for_and_no_verdict_twice():
    over = replace(frame(), progress=sample.progress("ended"))

    assert bar_text(over)[0] == "no-cache helps; no-margin needs 30 to 57 more seeds: a"
    nothing = replace(judged(no_margin="undecided", no_cache="undecided"), progress=over.progress)
    assert bar_text(nothing)[0] == "0 of 2 decided"


def test_a_difference_without_an_interval_is_shown_all_the_same():
    rows = tuple(replace(row, low=None, high=None) for row in sample.comparisons())
    it = frame(comparisons=rows, declared=rows)
    forest = {row.key: row for row in forest_table(it, "student.top1", 77, BRAILLE).rows}
    table = {row.key: row for row in comparison_table(it, BRAILLE, compact=True).rows}

    assert plain(forest["no-margin"].cells[2]).strip() == "−0.90"
    assert "●" in plain(forest["no-margin"].cells[1])
    assert "−0.90" in plain(table["no-margin"].cells[3])


def test_seeds_are_advised_only_where_every_open_question_knows_its_own():
    unknown = judged(no_margin="undecided", no_cache="undecided")

    assert seeds_advised(frame()) == 57
    assert seeds_advised(unknown) is None
    assert decided_text(unknown) == "0 of 2 decided"


def test_seeds_to_come_are_named_as_what_is_waited_for():
    rows = tuple(
        replace(row, verdict="undecided", why="seeds to come", to_come=3, more_seeds=None)
        if row.arm == "no-cache" else row
        for row in sample.comparisons()
    )  # fmt: skip

    assert "3 seeds to come" in " ".join(told(frame(declared=rows), 90, 5))
    assert next_step(frame(declared=rows)).endswith("(1 more open)")


@pytest.mark.parametrize(
    ("arm", "metric", "difference", "text"),
    [
        ("no-margin", "student.top1", 1.15, "+1.15: better without the margin filter"),
        ("no-margin", "student.top1", -1.15, "−1.15: worse without the margin filter"),
        ("no-margin", "student.convergence", -2.0, "−2.0: better without the margin filter"),
        ("no-cache-matched", "student.top1", 0.5, "+0.50: better than full"),
        ("no-margin", "student.top1", 0.0, ""),
    ],
)
def test_a_sign_is_explained(arm, metric, difference, text):
    it = frame()
    row = next(row for row in it.comparisons if (row.arm, row.metric) == (arm, metric))
    of = next(each for each in it.study.arms if each.name == arm)

    assert sign_text(it, of, replace(row, difference=difference), BRAILLE) == text


def test_verdicts_stand_in_the_matrix_and_only_where_something_is_asked():
    rows = matrix_table(frame(), "student.top1", BRAILLE, frozenset()).rows
    words = {row.key: plain(row.cells[-1]).split()[-1] for row in rows}

    assert words["margin filter"] == "undecided"
    assert words["negative cache"] == "helps"
    assert words["intra.weight"] == "−2.20*"
    other = matrix_table(frame(), "teacher.top1", BRAILLE, frozenset()).rows
    assert not any("helps" in plain(row.cells[-1]) for row in other)


def test_color_speaks_of_evidence_whatever_the_size():
    rows = {}
    for row in matrix_table(frame(), "student.top1", BRAILLE, frozenset()).rows:
        rows[row.key] = row.cells[-1][-1].ground

    assert rows["margin filter"] == ""  # its interval leaves out 0, and nothing is decided
    assert rows["negative cache"] == "heat-4"  # decided
    assert rows["intra.weight + views"] == "heat-2"  # the largest, not judged
    assert rows["matched: margin filter"] == ""


def test_the_matrix_names_parts_as_the_author_of_the_study_does():
    names = [factor.name for factor in factors_of(sample.study())]

    assert names[:4] == [
        "margin filter", "matched: margin filter", "negative cache", "matched: negative cache",
    ]  # fmt: skip


def test_what_follows_from_a_setting_names_no_factor():
    derived = sample.Change(path="teacher.intra.weight / temperature", before=10, after=8)
    arms = list(sample.study().arms)
    arms[5] = replace(arms[5], changes=(*arms[5].changes, derived))

    assert factors_of(replace(sample.study(), arms=tuple(arms)))[4].name == "intra.weight"


def test_the_forest_has_intervals_and_verdicts_beside_the_differences_at_80_columns():
    table = forest_table(frame(), "student.top1", 77, BRAILLE)
    rows = {row.key: [plain(cell).strip() for cell in row.cells] for row in table.rows}

    assert rows["no-cache"][2:] == ["−1.70 ±0.40*", "4/8", "helps"]
    assert rows["no-margin"][4] == "undecided"
    assert sum(column.width + 2 for column in table.columns) - 2 <= 76
    assert forest_title(frame(), "student.convergence", BRAILLE).endswith("left is better")


def test_blocked_is_not_shown_as_failed():
    trials = tuple(
        replace(row, state="blocked") if (row.arm, row.seed) == ("no-margin", 4) else row
        for row in sample.trials()
    )
    rows = matrix_table(frame(trials=trials), "student.top1", BRAILLE, frozenset()).rows
    cells = {row.key: row.cells[-1] for row in rows}

    assert ("⊘1 ", "blocked") in [(span.text, span.tone) for span in cells["margin filter"]]
    assert not any(span.tone == "failed" for span in cells["margin filter"])
    missing = plain(comparison_detail(frame(trials=trials), "no-margin", "student.top1", BRAILLE))
    assert "without seed 5, 6, 7" in missing


def test_ascii_sentences_have_ascii_signs():
    lines = told(judged(no_margin="equivalent", no_cache="helps"), glyphs=ASCII)

    assert "within +-0.5 points" in " ".join(" ".join(line.split()) for line in lines)
    assert all(line.isascii() for line in lines)


def test_the_first_screen_says_it_at_80x24_with_the_forest_below_the_matrix(watch):
    async def scenario(it):
        text = it.text()
        for words in ("What do the parts contribute?", "1 of 2 decided", "Runs", "negative cache",
                      "−1.70 ±0.40*", "helps", "right is better"):  # fmt: skip
            assert words in text, words
        await it.press("z")  # the matrix alone
        assert "±0.40" not in it.text()

    watch(scenario, size=(80, 24))


def test_a_asks_for_the_seeds_that_should_decide_or_copies_the_command(watch):
    sent = []

    async def scenario(it):
        await it.press("W", "a")
        assert "Add 57 seeds to every arm?" in it.text()
        await it.press("y")
        await it.until(lambda: len(sent) == 1)
        await it.bring(progress=sample.progress("ended"))
        await it.press("a")
        said = [notification.message for notification in it.app._notifications]
        assert any("icckd run STUDY.toml --add-seeds 57" in text for text in said)
        assert len(sent) == 1

    watch(scenario, submit=lambda wanted: sent.append(wanted) or "r1")
    assert (sent[0].kind, sent[0].count) == ("more-seeds", 57)


def test_the_palette_offers_only_what_applies(watch):
    def titles(it):
        return {command.title for command in it.app.get_system_commands(it.screen)}

    async def scenario(it):
        assert not {"Stop the replay, or continue", "Unlock requests to the session, or lock them"
                    " again", "Pause the session, or resume it"} & titles(it)  # fmt: skip
        assert "Add the seeds that should decide what is open" in titles(it)
        decided = tuple(
            replace(row, verdict=row.verdict and "helps") for row in sample.comparisons()
        )
        await it.bring(comparisons=decided)
        assert "Add the seeds that should decide what is open" not in titles(it)
        assert "a Decide" not in it.text()

    watch(scenario)


def test_levels_are_not_scrolled_away_while_the_settings_of_the_baseline_take_their_room():
    arms = list(sample.study().arms)
    [change] = arms[1].changes
    arms[2] = replace(
        arms[2], control_for=None, changes=(replace(change, after={"threshold": 0.7}),)
    )
    it = frame(study=replace(sample.study(), arms=tuple(arms[:4])))
    wide = matrix_table(it, "student.top1", BRAILLE, frozenset())
    taken = sum(column.width + 2 for column in wide.columns)
    narrow = matrix_table(it, "student.top1", BRAILLE, frozenset(), taken - 8)

    keys = ["factor", "baseline", "level:0", "level:1"]
    assert [column.key for column in wide.columns] == keys
    assert [column.key for column in narrow.columns] == ["factor", "level:0", "level:1"]
