"""Designs give the arms they promise, and an arm differs only in what it declares."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icckd.errors import SpecError
from icckd.study.arms import arms, expand, level_labels, outcome_columns
from icckd.study.load import parse

HEAD = '[study]\nname = "s"\nbaseline = "{baseline}"\nseeds = {{ count = 2 }}\n{more}\n'
FACTORS = """
[[factor]]
name = "margin"
path = "teacher.intra.margin"
levels = [{ threshold = 0.5 }, "off"]
[[factor]]
name = "cache"
path = "teacher.intra.cache"
levels = [{ per_class = 64 }, "off"]
"""


def study(body: str, baseline: str = "full", more: str = ""):
    """Return a study whose teacher has the intra-class loss unless the text tells the teacher."""
    body += "" if "[teacher" in body + more else "\n[teacher.intra]\n"
    return parse(HEAD.format(baseline=baseline, more=more) + body, where="x.toml")


def names(body: str, baseline: str = "full", more: str = "") -> list[str]:
    return [arm.name for arm in arms(study(body, baseline, more))]


def refusal(body: str, baseline: str = "full", more: str = "") -> str:
    with pytest.raises(SpecError) as caught:
        arms(study(body, baseline, more))
    return caught.value.message


FULL = '[[arm]]\nname = "full"\n'


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("leave-one-out", ["base", "margin=off", "cache=off"]),
        ("one-at-a-time", ["base", "margin=off", "cache=off"]),
        ("factorial", ["base", "cache=off", "margin=off", "margin=off+cache=off"]),
        ("zip", ["base", "margin=off+cache=off"]),
        ("path", ["base", "margin=off", "margin=off+cache=off"]),
    ],
)
def test_each_design_gives_its_arms_in_a_stable_order(design, expected):
    assert names(FACTORS, "base", f'design = "{design}"') == expected


def test_one_at_a_time_takes_every_level():
    levels = (
        FACTORS
        + '[[factor]]\nname = "w"\npath = "teacher.intra.weight"\nlevels = [0.02, 0.1, 1.0]\n'
    )

    assert names(levels, "base", 'design = "one-at-a-time"')[-2:] == ["w=0.1", "w=1.0"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.train", "300"),
        ("data.split_seed", "7"),
        ("data.augment.flip", "true"),  # digits are shifted by a pixel, and stay so
        ("teacher.model.widths", "[8, 16, 32]"),
        ("student.model.widths", "[8, 16, 32]"),
        ("student.distiller.temperature", "2.0"),
    ],
)
def test_an_arm_sets_one_thing_of_a_table_that_the_study_leaves_to_its_default(path, value):
    other = f'[[arm]]\nname = "other"\nset = {{ "{path}" = {value} }}\n'

    [_, arm] = arms(study(FULL + other))

    assert [change.path for change in arm.changes] == [path]


def test_leave_one_out_needs_a_part_and_its_off_state():
    weights = '[[factor]]\nname = "w"\npath = "teacher.intra.weight"\nlevels = [0.02, 0.1]\n'

    assert "leave-one-out" in refusal(weights, "base", 'design = "leave-one-out"')


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_factorial_has_every_combination_once_and_its_baseline_first(sizes):
    paths = [
        "teacher.training.momentum", "student.training.momentum",
        "teacher.training.weight_decay", "student.training.weight_decay",
    ]  # fmt: skip
    body = "".join(
        f'[[factor]]\nname = "f{i}"\npath = "{path}"\nlevels = {[j / 10 for j in range(size)]}\n'
        for i, (path, size) in enumerate(zip(paths, sizes, strict=False))
    )
    found = expand(study(body, "base", 'design = "factorial"'))

    product = 1
    for size in sizes:
        product *= size
    assert len(set(found.methods.values())) == len(found.arms) == product
    assert len({tuple(arm.levels.items()) for arm in found.arms}) == product
    assert found.arms[0].role == "baseline"
    assert found.arms[0].changes == ()


def test_an_arm_carries_its_level_of_every_factor():
    found = {arm.name: arm.levels for arm in arms(study(FACTORS, "base", 'design = "factorial"'))}

    assert found["base"] == {"margin": "threshold.0.5", "cache": "per_class.64"}
    assert found["margin=off"] == {**found["base"], "margin": "off"}


def test_levels_whose_labels_would_be_equal_are_numbered_and_keys_may_come_in_any_order():
    assert level_labels(["A b", "a-b", 1]) == ["a-b", "a-b#2", "1"]
    assert level_labels([{"b": 1, "a": {"d": 2, "c": 3}}]) == level_labels(
        [{"a": {"c": 3, "d": 2}, "b": 1}]
    )


def test_forbid_leaves_a_combination_out():
    more = 'design = "factorial"\nforbid = [{ margin = "off", cache = "off" }]'

    assert names(FACTORS, "base", more) == ["base", "cache=off", "margin=off"]


def test_when_varies_a_factor_only_beside_the_level_it_names():
    body = FACTORS + 'when = { margin = "off" }\n'

    assert names(body, "base", 'design = "factorial"') == [
        "base", "margin=off", "margin=off+cache=off",
    ]  # fmt: skip


def test_forbid_and_when_name_factors_only():
    forbid = 'design = "factorial"\nforbid = [{ cache = "off", margim = "off" }]'
    when = FACTORS + 'when = { margim = "off" }\n'

    assert refusal(FACTORS, "base", forbid) == (
        "study.forbid[0] names 'margim', which is not a factor"
    )
    assert refusal(when, "base", 'design = "factorial"') == (
        "factor 'cache': when names 'margim', which is not a factor"
    )


def test_zip_needs_equally_many_levels():
    body = FACTORS + '[[factor]]\nname = "w"\npath = "teacher.intra.weight"\nlevels = [1.0]\n'

    assert "equally many" in refusal(body, "base", 'design = "zip"')


def test_factors_need_a_design_and_a_design_needs_factors():
    assert "2 factors" in refusal(FULL + FACTORS)
    assert "0 factors" in refusal(FULL, more='design = "factorial"')


def test_remove_sets_a_part_to_its_off_state_and_replace_yields_an_arm_per_option():
    body = FULL + (
        '[[ablation]]\nname = "R"\narm = "no-cache"\npart = "teacher.intra.cache"\n'
        'action = "REMOVE"\n'
        '[[ablation]]\nname = "W"\narm = "w"\npart = "teacher.intra.weight"\naction = "REPLACE"\n'
        "replacement = [0.1, 0.2]\n"
    )
    design = expand(study(body))
    found = design.methods

    assert list(found) == ["full", "no-cache", "w=0.1", "w=0.2"]
    assert found["no-cache"].teacher.intra.cache == "off"
    assert found["w=0.2"].teacher.intra.weight == 0.2
    assert [arm.role for arm in design.arms[1:]] == ["ablation"] * 3
    assert all(not arm.levels for arm in design.arms)


def test_add_puts_a_part_into_a_baseline_that_lacks_it():
    body = FULL + (
        '[teacher.intra]\ncache = "off"\n[[ablation]]\nname = "A"\narm = "cache"\n'
        'part = "teacher.intra.cache"\naction = "ADD"\nreplacement = [{ per_class = 8 }]\n'
    )
    design = expand(study(body))
    [_, added] = design.arms

    assert design.methods["cache"].teacher.intra.cache.per_class == 8
    assert [change.before for change in added.changes] == ["off"]


def test_a_part_without_an_off_state_cannot_be_removed():
    body = FULL + (
        '[[ablation]]\nname = "R"\narm = "x"\npart = "teacher.intra.weight"\naction = "REMOVE"\n'
    )

    assert "no off-state" in refusal(body)


def test_an_undeclared_difference_from_the_baseline_is_refused():
    body = FULL + '[[arm]]\nname = "tuned"\nset = { "teacher.training.lr" = 0.1 }\n'

    message = refusal(body, baseline="tuned")

    assert "'full'" in message
    assert "teacher.training.lr" in message


def test_a_declared_setting_that_changes_nothing_is_refused():
    body = FULL + '[[arm]]\nname = "x"\nset = { "teacher.intra.weight" = 0.02 }\n'

    assert "the value that baseline" in refusal(body)


def test_arms_with_equal_settings_are_refused():
    body = FULL + (
        '[[arm]]\nname = "a"\nset = { "teacher.intra.weight" = 1.0 }\n'
        '[[arm]]\nname = "b"\nset = { "teacher.intra.weight" = 1.0 }\n'
    )

    assert "same settings" in refusal(body)


def test_two_arms_of_one_name_are_refused():
    assert "defined twice" in refusal(FULL + FULL)


def test_a_baseline_that_is_no_arm_is_refused():
    assert "is not an arm" in refusal(FULL, baseline="ful")


def test_setting_inside_a_part_that_is_off_is_refused():
    body = FULL + (
        '[teacher.intra]\ncache = "off"\n'
        '[[arm]]\nname = "x"\nset = { "teacher.intra.cache.per_class" = 4 }\n'
    )

    assert "not a table" in refusal(body)


def test_an_unknown_setting_in_an_arm_names_the_arm():
    message = refusal(FULL + '[[arm]]\nname = "x"\nset = { "teacher.intra.wait" = 4 }\n')

    assert "arm 'x'" in message
    assert "teacher.intra.wait" in message


def test_several_changed_parts_make_a_combination_and_control_for_a_control():
    body = FULL + (
        '[[arm]]\nname = "no-cache"\nset = { "teacher.intra.cache" = "off" }\n'
        '[[arm]]\nname = "both"\n'
        'set = { "teacher.intra.cache" = "off", "teacher.intra.margin" = "off" }\n'
        '[[arm]]\nname = "matched"\ncontrol_for = "no-cache"\n'
        'set = { "teacher.intra.cache" = "off", "teacher.intra.weight" = 0.05 }\n'
    )
    roles = {arm.name: arm.role for arm in arms(study(body))}

    assert roles == {
        "full": "baseline", "no-cache": "variant", "matched": "control", "both": "combination",
    }  # fmt: skip
    assert list(roles)[2] == "matched"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('primary = "student.top"', "unknown metric 'student.top'"),
        ('family = ["x"]', "study.family names 'x'"),
        (
            'metrics = ["student.subclass_soft"]\n[data]\nkind = "digits"\nlabels = "fine"',
            "sub-classes",
        ),
        ('metrics = ["teacher.superclass_linear_soft"]', "super-classes"),
        ('metrics = ["student.top5"]', "more than 5 classes, digits has 5 here"),
        ('metrics = ["teacher.agreement"]', "unknown metric 'teacher.agreement'"),
    ],
)
def test_unknown_references_are_refused(more, words):
    assert words in refusal(FULL, more=more)


@pytest.mark.parametrize(
    "more",
    [
        'metrics = ["teacher.superclass_linear_soft", "student.top5"]\n'
        '[data]\nkind = "digits"\nlabels = "fine"',
        'metrics = ["student.top5"]\n[data]\nkind = "image-folder"\nfolder = "birds"',
        'metrics = ["student.subclass_linear_soft", "student.agreement"]',
    ],
)
def test_metrics_that_the_labels_can_give_are_accepted(more):
    assert arms(study(FULL, more=more))


def test_the_labels_that_count_are_those_of_the_baseline():
    body = FULL.replace(
        'name = "full"', 'name = "full"\nset = { "data.kind" = "digits", "data.labels" = "fine" }'
    )

    assert "sub-classes" in refusal(body, more='metrics = ["student.subclass_soft"]')


def test_a_control_for_nothing_is_refused():
    body = FULL + '[[arm]]\nname = "x"\ncontrol_for = "y"\nset = { "teacher.intra.weight" = 1.0 }\n'

    assert "control_for = 'y'" in refusal(body)


def test_trials_come_seed_by_seed_with_the_baseline_first():
    body = FULL + '[[arm]]\nname = "x"\nset = { "teacher.intra.weight" = 1.0 }\n'

    assert [(t.arm, t.seed) for t in expand(study(body)).trials] == [
        ("full", 0), ("x", 0), ("full", 1), ("x", 1),
    ]  # fmt: skip


def test_the_primary_metric_is_the_first_column_and_none_comes_twice():
    body = FULL + (
        '[[ablation]]\nname = "R"\narm = "x"\npart = "teacher.intra.cache"\naction = "REMOVE"\n'
        'metrics = ["teacher.top1", "student.top1"]\n'
    )
    found = outcome_columns(study(body, more='metrics = ["teacher.seconds", "teacher.top1"]'))

    assert found == ("student.top1", "teacher.seconds", "teacher.top1")


def test_changes_are_json_values():
    body = FULL + '[[arm]]\nname = "x"\nset = { "teacher.intra" = "off" }\n'
    [_, arm] = arms(study(body))

    json.dumps([change.before for change in arm.changes])


def test_an_arm_that_changes_weight_or_temperature_shows_the_effective_strength():
    body = FULL + (
        '[[arm]]\nname = "x"\nset = { "teacher.intra.temperature" = 0.4 }\n'
        '[[arm]]\nname = "y"\nset = { "teacher.intra.cache" = "off" }\n'
        '[[arm]]\nname = "z"\nset = { "teacher.intra" = "off" }\n'
    )
    shown = {
        arm.name: [(c.before, c.after) for c in arm.changes if "/" in c.path]
        for arm in arms(study(body))
    }

    assert shown == {"full": [], "x": [(0.2, 0.05)], "y": [], "z": []}


def test_both_views_in_cross_entropy_may_not_be_mixed_with_another_part():
    alone = '[[arm]]\nname = "x"\nset = { "teacher.views_in_ce" = 2 }\n'
    mixed = alone.replace("= 2 }", '= 2, "teacher.intra.cache" = "off" }')
    single = (
        '[[arm]]\nname = "x"\n'
        'set = { "teacher.views" = 1, "teacher.views_in_ce" = 1, "teacher.intra" = "off" }\n'
    )

    assert names(FULL + alone) == ["full", "x"]
    assert names(FULL + single, more="[teacher]\nviews_in_ce = 2\nintra = {}\n") == ["full", "x"]
    assert "teacher.views_in_ce" in refusal(FULL + mixed)


@pytest.mark.parametrize(
    ("part", "action", "replacement"),
    [
        ("teacher.supcon", "ADD", "[{ weight = 0.1 }]"),
        ("teacher.label_smoothing", "ADD", "[0.1]"),
        ("teacher.training.stop_epoch", "ADD", "[10]"),
        ("teacher.intra.head", "ADD", "[{ features = 128 }]"),
        ("teacher.intra.centering", "ADD", '[{ kind = "class-mean" }]'),
        ("teacher.intra.normalize", "ADD", '["log-negatives"]'),
        ("teacher.intra.reduction", "REPLACE", '["anchors"]'),
        ("teacher.intra.cache.mode", "REPLACE", '["reencode"]'),
        ("teacher.sampler", "ADD", "[{ classes = 4, per_class = 16 }]"),
        ("teacher.intra.margin", "REMOVE", None),
    ],
)
def test_the_parts_of_the_teacher_are_parts_of_ablations(part, action, replacement):
    more = "" if replacement is None else f"replacement = {replacement}\n"
    body = f'[[ablation]]\nname = "A"\narm = "x"\npart = "{part}"\naction = "{action}"\n{more}'
    [_, arm] = arms(study(FULL + body))

    assert arm.action == action
    assert arm.changes[0].path.startswith(part)


@pytest.mark.parametrize("part", ["supcon", "intra.head", "intra.centering", "intra.normalize"])
def test_a_part_that_the_baseline_has_can_be_removed(part):
    on = {
        "supcon": "{ weight = 0.1 }", "intra.head": "{ features = 8 }",
        "intra.centering": '{ kind = "batch-mean" }', "intra.normalize": '"log-negatives"',
    }[part]  # fmt: skip
    body = (
        f"[teacher]\n{part} = {on}\n"
        + FULL
        + (f'[[ablation]]\nname = "A"\narm = "x"\npart = "teacher.{part}"\naction = "REMOVE"\n')
    )
    [_, arm] = arms(study(body))

    assert [(change.path, change.after) for change in arm.changes] == [(f"teacher.{part}", "off")]
