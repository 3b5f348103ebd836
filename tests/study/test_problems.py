"""An error about a study file names line and key, what is wanted, and what to write."""

import json

import jsonschema
import pytest

from icckd.errors import SpecError
from icckd.study.arms import arms
from icckd.study.load import load, parse, study_schema
from icckd.study.model import Method, Study
from icckd.study.paths import setting_paths, tables_in

STUDY = """\
[study]
name = "case"
baseline = "full"
seeds = 2

[data]
kind = "digits"

[teacher.training]
epochs = 1

[[arm]]
name = "full"
"""


def told(text, *overrides):
    """Return the error about a study, its hint behind it."""
    with pytest.raises(SpecError) as caught:
        arms(parse(text, where="x.toml", overrides=overrides))
    return f"{caught.value.message} | {caught.value.hint}"


def changed(before, after):
    assert before in STUDY
    return STUDY.replace(before, after, 1)


def in_training(line):
    """Return the study with one more line, its tenth, in [teacher.training]."""
    return changed("epochs = 1", line)


def test_a_byte_order_mark_and_line_ends_of_windows_are_read(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(STUDY, encoding="utf-8-sig", newline="\r\n")

    assert load(path) == parse(STUDY, where="y.toml")
    path.write_text(STUDY, encoding="utf-16")
    with pytest.raises(SpecError, match="is not UTF-8 but UTF-16"):
        load(path)
    path.write_text(STUDY, encoding="utf-16-be")
    with pytest.raises(SpecError, match="is not UTF-8 but UTF-16"):
        load(path)
    path.write_text(STUDY, newline="\r")
    with pytest.raises(SpecError, match="a carriage return alone"):
        load(path)


def test_a_number_of_seeds_means_that_many_from_0_on():
    assert parse(STUDY, where="x").study.seeds.all() == (0, 1)
    assert parse(STUDY, where="x", overrides=["study.seeds=3"]).study.seeds.all() == (0, 1, 2)
    from_five = parse(STUDY, where="x", overrides=["study.seeds.first=5"])
    assert from_five.study.seeds.all() == (5, 6)
    written_out = changed("seeds = 2", "seeds = { first = 0, count = 2 }")
    assert parse(STUDY, where="x") == parse(written_out, where="x")


def test_an_editor_accepts_a_number_of_seeds():
    schema = json.loads(study_schema())
    for seeds in (2, {"first": 0, "count": 2}):
        header = {"name": "case", "baseline": "full", "seeds": seeds}
        jsonschema.validate({"study": header}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"study": {**header, "seeds": "two"}}, schema)


@pytest.mark.parametrize("seeds", ["true", '"8"', "[0, 1]", "8.0"])
def test_seeds_of_another_form_are_told_both_forms(seeds):
    said = told(changed("seeds = 2", f"seeds = {seeds}"))

    assert said.startswith(f"x.toml, line 4: study.seeds = {seeds}: wanted a table with count")
    assert said.endswith("write seeds = 8 for seeds 0 to 7, or { first = 0, count = 8 }")
    assert "object" not in said


def test_no_setting_takes_a_truth_value_for_a_number():
    """Python holds True equal to 1: every choice of numbers, of every part, has to refuse it."""
    tables, left = {Study, Method}, [Study]
    while left:
        for field in left.pop().model_fields.values():
            new = [table for table in tables_in(field.annotation) if table not in tables]
            tables.update(new)
            left += new
    looked = 0
    for table in tables:
        for name, field in table.model_fields.items():
            if "bool" in str(field.annotation) or "Any" in str(field.annotation):
                continue
            errors = []
            try:
                table.model_validate({name: True})
            except ValueError as error:
                errors = [problem["loc"][0] for problem in error.errors() if problem["loc"]]
            assert name in errors, f"{table.__name__}.{name} takes true"
            looked += 1
    assert looked > 150


def test_truth_values_are_refused_where_they_stand():
    text = changed("[teacher.training]", "[teacher]\nviews_in_ce = true\n[teacher.training]")
    assert told(text) == (
        "x.toml, line 10: teacher.views_in_ce = true: wanted 1 or 2"
        " | true and false are not numbers"
    )
    arm = STUDY + '[[arm]]\nname = "x"\nset = { "teacher.views_in_ce" = true }\n'
    assert told(arm).startswith("x.toml, line 16: arm 'x': teacher.views_in_ce = true: wanted 1")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lr = 0,05", "a number has a decimal point: lr = 0.05"),
        ("lr = .05", "a number begins with a digit: lr = 0.05"),
        ("lr = 5.", "a number ends with a digit: lr = 5.0"),
        ("warmup = off", 'a text stands in quotes: warmup = "off"'),
        ("lr = True", "write lr = true"),
        ("lr: 0.05", "key and value are joined by =: lr = 0.05"),
        ("lr = 0.05;", "no semicolon ends a line: lr = 0.05"),
        ("lr = “0.05”", "only looks like TOML"),
        ("lr\u00a0= 0.05", "only looks like TOML"),
        ("lr =", "a value is missing"),
        ("lr = None", "TOML has no empty value: leave lr out"),
        ("lr = 0.05 // as in the paper", "a comment begins with #: lr = 0.05"),
        ("lr = 5%", "a share is a number without %"),
        ("lr:", "a table begins with [lr]; is this YAML?"),
        ('{"lr": 0.05}', "this is JSON"),
        (r'preset = "C:\images"', "in single quotes"),
        ('preset = "a', "a text ends on its line"),
        ("\u200blr = 0.05", "only looks like TOML"),
        ("lr = 1 000", "a value is a number (0.05), a text in quotes"),
    ],
)  # fmt: skip
def test_text_that_is_no_toml_is_told_its_line_and_the_likely_slip(line, words):
    said = told(in_training(line))

    assert said.startswith("x.toml, line 10: ")
    assert words in said


def test_a_key_set_twice_names_both_lines():
    said = told(in_training("lr = 0.1\nlr = 0.2"))

    assert said.startswith("x.toml, line 11: 'lr = 0.2' is not valid TOML: lr is set twice")
    assert "first in line 10" in said


@pytest.mark.parametrize(
    ("line", "wanted", "hint"),
    [
        ('epochs = "3"', "wanted a whole number", "leave out the quotes: epochs = 3"),
        ('lr = "0,05"', "wanted a number", "a decimal point and no quotes: lr = 0.05"),
        ("epochs = 3.0", "wanted a whole number", "leave out the decimal point: epochs = 3"),
        ("epochs = true", "wanted a whole number", "true and false are not numbers"),
        ('clip_norm = "1.0"', 'wanted a number or "off"', "leave out the quotes: clip_norm = 1.0"),
        ("warmup = false", 'a table with epochs, start_factor or "off"', 'write warmup = "off"'),
        ('optimizer = "sgd"', "wanted a table", 'write optimizer = { kind = "sgd" }'),
        ("diagnose_epochs = 3", "wanted a list", "write diagnose_epochs = [3]"),
        ("epochs = 0", "wanted at least 1", ""),
        ("lr = -0.1", "wanted above 0", ""),
        ('decayed = "weight"', 'wanted "all" or "weights"', "did you mean 'weights'?"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_what_to_write(line, wanted, hint):
    said = told(in_training(line))

    assert said.startswith(f"x.toml, line 10: teacher.training.{line.replace(' = ', ' = ')}: ")
    assert wanted in said
    assert said.endswith(f"| {hint}") or hint in said
    assert "Input" not in said


@pytest.mark.parametrize(
    ("before", "after", "line", "wrong", "right"),
    [
        ("baseline =", "basline =", 3, "study.basline", "baseline"),
        ("seeds =", "sedes =", 4, "study.sedes", "seeds"),
        ("[study]", "[stduy]", 1, "stduy", "study"),
        ("[[arm]]", "[[arms]]", 12, "arms", "arm"),
        ('name = "full"', 'nam = "full"', 13, "arm[0].nam", "name"),
        ("epochs =", "epoch =", 10, "teacher.training.epoch", "epochs"),
    ],
)
def test_a_misspelled_key_is_told_rather_than_the_one_it_leaves_missing(
    before, after, line, wrong, right
):
    said = told(changed(before, after))

    assert said == f"x.toml, line {line}: unknown key {wrong!r} | did you mean {right!r}?"


def test_a_missing_key_comes_with_an_example():
    assert told(changed('name = "case"\n', "")) == (
        "x.toml, line 1: 'study.name' is missing | write name = \"my-study\""
    )
    said = told(
        changed("[[arm]]", '[[ablation]]\nname = "x"\narm = "x"\naction = "REMOVE"\n[[arm]]')
    )
    assert said.endswith("'ablation[0].part' is missing | write part = \"teacher.intra.cache\"")


def test_brackets_of_the_wrong_number_are_told_the_right_one():
    assert told(changed("[[arm]]", "[arm]")).startswith("x.toml, line 12: arm = ")
    assert "write [[arm]], with two brackets" in told(changed("[[arm]]", "[arm]"))
    text = changed("[teacher.training]", "[[teacher]]\n[teacher.training]")
    assert "write [teacher], with single brackets" in told(text)


def test_names_and_paths_that_do_not_fit_are_told_in_words_what_would():
    said = told(STUDY + '[[arm]]\nname = "No Cache"\n')
    assert said.startswith('x.toml, line 15: arm[1].name = "No Cache": wanted a name of small')
    assert said.endswith('write "no-cache"')
    said = told(STUDY + '[[arm]]\nname = "x"\nset = { "techer.intra" = "off" }\n')
    assert said == (
        "x.toml, line 16: arm[1].set: there is no setting 'techer.intra'"
        " | did you mean 'teacher.intra'?"
    )
    said = told(STUDY + '[[arm]]\nname = "x"\nset = { "lr" = 0.1 }\n')
    assert said.endswith("there is no setting 'lr' | did you mean 'teacher.training.lr'?")
    assert "[a-z" not in told(changed('name = "case"', 'name = "A b"'))


def test_references_to_arms_settings_and_metrics_name_their_line():
    cases = {
        "x.toml, line 3: study.baseline = 'ful' is not an arm": changed('= "full"', '= "ful"'),
        "x.toml, line 14: arm 'full' is defined twice": STUDY + '[[arm]]\nname = "full"\n',
        "x.toml, line 4: unknown metric 'student.top2'": changed(
            "seeds", 'primary = "student.top2"\nseeds'
        ),
        "x.toml, line 17: no setting 'teacher.intra.cach'": STUDY
        + '[[ablation]]\nname = "x"\narm = "x"\npart = "teacher.intra.cach"\naction = "REMOVE"\n',
    }
    for words, text in cases.items():
        assert told(text).startswith(words)


def test_lines_are_found_behind_strings_comments_and_nested_brackets():
    text = STUDY.replace(
        "[data]",
        'question = """\n[study]\n"quoted" # no comment\n"""\n'
        'forbid = [\n  { a = "]" }, # [\n]\n[data]',
    )
    assert told(text.replace("epochs = 1", "epochs = 0")).startswith("x.toml, line 17: ")
    dotted = changed("[teacher.training]\nepochs", 'teacher."training".epochs')
    assert told(dotted.replace('kind = "digits"\n', 'kind = "digits"\n\n[x]\n')).startswith(
        "x.toml"
    )


@pytest.mark.parametrize(
    "overrides",
    [
        ("teacher.training.lr=0.1", "teacher.training.lr=0.2"),
        ("teacher.training.lr=0.1", "teacher.training.lr=0.1"),
        ("teacher.training.lr=0.1", "teacher.training={lr=0.2}"),
        ("teacher.training={lr=0.2}", "teacher.training.lr=0.1"),
        ("study.seeds.count=3", "study.seeds=8"),
        ("study.seeds=8", "study.seeds.count=3"),
    ],
)
def test_one_setting_is_not_overridden_twice(overrides):
    said = told(STUDY, *overrides)

    assert "is overridden twice" in said
    assert all(repr(override) in said for override in overrides)


def test_an_override_may_refine_a_table_that_another_one_set():
    study = parse(
        STUDY,
        where="x",
        overrides=["teacher.training={lr=0.2}", "teacher.training.epochs=4"],
    )

    assert (study.teacher.training.lr, study.teacher.training.epochs) == (0.2, 4)


def test_an_error_of_an_override_names_the_override_and_no_line():
    assert told(STUDY, "teacher.training.lr=0,1") == (
        "override 'teacher.training.lr=0,1': teacher.training.lr = \"0,1\": wanted a number"
        " | a number has a decimal point and no quotes: lr = 0.1"
    )
    assert told(STUDY, "teacher.trainin.lr=0.1").startswith("override 'teacher.trainin.lr=0.1'")


def test_every_path_of_a_setting_is_listed_once():
    paths = setting_paths(Method)

    assert {"teacher.intra.margin.threshold", "student.distiller.temperature"} <= set(paths)
    assert len(paths) == len(set(paths))
