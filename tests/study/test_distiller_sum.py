"""Sums of distillers: what may stand in the file, and paths that lead into them."""

import json

import pytest

from icckd.errors import SpecError
from icckd.study.arms import arms
from icckd.study.distillers import DISTILLERS
from icckd.study.load import parse
from icckd.study.metrics import SERIES
from icckd.study.model import Method
from icckd.study.paths import keys_at, off_state

HEAD = """
[study]
name = "s"
baseline = "full"
seeds = { count = 1 }
[student.distiller]
kind = "sum"
ce_weight = 0.1
[student.distiller.terms]
kd = { kind = "kd" }
rkd = { kind = "rkd", weight = 0.5 }
[[arm]]
name = "full"
"""
SUM = 'student.distiller={{kind="sum",terms={{{}}}}}'


def problem(terms):
    with pytest.raises(SpecError) as caught:
        parse(HEAD, where="x.toml", overrides=[SUM.format(terms)])
    return caught.value


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ('kd={kind="kd",ce_weight=0.1}', "terms.kd.ce_weight: a sum has one cross-entropy"),
        ('kd={kind="kd",wait=1}', "unknown key 'student.distiller.terms.kd.wait'"),
        ('kd={kind="ks"}', "student.distiller.terms.kd.kind"),
        ('a={kind="sum",terms={}}', "student.distiller.terms.a.kind"),
        ('kd={temperature=2.0}', "student.distiller.terms.kd.kind"),
        ('ce={kind="kd"}', "called 'ce' as another metric is"),
        ('lr={kind="kd"}', "called 'lr' as another metric is"),
        ('top1={kind="kd"}', "called 'top1' as another metric is"),
        ('rkd={kind="kd"}', None),
        ('vid={kind="kd"}', "called 'vid' as another metric is"),
        ('a={kind="rkd"},a_angle={kind="kd"}', "called 'a_angle' as terms.a is"),
        ("", "terms"),
        ('"a.b"={kind="kd"}', "terms.a.b"),
        ('A={kind="kd"}', "terms.A"),
    ],
)  # fmt: skip
def test_a_sum_that_is_none_is_refused_where_it_stands(terms, words):
    if words is None:
        assert parse(HEAD, where="x", overrides=[SUM.format(terms)]).student.distiller.terms
    else:
        assert words in problem(terms).message


def test_paths_lead_to_terms_and_into_them():
    assert off_state(Method, "student.distiller")
    assert off_state(Method, "student.distiller.terms.rkd")
    assert off_state(Method, "student.distiller.terms.any_name")
    assert off_state(Method, "student.distiller.terms.kd.standardize")
    assert not off_state(Method, "student.distiller.terms.rkd.angle_weight")
    assert "angle_weight" in keys_at(Method, ("student", "distiller", "terms", "rkd"))
    with pytest.raises(SpecError, match="unknown key 'angle'"):
        off_state(Method, "student.distiller.terms.rkd.angle")


def test_terms_can_be_removed_replaced_added_and_set():
    study = parse(
        HEAD + """
[[ablation]]
name = "Remove RKD"
arm = "no-rkd"
part = "student.distiller.terms.rkd"
action = "REMOVE"
[[ablation]]
name = "Replace RKD"
arm = "instead"
part = "student.distiller.terms.rkd"
action = "REPLACE"
replacement = [{ kind = "pkt" }, { kind = "sp" }]
[[ablation]]
name = "Add attention"
arm = "attention"
part = "student.distiller.terms.at"
action = "ADD"
replacement = [{ kind = "at" }]
[[arm]]
name = "more-angle"
set = { "student.distiller.terms.rkd.angle_weight" = 100.0 }
""",
        where="x",
    )  # fmt: skip
    found = {arm.name: arm for arm in arms(study)}

    assert list(found) == [
        "full", "no-rkd", "instead=kind.pkt", "instead=kind.sp", "attention", "more-angle",
    ]  # fmt: skip
    removed = found["no-rkd"].changes
    assert [(c.path, c.after) for c in removed] == [("student.distiller.terms.rkd", "off")]
    assert found["more-angle"].changes[0].path == "student.distiller.terms.rkd.angle_weight"
    assert found["attention"].changes[0].before is None
    assert {arm.role for arm in found.values()} == {"baseline", "ablation", "variant"}


def test_terms_are_factors_and_take_overrides():
    study = parse(
        HEAD.replace('[[arm]]\nname = "full"\n', "").replace(
            'baseline = "full"', 'baseline = "base"\ndesign = "leave-one-out"'
        )
        + """
[[factor]]
name = "kd"
path = "student.distiller.terms.kd"
levels = [{ kind = "kd" }, "off"]
[[factor]]
name = "rkd"
path = "student.distiller.terms.rkd"
levels = [{ kind = "rkd" }, "off"]
""",
        where="x",
        overrides=["student.distiller.terms.kd.temperature=2.0"],
    )

    assert study.student.distiller.terms["kd"].temperature == 2.0
    assert [arm.name for arm in arms(study)] == ["base", "kd=off", "rkd=off"]


def test_a_sum_survives_json_without_the_weight_that_its_terms_do_not_have():
    method = parse(HEAD, where="x").method()
    dumped = method.model_dump_json()

    assert "ce_weight" not in json.loads(dumped)["student"]["distiller"]["terms"]["kd"]
    assert Method.model_validate_json(dumped) == method
    assert hash(Method.model_validate_json(dumped)) == hash(method)


def test_the_kinds_in_the_message_are_those_that_there_are():
    with pytest.raises(SpecError) as caught:
        parse(HEAD, where="x", overrides=['student.distiller={kind="ks"}'])

    assert f"valid: {', '.join(DISTILLERS)}" in caught.value.message


def test_every_term_of_every_method_has_a_catalogue_entry():
    from icckd.study.distillers import Term
    from icckd.study.paths import tables_in

    named = {
        f"student.{kind}{part}"
        for table in tables_in(Term)
        for kind in table.model_fields["kind"].annotation.__args__
        for part in (loss.suffix for loss in table.losses)
    }

    assert len(named) == 19
    assert named <= set(SERIES)
    assert set(tables_in(Term)) < {part.settings for part in DISTILLERS.parts()}
