"""Tasks of a study: settings, placeholders, what arms change, what is off."""

import json
import shlex
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icckd.errors import SpecError
from icckd.run.config_text import config_text
from icckd.study.arms import expand, hypotheses
from icckd.study.load import parse
from icckd.study.metrics import Metric
from icckd.study.numerics import numerics_class
from icckd.study.plan import PlanContext, build
from icckd.study.tasks import (
    Task,
    TaskSource,
    by_name,
    outcomes_of,
    placeholders,
    stage_kinds,
    words,
)
from icckd.study.training import Numerics

METRICS = {"top1": {"unit": "%", "direction": "higher", "csv": "m.csv"}}
STUDY = """
[study]
name = "s"
baseline = "full"
primary = "task.top1"
seeds = 2
[task]
command = ["python", "train.py", "--lr", "{lr}"]
[task.config]
lr = 0.1
mixup = true
optimizer = "adam"
[task.config.model]
dropout = 0.3
[task.off.model]
dropout = 0.0
[task.metrics.top1]
unit = "%"
direction = "higher"
csv = "m.csv"
test_images = 50
[[arm]]
name = "full"
"""


def ablation(part: str, action: str = "REMOVE", more: str = "") -> str:
    return (
        f'{STUDY}[[ablation]]\nname = "A"\narm = "a"\npart = "{part}"\naction = "{action}"\n{more}'
    )


def error_of(text: str) -> SpecError:
    with pytest.raises(SpecError) as raised:
        expand(parse(text, where="s.toml"))
    return raised.value


def task(command: list[str], **settings: object) -> Task:
    return Task.model_validate({"command": command, "metrics": METRICS, **settings})


def test_removing_a_part_puts_in_what_it_is_when_it_is_off():
    for part, off in (("task.config.mixup", False), ("task.config.model.dropout", 0.0)):
        design = expand(parse(ablation(part), where="s.toml"))

        [change] = design.arms[1].changes
        assert (change.path, change.after) == (part, off)
        assert design.methods["full"].task.config["mixup"] is True


def test_a_part_without_an_off_value_is_refused_with_the_table_that_declares_one():
    told = error_of(ablation("task.config.lr"))

    assert "no off-state" in told.message
    assert "[task.off]" in told.hint


def test_a_bad_entry_is_told_what_an_entry_is_and_not_what_a_class_is():
    text = STUDY.replace("[task]\n", '[task]\nentry = "train"\n', 1)

    told = error_of(text).message
    assert 'wanted "train.py:name" (a file and a name in it) or "package.module:name"' in told


def test_an_arm_cannot_change_what_config_does_not_have_or_its_type():
    replace = 'replacement = ["fast"]'
    assert "did you mean 'task.config.lr'" in error_of(ablation("task.config.lrr")).hint
    told = error_of(ablation("task.config.lr", "REPLACE", replace))
    assert 'task.config.lr = "fast" is of another type than 0.1' in told.message
    whole = "replacement = [{ dropout = 0.1 }]"
    assert expand(parse(ablation("task.config.model", "REPLACE", whole), where="s.toml"))


def test_factors_and_conditions_work_on_config():
    text = STUDY.replace('baseline = "full"', 'baseline = "base"\ndesign = "factorial"').replace(
        '[[arm]]\nname = "full"\n', ""
    )
    text += '[[factor]]\nname = "mix"\npath = "task.config.mixup"\nlevels = [true, "off"]\n'
    text += '[[factor]]\nname = "lr"\npath = "task.config.lr"\nlevels = [0.1, 0.2]\n'
    text += "when = { mix = true }\n"

    design = expand(parse(text, where="s.toml"))

    assert [arm.name for arm in design.arms] == ["base", "lr=0.2", "mix=off"]
    assert design.methods["mix=off"].task.config["mixup"] is False


def test_declared_metrics_can_be_asked_for_and_nothing_else():
    assert "did you mean 'task.top1'" in error_of(STUDY.replace("task.top1", "task.top2")).hint
    assert "student.top1" in error_of(STUDY.replace('primary = "task.top1"\n', "")).message
    study = parse(ablation("task.config.mixup"), where="s.toml")
    assert hypotheses(study, expand(study).arms)[0].metric == "task.top1"
    known = outcomes_of(study.task)
    assert known["task.top1"] == Metric(
        name="task.top1", unit="%", direction="higher", about="", recorded="both",
        counts="test images", images=50,
    )  # fmt: skip
    assert {"task.seconds", "task.memory_rss"} < known.keys()
    small = STUDY.replace("seeds = 2", "seeds = 2\nsmallest_effect = 1.0")
    small += ablation("task.config.mixup")[len(STUDY) :]
    assert "less than one of the 50 test images" in error_of(small).message


def test_what_tasks_say_of_each_other_is_checked():
    chain = {
        "b": {"command": ["x", "{needs.a}"], "needs": ["a"], "metrics": METRICS},
        "a": {"command": ["x"], "metrics": METRICS},
    }
    from icckd.study.tasks import _read_tasks

    found = _read_tasks(chain)
    assert list(by_name(found)) == ["a", "b"] == list(stage_kinds(found))
    with pytest.raises(ValueError, match="need each other"):
        _read_tasks({**chain, "a": {**chain["a"], "needs": ["b"]}})
    with pytest.raises(ValueError, match="b needs 'c'"):
        _read_tasks({**chain, "b": {**chain["b"], "needs": ["a", "c"]}})
    with pytest.raises(ValueError, match="cannot be called 'student'"):
        _read_tasks({"student": chain["a"]})


def test_a_task_may_read_the_student_that_the_engine_trains():
    text = STUDY.replace("[task]\n", '[task.eval]\nneeds = ["student"]\n').replace(
        "[task.c", "[task.eval.c").replace("[task.o", "[task.eval.o").replace(
        "[task.m", "[task.eval.m").replace("task.top1", "eval.top1")  # fmt: skip
    study = parse(text, where="s.toml")

    assert stage_kinds(study.task) == ("teacher", "student", "eval")
    assert "student.top1" in outcomes_of(study.task)
    context = PlanContext(
        numerics=numerics_class(Numerics(), "cpu"),
        fingerprints=((study.data, "0" * 64),),
        code_epoch=lambda **_: 2,
    )
    plan = build(expand(study), context)
    kinds = [plan.stages[digest].kind for digest in plan.trials[0].stages]
    assert kinds == ["teacher", "student", "eval"]
    assert plan.stages[plan.trials[0].stages[2]].inputs == {"student": plan.trials[0].stages[1]}


def test_what_decides_a_task_changes_its_digest_and_nothing_else_does():
    files = TaskSource(files={"train.py": "1"})

    def digest(text: str, source: TaskSource = files) -> str:
        study = parse(text, where="s.toml")
        context = PlanContext(
            numerics=numerics_class(Numerics(), "cpu"), fingerprints=(),
            code_epoch=lambda **_: 2, task_source=lambda task: source,
        )  # fmt: skip
        return build(expand(study), context).trials[0].stages[0]

    first = digest(STUDY)
    apart = [
        STUDY.replace("lr = 0.1", "lr = 0.2"),
        STUDY.replace('"--lr", ', ""),
        STUDY.replace("[task.config]\n", '[task.env]\nX = "1"\n[task.config]\n'),
        STUDY.replace('csv = "m.csv"', 'csv = "n.csv"'),
        STUDY.replace('csv = "m.csv"', 'csv = "m.csv"\ntake = "max"'),
    ]
    assert len({first, *map(digest, apart)}) == len(apart) + 1
    for source in (
        TaskSource(files={"train.py": "2"}),
        TaskSource(files={"train.py": "1"}, inputs={"data": "1"}),
        TaskSource(files={"train.py": "1"}, python="3.12.0"),
    ):
        assert digest(STUDY, source) != first
    for same in (
        STUDY.replace('unit = "%"', 'unit = "points"'),
        STUDY.replace("[task]\n", '[task]\nlimit = "2 h"\nsteps = 9\n'),
        STUDY.replace('name = "s"', 'name = "other"'),
        STUDY.replace("dropout = 0.0", "dropout = 0.1"),
    ):
        assert digest(same) == first


KNOWN = {"seed": "3", "folder": "/run", "study_folder": "/study", "device": "cpu", "config": "/c"}
CONFIG = {"lr": 1e-05, "name": "a b", "mixup": True, "off": False, "sizes": [1, 2], "m": {"d": 2}}


def test_placeholders_are_filled_word_by_word_without_a_shell():
    made = task(["run", "{lr}", "x={name};rm -rf", "{m.d}", "{{seed}}", "{seed}"], config=CONFIG)

    found = words(made, KNOWN, str)

    assert found == ["run", "1e-05", "x=a b;rm -rf", "2", "{seed}", "3"]


def test_all_arguments_and_overrides_stand_for_several_words():
    made = task(["run", "{args}"], config=CONFIG)
    assert words(made, KNOWN, str) == [
        "run", "--lr", "1e-05", "--name", "a b", "--mixup", "--sizes", "1", "2", "--m.d", "2"
    ]  # fmt: skip
    hydra = words(task(["run", "{overrides}"], config=CONFIG), KNOWN, str)
    assert hydra[1:] == [
        "lr=1e-05", 'name="a b"', "mixup=true", "off=false", "sizes=[1, 2]", "m.d=2"
    ]  # fmt: skip


PLAIN = st.recursive(
    st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=("Cs",)), max_size=12),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=6),
                      inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.from_regex(r"\A[a-z_]{1,8}\Z"), PLAIN, max_size=5))
def test_the_config_file_says_the_same_in_every_format(config):
    import yaml

    config = {**config, "seed": 5}
    for name, read in (("json", json.loads), ("toml", tomllib.loads), ("yaml", yaml.safe_load)):
        made = Task.model_construct(config=config, config_file=name)
        text = config_text(made, 3)

        assert read(text) == config, (name, text)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_any_command_is_filled_or_refused_in_one_sentence(command):
    told = ""
    try:
        made = task(command, config=CONFIG)
    except ValueError as error:
        told = str(error)
    if told:
        is_odd = any("\0" in word for word in command)
        assert is_odd or "placeholder" in told or "stands for several words" in told
        return
    found = words(made, KNOWN, str)
    assert not any("\0" in word for word in command)
    assert len(found) == len(command) or "{args}" in command or "{overrides}" in command
    assert shlex.join(found)
    assert all(list(placeholders(word)) == [] for word in command if "{" not in word)
