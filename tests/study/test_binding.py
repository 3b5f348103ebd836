"""What a plan asks for is bound to settings whose values its items are, or stays open."""

import contextlib
import json
import tomllib
import unicodedata
from pathlib import Path

import pytest

from icckd.errors import IcckdError, SpecError
from icckd.study.ablation_plans.bind import Binder
from icckd.study.ablation_plans.coverage import coverage
from icckd.study.ablation_plans.edit import StudyFile, number_of
from icckd.study.ablation_plans.export import plan_lines
from icckd.study.ablation_plans.items import same_typed
from icckd.study.ablation_plans.read import parse_plan
from icckd.study.ablation_plans.records import PlanEntry
from icckd.study.ablation_plans.write import draft, entries_json, study_file
from icckd.study.arms import arms, expand
from icckd.study.load import load, parse
from tests.study.test_ablation_plans import digest, mangled
from tests.support.pages import SEED, entry, page
from tests.support.plans import plan_of
from tests.support.studies import ONE_ARM

SHIPPED = Path(__file__).parents[2] / "studies" / "ablations.toml"
BASE = ONE_ARM.replace(
    "[teacher.intra]\n",
    '[data]\nkind = "digits"\n[teacher.intra]\nweight = 0.02\nmargin = { threshold = 0.5 }\n',
)


def asked(part, action="REPLACE", items=(), *, name="An ablation", metrics=("accuracy",)):
    return PlanEntry(name=name, component=part, action=action, items=tuple(items), metrics=metrics)


def bound(entry, base=BASE, part=None):
    return Binder(parse(base, where="base.toml")).bind(entry, part)


def drafted(text, base=BASE, where="plan.md"):
    study = parse(base, where="base.toml")
    return draft(parse_plan(text.encode(), where), study, tomllib.loads(base), "base.toml")


def study_of(made):
    return parse(study_file(made), where="x.toml")


def test_the_two_removals_of_the_seed_are_the_ablations_of_the_shipped_study():
    shipped = load(SHIPPED)
    tables = tomllib.loads(SHIPPED.read_text())

    made = draft(parse_plan(SEED.encode(), "seed.md"), shipped, tables, "shipped:ablations")

    study = study_of(made)
    assert made.open == ()
    assert [(a.arm, a.part, a.action) for a in study.ablation] == [
        (a.arm, a.part, a.action) for a in shipped.ablation[:2]
    ]
    wanted = ("full", "no-margin", "no-cache")
    mine, theirs = (
        {t.arm: t.stages for t in plan_of(each).trials if t.arm in wanted}
        for each in (study, shipped)
    )
    assert mine == theirs


@pytest.mark.parametrize(
    ("part", "action", "items", "path"),
    [
        ("margin threshold δ in Eq. 7", "REPLACE", [0.1], "teacher.intra.margin.threshold"),
        (
            "margin threshold (δ) of the intra-class loss",
            "REPLACE",
            [0.1],
            "teacher.intra.margin.threshold",
        ),
        (
            "weight of the intra-class contrastive loss in the objective",
            "REPLACE",
            [0.1],
            "teacher.intra.weight",
        ),
        ("δ margin value", "REPLACE", [0.1, 0], "teacher.intra.margin.threshold"),
        ("margin-based filtering", "REMOVE", [], "teacher.intra.margin"),
        ("the margin threshold", "REMOVE", [], "teacher.intra.margin.threshold"),
        ("Weight (λ) of the intra-class loss", "REPLACE", [0.1], "teacher.intra.weight"),
        ("balance parameter λ", "REPLACE", [0.1], "teacher.intra.weight"),
        ("memory bank of negatives", "REMOVE", [], "teacher.intra.cache"),
        ("knowledge distillation", "REMOVE", [], "student.distiller"),
        ("distillation method", "REPLACE", ["RKD", "AT"], "student.distiller"),
        ("data augmentation", "REMOVE", [], "data.augment"),
        ("label smoothing", "ADD", [0.1], "teacher.label_smoothing"),
    ],
)
def test_the_words_of_a_part_find_its_setting(part, action, items, path):
    found = bound(asked(part, action, items))

    assert found.path == path
    assert len(found.arms) == max(1, len(items))
    assert found.proposals[0].score >= 0.6


@pytest.mark.parametrize(
    ("part", "action", "items", "words"),
    [
        ("gating of the decoder", "REMOVE", [], "no part of the study is called so"),
        ("weight of the memory loss", "REPLACE", [0.1], "its words name no part clearly"),
        ("λ", "REPLACE", [0.1], "its words name no part clearly"),
        ("learning rate", "REPLACE", [0.1], "and teacher.training.lr alike"),
        ("contrastive learning method", "REPLACE", ["supervised contrastive"],
         "its words name teacher.intra, and 'supervised contrastive' is no value of teacher.intra"),
        ("margin threshold", "REPLACE", [0.1, 7.0], "'7.0' is no value of"),
        ("margin threshold", "REPLACE", ["0.1 to 0.5"],
         "wanted a number (at least -2 and at most 1)"),
        ("margin threshold", "REPLACE", [], "REPLACE names no value"),
        ("margin filter", "REMOVE", [0.5], "REMOVE has items"),
        ("weight of the intra-class loss", "REMOVE", [], "has no off value"),
        ("cache size", "REPLACE", ["no cache except the newest"], "is no value of"),
    ],
)  # fmt: skip
def test_what_is_not_clear_stays_open_with_the_reason(part, action, items, words):
    found = bound(asked(part, action, items))

    assert found.is_open
    assert words in found.reason
    assert found.tables == ()


def test_an_item_that_the_baseline_has_is_left_out_with_the_reason():
    found = bound(asked("margin threshold", items=[0.1, 0.5, "value used in the paper"]))

    assert found.arms == ("threshold=0.1",)
    why = "the baseline has it: teacher.intra.margin.threshold = 0.5"
    assert found.left_out == ((0.5, why), ("value used in the paper", why))


def test_zero_is_a_value_and_never_off():
    made = drafted(page(entry("a", "margin threshold", "REPLACE", ["0", "0.1"]),
                        entry("b", "label smoothing", "ADD", ["0.2", "0.1"])))  # fmt: skip

    study = study_of(made)

    assert [a.action for a in study.ablation] == ["REPLACE", "ADD"]
    assert same_typed(list(study.ablation[0].replacement), [0, 0.1])
    by_name = {arm.name: arm.changes for arm in arms(study)}
    assert by_name["threshold=0"][0].after == 0.0


def test_items_that_say_none_remove_the_part_that_the_setting_is_in():
    found = bound(asked("margin threshold", items=[None, "No margin", 0.1]))

    assert found.arms == ("no-margin", "threshold=0.1")
    assert [(t.part, t.action) for t in found.tables] == [
        ("teacher.intra.margin", "REMOVE"), ("teacher.intra.margin.threshold", "REPLACE"),
    ]  # fmt: skip
    assert found.left_out == (("No margin", "it comes to the same as None"),)


def test_a_removal_uses_the_off_value_that_the_part_declares():
    base = BASE.replace("[teacher.intra]", "[teacher]\nlabel_smoothing = 0.1\n[teacher.intra]")
    made = drafted(page(entry("a", "label smoothing", "REMOVE")), base)

    study = study_of(made)

    assert study.ablation[0].action == "REMOVE"
    assert [(c.path, c.after) for c in arms(study)[1].changes] == [("teacher.label_smoothing", 0.0)]


def test_a_value_that_is_legal_and_means_nothing_is_warned_about():
    found = bound(asked("margin threshold", items=[1.0, 0.9]))

    assert found.arms == ("threshold=1.0", "threshold=0.9")
    assert found.notes == (
        "teacher.intra.margin.threshold = 1 is legal and means nothing: the lead of a probability"
        " cannot exceed 1, so no image is an anchor",
    )


def test_an_arm_answers_every_entry_that_asks_for_it():
    made = drafted(page(entry("a", "margin threshold", "REPLACE", ["0.1", "0.2"]),
                        entry("b", "margin threshold", "REPLACE", ["0.2", "0.3"])))  # fmt: skip

    study = study_of(made)

    assert [each.arm for each in study.requested] == [
        ("threshold=0.1", "threshold=0.2"), ("threshold=0.2", "threshold=0.3"),
    ]  # fmt: skip
    assert len(expand(study).arms) == 4


@pytest.mark.parametrize(
    ("words", "part", "name"),
    [
        ("Top-1 Accuracy", "margin filter", "student.top1"),
        ("accuracy of the teacher", "margin filter", "teacher.top1"),
        ("teacher accuracy", "margin filter", "teacher.top1"),
        ("Training Stability (loss variance)", "margin filter", "teacher.stability"),
        ("training stability", "knowledge distillation", "student.stability"),
        ("Convergence speed (epochs to converge)", "margin filter", "teacher.convergence"),
        ("GPU Memory Utilization", "pipeline cache", "teacher.memory_allocated"),
        ("loss", "margin filter", "student.nll"),
        ("BLEU-4", "margin filter", None),
        ("ImageNet top-1 accuracy", "margin filter", None),
    ],
)
def test_metrics_are_outcomes_of_whom_they_are_about(words, part, name):
    found = bound(asked(part, "REMOVE", metrics=(words,)))

    assert found.metrics == ((name,) if name else ())
    assert found.unknown_metrics == (() if name else (words,))


# Whole studies.

TRAPS = page(
    entry("Known", "margin threshold", "REPLACE", ["0.0", "0.5", "0.9"]),
    entry("Typed", "the decoder's step", "REPLACE", 
          ["0", "0.0", "False", "None", "(1, 2)", "1e-3"]),
    entry("Escaped", "part \x1b[31m \u202e", "REMOVE", metrics="accuracy, \u2028 F1 (a, b)"),
)  # fmt: skip


def test_every_entry_stays_in_the_study_as_it_was_asked_for():
    plan = parse_plan(TRAPS.encode(), "traps.md")
    made = drafted(TRAPS)

    study = study_of(made)

    back = parse_plan("\n".join(plan_lines(study.requested, ())).encode(), "x.jsonl")
    for mine, theirs in zip(back.entries, plan.entries, strict=True):
        assert (mine.name, mine.component, mine.action, mine.metrics) == (
            theirs.name, theirs.component, theirs.action, theirs.metrics,
        )  # fmt: skip
        assert same_typed(list(mine.items), list(theirs.items))
    assert "\x1b" not in made.text
    assert "\u202e" not in made.text


def test_what_plans_ask_for_is_in_no_digest():
    from icckd.results.studies import without_seeds

    whole = study_of(drafted(TRAPS))
    bare = whole.model_copy(update={"requested": ()})

    assert list(plan_of(whole).stages) == list(plan_of(bare).stages)
    assert "requested" not in bare.model_dump(mode="json")
    assert without_seeds(whole.model_dump(mode="json")) == without_seeds(
        bare.model_dump(mode="json")
    )


def test_an_entry_that_no_plan_could_have_stays_open():
    """Two views are wanted by the intra-class loss: one alone is a legal number, and no arm."""
    made = drafted(
        page(entry("a", "teacher views", "REPLACE", ["1"]), entry("b", "margin", "REMOVE"))
    )

    assert made.bound[0].is_open
    assert made.bound[1].arms == ("no-margin",)
    study_of(made)


def test_a_plan_takes_over_a_baseline_that_sets_something():
    base = BASE.replace(
        'name = "full"', 'name = "full"\nset = { "teacher.intra.margin.threshold" = 0.3 }'
    )

    made = drafted(page(entry("a", "margin threshold", "REPLACE", ["0.3", "0.5"])), base)

    assert made.bound[0].arms == ("threshold=0.5",)
    assert study_of(made).teacher.intra.margin.threshold == 0.3


TASK = """
[study]
name = "own"
baseline = "full"
primary = "task.acc"
seeds = 2
[task]
command = ["true"]
[task.config]
bank_size = 64
use_filter = true
[task.off]
bank_size = 0
[task.aliases]
bank_size = ["memory of negatives"]
[task.metrics.acc]
direction = "higher"
csv = "out.csv"
aliases = ["top-1 accuracy"]
[[arm]]
name = "full"
"""


def test_entries_of_a_tasks_config_are_parts_like_any_other(tmp_path):
    text = page(
        entry("a", "Memory of negatives", "REMOVE", metrics="Top-1 Accuracy"),
        entry("b", "bank size", "REPLACE", ["0", "16", "64", "none"], metrics="acc"),
        entry("c", "filter (use_filter)", "REMOVE"),
    )

    made = drafted(text, TASK)

    assert made.open == ()
    study = study_of(made)
    assert [each.arm for each in study.requested] == [
        ("no-bank-size",), ("no-bank-size", "bank-size=16"), ("no-use-filter",),
    ]  # fmt: skip
    assert made.bound[0].metrics == ("task.acc",)


def test_aliases_of_a_task_are_in_no_digest_and_in_no_revision():
    plain = TASK.replace('[task.aliases]\nbank_size = ["memory of negatives"]\n', "")
    plain = plain.replace('aliases = ["top-1 accuracy"]\n', "")
    with_words, without = (parse(text, where="x.toml") for text in (TASK, plain))

    assert list(plan_of(with_words).stages) == list(plan_of(without).stages)
    assert "aliases" not in str(without.model_dump(mode="json"))


PARTS = """
from pydantic import Field

from icckd.plugins import LossSettings, LossValue, TeacherLoss, known_as, metric, precise
from icckd.plugins import teacher_loss


class SizeLoss(LossSettings):
    title = "the size loss"
    about = "mean square of features"
    aliases = ("feature shrinkage",)
    weight: float = Field(default=0.1, ge=0, json_schema_extra=known_as("shrinkage strength"))


@teacher_loss("size", SizeLoss)
class Size(TeacherLoss):
    def __init__(self, settings, inputs):
        super().__init__(settings)

    def term(self, seen):
        return LossValue(precise(seen.features).square().mean(), ())


@metric("surety", unit="%", direction="higher", about="mean confidence", aliases=("confidence",))
def surety(evaluation):
    return 1.0
"""


@pytest.mark.slow
def test_parts_of_plug_ins_are_parts_like_any_other(tmp_path):
    (tmp_path / "parts.py").write_text(PARTS)
    base = 'plugins = ["parts.py"]\n' + BASE.replace(
        "[teacher.intra]", "[teacher.size]\n[teacher.intra]"
    )
    entries = (
        asked("feature shrinkage", "REMOVE", name="a", metrics=("Confidence",)),
        asked("shrinkage strength", items=[0.2], name="b"),
    )

    binder = Binder(parse(base, where=str(tmp_path / "base.toml")))

    assert [binder.bind(each).arms for each in entries] == [("no-size",), ("weight=0.2",)]
    assert binder.bind(entries[0]).metrics == ("student.surety",)
    assert binder.bind(asked("shrinkage strength", items=[-1.0])).reason.endswith(
        "wanted a number (at least 0)"
    )


# Hostile plans.


def digest_whole(seed, studies):
    """Read, bind and write a mangled plan as `icckd import plan` does; only one error may come."""
    data = mangled(seed, 1 + seed % 7)
    where = ("x.md", "x.jsonl", "x.yaml", "standard input")[seed % 4]
    digest(data, where)
    with contextlib.suppress(IcckdError):
        made = draft(parse_plan(data, where), *studies[seed % 2], "base.toml")
        text, entries = study_file(made), entries_json(made.bound)
        assert {unicodedata.category(c) for c in text + entries if c != "\n"} & INVISIBLE == set()
        assert len(json.loads(entries)["entries"]) == len(made.bound)
        assert [each.name for each in parse(text, where="x.toml").requested] == [
            each.entry.name for each in made.bound
        ]


INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}


def both_studies():
    return [(parse(text, where="base.toml"), tomllib.loads(text)) for text in (BASE, TASK)]


def test_a_mangled_plan_becomes_a_study_or_one_clear_error():
    studies = both_studies()
    for seed in range(400):
        digest_whole(seed, studies)


@pytest.mark.long
def test_a_hundred_thousand_mangled_plans_become_studies_or_one_clear_error():
    studies = both_studies()
    for seed in range(100_000):
        digest_whole(seed, studies)


# In the file.

FILE = """# kept at the top
[study]
name = "x"
baseline = "full"
seeds = 2
[teacher.intra]   # kept
[[arm]]
name = "full"

[[ablation]]
name = "Cache"
arm = "no-cache"   # kept behind
part = "teacher.intra.cache"
action = "REMOVE"

[[requested]]   # kept too
name = "A = B"
part = "selection of anchors"
action = "REMOVE"
metrics = ["accuracy"]
reason = "no part of the study is called so"  # kept of what goes
# it may be about:
#   teacher.intra.margin (0.40: because)
#     and more of it
# kept below

[[requested]]
name = "Other"
part = "cache"
action = "REMOVE"
# kept at the end
"""


def file_in(folder, text=FILE):
    path = folder / "study.toml"
    path.write_bytes(text.encode())
    return StudyFile(path, text)


def comments(text):
    return [line[line.index("#") :].strip() for line in text.splitlines() if "# kept" in line]


def test_an_entry_is_bound_in_the_file_and_every_comment_stays(tmp_path):
    file = file_in(tmp_path)

    file.bind(number_of(file.study, "A = B"), "teacher.intra.margin")
    file.bind(number_of(file.study, "Other"), "teacher.intra.cache")
    file.save()

    text = (tmp_path / "study.toml").read_text()
    assert comments(text) == comments(FILE)
    assert "it may be about" not in text
    study = load(tmp_path / "study.toml")
    assert [(a.arm, a.part) for a in study.ablation] == [
        ("no-cache", "teacher.intra.cache"), ("no-margin", "teacher.intra.margin"),
    ]  # fmt: skip
    assert [each.arm for each in study.requested] == [("no-margin",), ("no-cache",)]
    assert not (tmp_path / "study.toml.tmp").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]


def test_line_ends_of_windows_stay(tmp_path):
    file = file_in(tmp_path, FILE.replace("\n", "\r\n"))

    file.bind(0, "teacher.intra.margin")
    file.save()

    written = (tmp_path / "study.toml").read_bytes()
    assert written.count(b"\n") == written.count(b"\r\n")


def test_none_says_that_no_arm_is_to_answer(tmp_path):
    file = file_in(tmp_path)

    file.bind(0, "none")

    assert (file.study.requested[0].arm, file.study.requested[0].reason) == ((), "left out by hand")


@pytest.mark.parametrize(
    ("name", "part", "words"),
    [
        ("A = B", "teacher.intra.margn", "there is no part 'teacher.intra.margn'"),
        ("A = B", "teacher.intra.weight", "cannot be bound to teacher.intra.weight"),
        ("C", "teacher.intra.margin", "no requested ablation is called 'C'"),
    ],
)
def test_what_cannot_be_bound_changes_nothing(tmp_path, name, part, words):
    file = file_in(tmp_path)

    with pytest.raises(SpecError, match=words):
        file.bind(number_of(file.study, name), part)

    assert file.text == FILE


def test_a_file_that_has_its_tables_on_one_line_is_refused_whole(tmp_path):
    text = FILE[: FILE.index("[[requested]]")]
    inline = 'requested = [{ name = "A", part = "p", action = "REMOVE" }]\n'
    file = file_in(tmp_path, inline + text)

    with pytest.raises(SpecError, match="cannot be edited in place"):
        file.bind(0, "teacher.intra.margin")


def test_what_is_bound_is_not_bound_again(tmp_path):
    file = file_in(tmp_path)
    file.bind(0, "teacher.intra.margin")

    with pytest.raises(SpecError, match="is bound already, to no-margin"):
        number_of(file.study, "A = B")


# Coverage.


def test_coverage_says_what_is_answered_wholly_in_part_and_not():
    study = load(SHIPPED)
    plan = parse_plan(page(
        entry("all", "margin filter", "REMOVE"),
        entry("part", "weight of the intra-class loss", "REPLACE", ["0.0", "1.0", "0.3"]),
        entry("no metric", "pipeline cache", "REMOVE", metrics="accuracy, BLEU"),
        entry("none", "margin threshold", "REPLACE", ["0.1", "0.2"]),
        entry("baseline", "margin threshold", "REPLACE", ["0.5"]),
        entry("unknown", "decoder", "REMOVE"),
    ).encode(), "plan.md")  # fmt: skip

    found = {each.name: each for each in coverage(study, [plan])}

    assert {name: (each.answer, each.arms) for name, each in found.items()} == {
        "all": ("wholly", ("no-margin",)),
        "part": ("in part", ("full", "plain-kd")),
        "no metric": ("in part", ("no-cache",)),
        "none": ("not", ()),
        "baseline": ("wholly", ("full",)),
        "unknown": ("not", ()),
    }
    assert found["part"].missing == ("no arm with teacher.intra.weight = 0.3",)
    assert found["no metric"].missing == ("no outcome is called 'BLEU'",)
    assert found["none"].missing == ("no arm with teacher.intra.margin.threshold = 0.1, 0.2",)


def test_what_the_study_says_of_a_requested_ablation_counts():
    text = page(entry("A", "selection of anchors", "REMOVE"))
    base = FILE.replace("A = B", "A").replace(
        'reason = "no part of the study is called so"', 'arm = ["no-cache"]'
    )

    [found] = coverage(parse(base, where="x.toml"), [parse_plan(text.encode(), "plan.md")])

    assert (found.answer, found.arms) == ("wholly", ("no-cache",))
