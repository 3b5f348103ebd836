"""Ablation plans are read as they are written: entries, typed items, metrics; or one error."""

import json
import math
import random
import time
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icckd.errors import IcckdError, SpecError
from icckd.study.ablation_plans import items
from icckd.study.ablation_plans.items import (
    from_toml,
    json_text,
    read_literal,
    same_typed,
    to_toml,
    toml_string,
    toml_value,
    typed_text,
)
from icckd.study.ablation_plans.page import split_metrics
from icckd.study.ablation_plans.read import MOST_ITEMS, parse_plan
from tests.faults.test_journals import mutate
from tests.support.pages import SEED, entry, misread, page

LANE = settings(deadline=None, suppress_health_check=list(HealthCheck))


def read(text, where="plan.md"):
    return parse_plan(text if isinstance(text, bytes) else text.encode(), where)


def refused(text, where="plan.md"):
    with pytest.raises(SpecError) as found:
        read(text, where)
    return found.value.message


def test_a_page_gives_its_entries_and_nothing_of_the_reasoning_above_them():
    plan = read(SEED)

    assert plan.source == "by-hand/nobody/Seed"
    assert [each.name for each in plan.entries] == [
        "Without the margin filter", "Without the pipeline cache",
    ]  # fmt: skip
    first = plan.entries[0]
    assert first.component == "Margin filter (δ) that picks the anchors of the intra-class loss"
    assert (first.action, first.items) == ("REMOVE", ())
    assert first.metrics == (
        "Top-1 Accuracy", "Convergence Speed", "Training Stability (loss variance)",
    )  # fmt: skip
    assert SEED.split("\n")[first.line - 1] == "### Without the margin filter"
    assert plan.notes == ()


@pytest.mark.parametrize(
    ("codec", "name"),
    [("mac_roman", "Mac Roman"), ("latin-1", "Latin-1"), ("cp1252", "Windows-1252")],
)
def test_utf_8_that_was_read_as_another_encoding_is_undone_with_a_note(codec, name):
    text = SEED.replace("🧠 ", "").replace("📋 ", "")  # windows-1252 has no letter for some bytes
    text = SEED if codec != "cp1252" else text

    plan = read(misread(text, codec))

    assert plan.entries == read(text).entries
    assert plan.notes[0].startswith("its UTF-8 had been read as")
    assert name in plan.notes[0] or codec == "latin-1"


def test_letters_of_all_scripts_that_were_meant_stay():
    text = page(entry("Größe é", "naïve ℓ∞ <sup>2</sup> “quoted” Œ", "REMOVE"))

    plan = read(text)

    assert plan.entries[0].component == "naïve ℓ∞ <sup>2</sup> “quoted” Œ"
    assert plan.notes == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("0.0", 0.0), ("-3", -3), ("0.10", 0.1), ("1e-3", 0.001), ("True", True),
        ("None", None), ("[1.0, 0.5]", [1.0, 0.5]), ("(0.8, 0.1, 0.1)", [0.8, 0.1, 0.1]),
        ("{'lambda1': 0.1, 'b': [1, None]}", {"lambda1": 0.1, "b": [1, None]}), ("'off'", "off"),
        ("2/255", "2/255"), ("2.5%", "2.5%"), ("1-layer MLP", "1-layer MLP"), ("m*E", "m*E"),
        ("max(0, ψ(x))", "max(0, ψ(x))"), ("[Context, Proposal]", "[Context, Proposal]"),
        ("{λ, γ}", "{λ, γ}"), ("s=[1.0, 1.5]", "s=[1.0, 1.5]"), ("0 (no noise)", "0 (no noise)"),
        ("false", "false"), ("nan", "nan"), ("1e999", "1e999"), ("1+2j", "1+2j"),
        ("{1, 2}", "{1, 2}"),
        ("b'x'", "b'x'"), ("007", "007"), (" leading", " leading"), ("", ""), ("- 5", -5),
        ("9223372036854775807", 2**63 - 1), ("9223372036854775808", "9223372036854775808"),
        ("0x" + "f" * 5000, "0x" + "f" * 5000), ("[" * 900 + "]" * 900, "[" * 900 + "]" * 900),
        ("__import__('os').system('true')", "__import__('os').system('true')"),
        ("[x for x in (1,)]", "[x for x in (1,)]"), ("'a' 'b'", "ab"), ("“0.5”", "“0.5”"),
        ("-" * 5000 + "1", "-" * 5000 + "1"), ("'\\ud800'", "'\\ud800'"), ("{1: 2}", "{1: 2}"),
    ],
    ids=lambda each: str(each)[:24],
)  # fmt: skip
def test_an_item_is_the_literal_that_it_reads_as_or_the_text_that_it_is(text, value):
    plan = read(page(entry("a", "part", "REPLACE", [text])))

    assert same_typed(list(plan.entries[0].items), [value])


def test_what_reads_otherwise_than_meant_is_told():
    plan = read(page(entry("a", "part", "REPLACE", ["10,000"])))

    assert plan.entries[0].items == ([10, 0],)
    assert "a number is written without commas" in plan.notes[0]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a, b,c", ["a", "b", "c"]),
        ("Accuracy (VGG-11, ResNet-18), F1", ["Accuracy (VGG-11, ResNet-18)", "F1"]),
        ("Alignment L(A,X), b", ["Alignment L(A,X)", "b"]),
        ("open (x, y, b", ["open (x", "y", "b"]),
        ("close x), y", ["close x)", "y"]),
        ("odd (x], y), z", ["odd (x]", "y)", "z"]),
        ("share in [0, 1), b", ["share in [0, 1)", "b"]),
        ("a,, b, ", ["a", "b"]),
    ],
)
def test_metrics_are_split_at_commas_outside_of_brackets_that_balance(text, parts):
    assert split_metrics(text) == parts


def test_line_ends_of_windows_and_a_missing_last_one_change_nothing():
    assert read(SEED.replace("\n", "\r\n")).entries == read(SEED).entries
    assert read("\ufeff" + SEED + "\n\n").entries == read(SEED).entries


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "plan.md, line 1: the ablation plan is empty"),
        (" \n\n", "plan.md, line 1: the ablation plan is empty"),
        ("# A page\n\nwithout one", "plan.md, line 3: the page ends without the heading"),
        (SEED + "\n" + SEED, "line 48: {}a second plan heading, the first is in line 18"),
        (page("no entry"), "line 20: {}no ablation for 'no entry'"),
        (page(), "the ablation plan has no ablation"),
        (page("### x\n- **Action**: REMOVE"), "line 20: {}the ablation 'x' has no Ablated Part"),
        (page("### x\n- **Ablated Part**: p"), "line 20: {}the ablation 'x' has no Action"),
        (page("### \n- **Ablated Part**: p"), "line 20: {}the ablation has no name"),
        (page(entry("x", "p", "SWAP")), "line 22: {}no known action 'SWAP'"),
        (page(entry("x", "p", "REMOVE"), entry("x", "q", "REMOVE")),
         "line 25: two ablations are called 'x', the first in line 20"),
        (page("### x\n- **Ablated Part**: p\n- **Ablated Part**: q"),
         "line 22: {}Ablated Part stands twice"),
        (page(entry("x", "p", "REMOVE") + "more of it"), "line 24: {}'more of it' is no field"),
        (page("### x\n  - 0.5"), "line 21: {}'- 0.5' is no field of an ablation"),
        (page(entry("x", "p" * 9000, "REMOVE")), "line 21: {}more than 8000 letters"),
        (page(entry("x", "p", "REMOVE", metrics=", ".join("m" * 201))), "more than 200 metrics"),
    ],
)  # fmt: skip
def test_what_is_no_plan_is_one_error_with_its_line(text, words):
    assert words.format("in the ablation plan, ") in refused(text)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfe#\x00 \x00", "line 1: an ablation plan is text in UTF-8"),
        (SEED.encode() + b"\n\n\xc3(", "an ablation plan is text in UTF-8, and this is not"),
        (SEED.replace("δ", "\0").encode(), "a zero byte: the file is no text"),
        (b"\x89PNG\r\n\x1a\n\0", "line 1: an ablation plan is text in UTF-8"),
        (b"x" * (17 << 20), "it is larger than 16 MiB"),
    ],
)
def test_what_is_no_text_is_one_error(data, words):
    assert words in refused(data)


def test_a_heading_in_the_reasoning_is_none_where_the_page_has_one_of_its_own():
    text = page(entry("x", "p", "REMOVE"), trace="# Ablation Plan\n## ablation plan\nprose")

    assert [each.name for each in read(text).entries] == ["x"]


def test_a_plan_may_be_plain_markdown():
    text = (
        "# Paper\n\n## Ablation Plan\n\n" + entry("x", "p", "REMOVE") + "\n## Discussion\n\nprose"
    )

    assert [each.name for each in read(text).entries] == ["x"]


# JSON and YAML.

LINE = {
    "name": "Vary it", "ablated_part": "margin threshold", "action": "REPLACE",
    "replacement": [0, 0.0, False, "0.5", None, {"a": [1]}], "metrics": ["accuracy (a, b)"],
}  # fmt: skip
REMOVAL = {"name": "Drop it", "ablated_part": "cache", "action": "REMOVE", "replacement": None}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (json.dumps(LINE) + "\n\n" + json.dumps(REMOVAL) + "\n", "plan.jsonl"),
        (json.dumps([LINE, REMOVAL], indent=1), "plan.json"),
        (json.dumps({"ablations": [LINE, REMOVAL]}), "standard input"),
        (json.dumps({"p-1": {"predictions": f"{json.dumps(LINE)}\n{json.dumps(REMOVAL)}"}}),
         "plans.json"),
        ("- name: Vary it\n  ablated_part: margin threshold\n  action: REPLACE\n"
         "  replacement: [0, 0.0, false, '0.5', null, {a: [1]}]\n  metrics: ['accuracy (a, b)']\n"
         "- {name: Drop it, ablated_part: cache, action: REMOVE}\n", "plan.yaml"),
    ],
    ids=["lines", "array", "wrapped", "plans.json", "yaml"],
)  # fmt: skip
def test_other_forms_give_the_same_entries_with_their_types(text, where):
    plan = read(text, where)

    assert [each.name for each in plan.entries] == ["Vary it", "Drop it"]
    assert same_typed(list(plan.entries[0].items), LINE["replacement"])
    assert plan.entries[0].metrics == ("accuracy (a, b)",)
    assert (plan.entries[1].action, plan.entries[1].items) == ("REMOVE", ())


def test_a_table_in_place_of_the_list_is_one_item():
    one = {**LINE, "replacement": {"a": 1}}

    assert read(json.dumps(one), "plan.jsonl").entries[0].items == ({"a": 1},)


def test_a_line_that_stands_twice_counts_once():
    text = f"{json.dumps(LINE)}\n{json.dumps(LINE)}\n"

    plan = read(text, "plan.jsonl")

    assert len(plan.entries) == 1
    assert plan.notes == ("line 2 is line 1 once more: left out",)


def test_values_of_yaml_are_those_of_its_newer_version():
    items = f"[off, yes, 1e-3, 1:30, 010, 2001-01-01, ~, .5, 'None', {'9' * 20}]"
    text = f"- name: x\n  ablated_part: p\n  action: REPLACE\n  replacement: {items}\n"

    found = read(text, "plan.yml").entries[0].items

    wanted = ["off", "yes", 0.001, "1:30", 10, "2001-01-01", None, 0.5, "None", "9" * 20]
    assert same_typed(list(found), wanted)


def test_numbers_of_json_that_no_study_file_holds_stay_text():
    text = json.dumps({**LINE, "replacement": [1]}).replace(
        "[1]", f"[1e999, {'9' * 5000}, {2**63}]"
    )

    assert read(text, "plan.jsonl").entries[0].items == ("1e999", "9" * 5000, str(2**63))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps(LINE) + "\n{oops}", "line 2: the ablation plan is no JSON"),
        (json.dumps(LINE)[:-1] + ', "name": "y"}', "the key 'name' stands twice"),
        ("[" * 100_000, "the ablation plan is no JSON: it nests too deep"),
        ('{"name": "x", "action": "REMOVE"}', "line 1: in the ablation plan, an"),
        (json.dumps({**LINE, "action": "remove"}), "no known action 'remove'"),
        (json.dumps({**LINE, "metrics": "accuracy"}), "metrics that are no list of texts"),
        (json.dumps({**LINE, "replacement": "0.5"}), "a replacement that is no list"),
        (json.dumps([1, 2]), "an ablation that is no table"),
        (json.dumps({"a": {"predictions": ""}, "b": {"predictions": ""}}), "plans for 2 papers"),
        (json.dumps({"a": {"predictions": "diff --git a/x b/x"}}), "a patch, which must be"),
        (json.dumps({**LINE, "name": "x\ud800"}), "half of a surrogate pair"),
        ('[{"name": "x",\n "ablated_part": "p"},\n {"name": NaN}]', "NaN is no value of JSON"),
        ("- &a x\n- *a\n", "tags, anchors and aliases are not read"),
        ("- !!python/object/apply:os.system ['true']\n", "tags, anchors and aliases are not read"),
        ("- name: x\n  name: y\n", "line 2: the ablation plan is no YAML"),
        ("- [\n", "the ablation plan is no YAML"),
        ("a: 1\n", "no list of ablations"),
    ],
)  # fmt: skip
def test_other_forms_that_are_no_plan_are_one_error(text, words):
    is_yaml = text.startswith(("-", "a:"))

    assert words in refused(text, "plan.yaml" if is_yaml else "plan.json")


# Values in a study file and on a screen.

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@LANE
@given(JSON_VALUES)
def test_an_item_comes_back_from_a_study_file_with_its_type(value):
    import tomllib

    written = tomllib.loads(f"items = [{toml_value(to_toml(value))}]")["items"][0]

    assert same_typed(from_toml(written), value)


@LANE
@given(JSON_VALUES)
def test_a_value_written_as_python_does_reads_back(value):
    text = repr(value)
    whole = read_literal(text)

    is_kept = items._depth(text) <= items.MOST_DEPTH and not items._has_long_number(text)
    assert same_typed(whole, value) or not is_kept or "\\ud" in text


@LANE
@given(st.text())
def test_nothing_invisible_is_written_raw(text):
    import tomllib

    for written, back in (
        (toml_string(text), lambda w: tomllib.loads(f"x = {w}")["x"]),
        (json_text([text]), lambda w: json.loads(w)[0]),
    ):
        assert {unicodedata.category(c) for c in written} & {"Cc", "Cf", "Zl", "Zp", "Co"} == set()
        assert back(written) == text


# Hostile plans.

PIECES = [
    "### ", "- **Ablated Part**: ", "- **Action**: REPLACE", "- **Replacement**: ", "  - ",
    "</div>",
    "<h2>Ablation Plan</h2>", "\x1b]52;c;AAAA\x07", "\u202e", "\0", "[" * 3000,
    "{'a': " * 50, "0x" + "f" * 900,
    "9" * 5000, "None", "\r", "\ufeff", "é", "Œ¥", "'", '"""', "\\", "1e999", "(" * 40,
    "-" * 900 + "1",
    '{"name": "x"}', "- name: x", "&a", "*a", "!!python/name:os.system", "__import__('os')",
]  # fmt: skip


def mangled(seed, rounds):
    """A page, JSON lines or YAML with pieces of plans and bytes put into it at random."""
    chance = random.Random(seed)
    whole = [
        SEED,
        page(entry("x", "margin threshold", "REPLACE", ["0.0", "(1, 2)", "{'a': 1}", "None"])),
        json.dumps(LINE) + "\n" + json.dumps(REMOVAL), json.dumps([LINE, REMOVAL], indent=1),
    ]  # fmt: skip
    text = chance.choice(whole)
    for _ in range(rounds):
        way = chance.random()
        if way < 0.5:  # behind a line, which mostly stays what it is
            lines = text.split("\n")
            lines[chance.randrange(len(lines))] += chance.choice(PIECES)
            text = "\n".join(lines)
        elif way < 0.75:
            place = chance.randrange(len(text) + 1)
            text = text[:place] + chance.choice(PIECES) + text[place:]
        else:
            text = mutate(text.encode("utf-8", "replace") or b" ", chance).decode(
                "utf-8", "replace"
            )
    return text.encode("utf-8", "replace")


def digest(data, where):
    """Read a plan as `icckd import plan` does; only a deliberate error may come out."""
    plan, told = None, ""
    try:
        plan = parse_plan(data, where)
    except IcckdError as error:
        told = error.message
    if plan is None:
        assert 0 < len(told) < 1000
        assert told.isprintable()
        assert "line" in told or "large" in told
        return
    for each in plan.entries:
        assert each.name.strip() or not each.name.isprintable()
        assert each.action in ("REMOVE", "REPLACE", "ADD")
        typed_text(list(each.items))
    json_text([list(each.items) for each in plan.entries])


@settings(LANE, max_examples=300)
@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from(["x.md", "x.jsonl", "x.yaml"]))
def test_a_mangled_plan_gives_a_plan_or_one_clear_error(seed, rounds, where):
    digest(mangled(seed, rounds), where)


def test_a_plan_of_five_megabytes_is_read_in_time_that_grows_with_its_size():
    """The time itself gates nothing: five times as large must not take twenty times as long."""

    def seconds(count):
        given = ("margin threshold of it", "REPLACE", ["0.1", "some text", "(2, 1)"])
        text = page(*(entry(f"e{n}", *given) for n in range(count)))
        start = time.process_time()
        plan = read(text)
        assert len(plan.entries) == count
        return max(time.process_time() - start, 1e-3)

    assert seconds(5000) < 20 * seconds(1000)


def test_more_items_than_any_plan_has_are_refused():
    text = page("### x\n- **Ablated Part**: p\n- **Action**: REPLACE\n- **Replacement**: \n"
                + "  - 1\n" * (MOST_ITEMS + 1))  # fmt: skip

    assert "is too large an ablation plan" in refused(text)


def test_an_infinite_number_is_no_item():
    assert not any(isinstance(read_literal(t), float) and math.isinf(read_literal(t))
                   for t in ("1e999", "-1e999", "[1e999]", "{'a': 1e999}"))  # fmt: skip
