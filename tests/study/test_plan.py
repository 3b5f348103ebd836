"""A stage is identified by what it reads, and by nothing else (design law 6)."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from icckd.errors import MachineError, SpecError
from icckd.run.prepare import make_plan
from icckd.study.load import load, parse
from icckd.study.model import Method
from icckd.study.numerics import numerics_class
from icckd.study.packing import ON_CUDA, in_pack
from icckd.study.plan import _Template, canonical, digest_of
from icckd.study.source import StageSource
from icckd.study.training import Numerics
from icckd.train.contract import code_epoch
from tests.support.plans import plan_of

ROOT = Path(__file__).parents[2]
BODY = """
[study]
name = "{name}"
baseline = "full"
seeds = {{ count = 2 }}
students_per_teacher = {students}
[data]
kind = "digits"
[teacher.intra]
[[arm]]
name = "full"
[[arm]]
name = "hot"
set = {{ "student.distiller.temperature" = 8.0 }}
[[arm]]
name = "no-cache"
set = {{ "teacher.intra.cache" = "off" }}
"""


def small(name="s", students=1, *overrides):
    return parse(BODY.format(name=name, students=students), where="x", overrides=overrides)


def test_a_teacher_is_shared_by_arms_that_change_only_the_student():
    plan = plan_of(small())
    kinds = [stage.kind for stage in plan.stages.values()]

    assert kinds.count("teacher") == 2 * 2
    assert kinds.count("student") == 3 * 2


def test_inputs_come_before_the_stages_that_read_them():
    seen = set()
    for digest, stage in plan_of(small()).stages.items():
        assert set(stage.inputs.values()) <= seen
        seen.add(digest)


def test_students_per_teacher_gives_each_replicate_a_stage_of_its_own():
    plan = plan_of(small(students=3))

    assert all(len(set(trial.stages[1:])) == 3 for trial in plan.trials)


def test_names_are_not_part_of_a_digest():
    assert set(plan_of(small("a")).stages) == set(plan_of(small("b")).stages)


def test_a_setting_written_out_at_its_default_changes_no_digest():
    explicit = small("s", 1, "teacher.intra.weight=0.02", "teacher.training.epochs=30")

    assert set(plan_of(explicit).stages) == set(plan_of(small()).stages)


def test_whatever_a_stage_reads_changes_its_digest():
    reference = set(plan_of(small()).stages)

    for other in (
        plan_of(small(), device="cuda"),
        plan_of(small(), code_epoch=lambda **numerics: 7),
        plan_of(small(), fingerprint="0" * 64),
        plan_of(small("s", 1, "numerics.threads=2")),
        plan_of(small("s", 1, "data.split_seed=1")),
        plan_of(small("s", 1, "study.seeds.first=2")),
        plan_of(small("s", 1, "data.kind=cifar10")),
    ):
        assert not reference & set(other.stages)


def test_a_student_setting_leaves_its_teacher_alone():
    other = plan_of(small("s", 1, "student.training.epochs=3"))
    common = set(plan_of(small()).stages) & set(other.stages)

    assert {other.stages[digest].kind for digest in common} == {"teacher"}
    assert len(common) == 4


def test_a_code_epoch_belongs_to_a_class_of_numerics():
    """What changes on GPUs, under a compiler or in half precision leaves other stages alone."""
    plain = {"device": "cpu", "precision": "fp32", "compiled": False}
    others = [{"device": "cuda"}, {"precision": "bf16"}, {"compiled": True}]

    assert code_epoch(**plain) == 2
    assert {code_epoch(**{**plain, **other}) for other in others} == {3}
    compiled = plan_of(small("s", 1, "numerics.compile=on"))
    assert {stage.code_epoch for stage in compiled.stages.values()} == {3}
    assert {stage.code_epoch for stage in plan_of(small()).stages.values()} == {2}


def test_a_gpu_reads_images_channels_last_where_tensor_cores_do():
    layouts = {
        (device, precision): numerics_class(Numerics(precision=precision), device).layout
        for device, precision in [
            ("cpu", "fp32"), ("cpu", "bf16"), ("cuda", "fp32"),
            ("cuda", "tf32"), ("cuda", "bf16"), ("cuda", "fp16"),
        ]
    }  # fmt: skip

    assert [where for where, layout in layouts.items() if layout == "contiguous"] == [
        ("cuda", "fp32")
    ]


def test_threads_do_not_count_on_a_gpu():
    assert set(plan_of(small(), device="cuda").stages) == set(
        plan_of(small("s", 1, "numerics.threads=2"), device="cuda").stages
    )


def test_numerics_are_part_of_a_digest_and_their_defaults_are_not():
    reference = set(plan_of(small()).stages)

    for changed in ("precision=bf16", "compile=on", "deterministic=false"):
        assert not reference & set(plan_of(small("s", 1, f"numerics.{changed}")).stages)
    explicit = [f"numerics.{v}" for v in ("precision=fp32", "compile=off", "deterministic=true")]
    assert reference == set(plan_of(small("s", 1, *explicit)).stages)


@pytest.mark.parametrize(("precision", "why"), [("fp16", "loss scaling"), ("tf32", "only GPUs")])
def test_a_precision_that_a_cpu_lacks_is_refused_with_the_reason(precision, why):
    study = small("s", 1, f"numerics.precision={precision}")

    with pytest.raises(SpecError, match=why):
        plan_of(study)
    assert {s.numerics.precision for s in plan_of(study, "cuda").stages.values()} == {precision}


def test_packs_on_cuda_have_one_size_which_is_part_of_the_digest_and_auto_makes_none():
    auto = plan_of(small(), "cuda", packing="auto").stages
    packed = plan_of(small(), "cuda", packing="on").stages

    assert set(auto) == set(plan_of(small(), "cuda", packing="off").stages)
    assert not set(auto) & set(packed)
    for stage in packed.values():
        assert stage.numerics.identity()["replicas"] == stage.packing.unit == stage.packing.largest
        assert stage.numerics.layout == "channels-last"
    on_cpu = plan_of(small(), "cpu", packing="on").stages
    assert all("replicas" not in stage.numerics.identity() for stage in on_cpu.values())


def test_journals_tell_the_newest_fields_of_numerics_only_where_they_say_something():
    plain = numerics_class(Numerics(), "cpu")
    told = {"device", "threads", "layout", "precision", "compiled", "deterministic", "packed"}

    assert set(plain.told()) == told
    assert in_pack(numerics_class(Numerics(), "cuda")).told()["replicas"] == ON_CUDA
    assert numerics_class(Numerics(graphs="on"), "cuda").told()["captured"] is True


GRAPHS = "numerics.graphs=on"


def test_captured_steps_are_a_class_of_their_own_without_compiler_or_packs():
    plain = set(plan_of(small(), "cuda").stages)
    captured = plan_of(small("s", 1, GRAPHS), "cuda", packing="auto").stages

    assert not plain & set(captured)
    assert {s.numerics.identity()["captured"] for s in captured.values()} == {True}
    assert {s.numerics.settings().graphs for s in captured.values()} == {"on"}
    long = small("s", 1, GRAPHS, "numerics.compile=auto", "teacher.training.epochs=2000")
    assert not any(s.numerics.compiled for s in plan_of(long, "cuda").stages.values())
    assert set(plan_of(small("s", 1, "numerics.graphs=off"), "cuda").stages) == plain


def test_what_cannot_be_captured_is_refused_by_its_name():
    with pytest.raises(SpecError, match="not possible on a CPU"):
        plan_of(small("s", 1, GRAPHS))
    with pytest.raises(SpecError, match="exclude each other"):
        plan_of(small("s", 1, GRAPHS, "numerics.compile=on"), "cuda")
    with pytest.raises(SpecError, match="its step is to be captured"):
        plan_of(small("s", 1, GRAPHS), "cuda", packing="on")
    crd = '{ kind = "crd" }'
    both = f'{{ kind = "sum", terms = {{ a = {{ kind = "kd" }}, b = {crd} }} }}'
    for distiller in (crd, both):
        text = BODY.format(name="s", students=1).replace(
            'set = { "student.distiller.temperature" = 8.0 }',
            f'set = {{ "student.distiller" = {distiller} }}',
        )
        with pytest.raises(SpecError, match="distiller 'crd' draws its negatives on the host"):
            plan_of(parse(text, where="x", overrides=(GRAPHS,)), "cuda")


def test_auto_compiles_the_long_stages_on_cuda_and_no_other():
    def compiled(device, *overrides):
        study = small("s", 1, "numerics.compile=auto", *overrides)
        stages = plan_of(study, device).stages.values()
        return {stage.kind: stage.numerics.compiled for stage in stages}

    long = ("data.kind=cifar100", "teacher.training.epochs=240")
    assert compiled("cuda", *long) == {"teacher": True, "student": False}
    assert compiled("cpu", *long) == {"teacher": False, "student": False}
    assert compiled("cuda") == {"teacher": False, "student": False}


def test_arms_that_differ_in_strength_have_one_shape():
    weights = [plan_of(small("s", 1, f"teacher.intra.weight={w}")).stages for w in (0.02, 0.5)]
    shapes = [{stage.shape for stage in stages.values()} for stages in weights]

    assert shapes[0] == shapes[1]


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans()))
def test_key_order_does_not_matter_and_every_entry_does(content):
    backwards = dict(reversed(content.items()))

    assert digest_of(content) == digest_of(backwards)
    assert digest_of({**content, "one more": 1}) != digest_of(content)


def test_kind_is_kept_although_it_is_a_default():
    assert canonical(Method().data) == {"kind": "digits"}


def test_settings_of_a_stage_are_complete_and_survive_json():
    for stage in plan_of(small()).stages.values():
        method = Method.model_validate_json(json.dumps(stage.settings))
        assert canonical(method.data) == {"kind": "digits"}


def test_the_digests_of_the_shipped_study_change_only_on_purpose():
    """A changed default or identity shows here; then the training version must be raised."""
    study = load(ROOT / "studies" / "ablations.toml")
    plan = plan_of(study, packing="auto")
    golden = Path(__file__).with_name("shipped-digests.txt")

    assert "".join(f"{d}\n" for d in plan.stages) == golden.read_text()


ALONE = 'student.distiller="off"'


def test_a_student_alone_reads_no_teacher_and_is_shared_by_arms_that_differ_in_it():
    plan = plan_of(small("s", 1, ALONE).model_copy(update={"arm": small().arm[::2]}))
    students = [stage for stage in plan.stages.values() if stage.kind == "student"]

    assert len(plan.arms) == 2
    assert [(stage.inputs, stage.seed) for stage in students] == [({}, 0), ({}, 1)]
    assert plan.trials[0].stages[1:] == plan.trials[1].stages[1:]
    assert plan.trials[0].stages[0] != plan.trials[1].stages[0]


SUM = "student.distiller={{kind='sum',terms={{{}}}}}"


def sum_plan(terms):
    study = small("s", 1, SUM.format(terms))
    return plan_of(study.model_copy(update={"arm": study.arm[::2]}))


def test_a_term_that_is_off_and_the_order_of_terms_are_no_part_of_a_digest():
    plain = sum_plan("kd={kind='kd'},rkd={kind='rkd'}")

    assert set(sum_plan("rkd={kind='rkd'},kd={kind='kd'}").stages) == set(plain.stages)
    assert set(sum_plan("kd={kind='kd'},rkd={kind='rkd'},at='off'").stages) == set(plain.stages)
    assert set(sum_plan("kd={kind='kd'},rkd={kind='rkd',weight=2.0}").stages) != set(plain.stages)
    assert set(sum_plan("kd={kind='kd'},other={kind='rkd'}").stages) != set(plain.stages)


def test_stages_of_a_sum_survive_json():
    for stage in sum_plan("kd={kind='kd'},rkd={kind='rkd'},at='off'").stages.values():
        assert Method.model_validate_json(json.dumps(stage.settings)).model_dump(mode="json")


def test_users_of_a_shared_teacher_are_the_trials_that_need_it():
    plan = plan_of(small())
    teacher = plan.trials[0].stages[0]

    assert [trial.arm for trial in plan.users(teacher)] == ["full", "hot"]


def test_two_grounds_of_equal_content_give_equal_plans():
    study = small()
    plan = plan_of(study)

    assert plan_of(study) == plan
    assert replace(plan, trials=()) != plan


PRETRAINED = """
[study]
name = "pretrained"
baseline = "full"
seeds = { count = 1 }
[data]
kind = "cifar100"
[teacher]
model = { kind = "torchvision", name = "resnet18", weights = { file = "FILE", sha256 = "DIGEST" } }
[[arm]]
name = "full"
"""


def pretrained(file, digest):
    return parse(PRETRAINED.replace("FILE", file).replace("DIGEST", digest), where="x")


def test_weights_are_part_of_a_stage_by_their_digest_and_not_by_their_path():
    here = plan_of(pretrained("here.safetensors", "0" * 64))
    there = plan_of(pretrained("there.safetensors", "0" * 64))
    other = plan_of(pretrained("here.safetensors", "1" * 64))

    assert set(here.stages) == set(there.stages)
    assert set(here.stages) != set(other.stages)


def test_weights_that_are_missing_or_others_are_refused_before_anything_runs(tmp_path):
    file = tmp_path / "resnet18.safetensors"
    study = pretrained(str(file), "0" * 64)

    with pytest.raises(MachineError, match="cannot read the weights"):
        make_plan(study, device="cpu", root=tmp_path)
    file.write_bytes(b"not those")
    with pytest.raises(MachineError, match="not those of the study"):
        make_plan(study, device="cpu", root=tmp_path)


def test_a_stage_of_the_old_default_teacher_is_never_taken_for_one_of_the_new():
    """Until version 2 a teacher without a word on losses had the intra-class loss and two views.

    Settings at their default are no part of an identity: the training version tells them apart.
    """
    bare = """
[study]
name = "s"
baseline = "full"
seeds = { count = 1 }
[data]
kind = "digits"
[[arm]]
name = "full"
"""
    study = parse(bare, where="x")
    known = {"source": lambda *stage: StageSource()}
    then = next(iter(plan_of(study, code_epoch=lambda **numerics: 1, **known).stages))

    assert then.startswith("9970ec2d86a9fd8d")  # as that version planned it
    assert then not in plan_of(study, **known).stages
    assert (study.teacher.views, study.teacher.losses()) == (1, {})


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
SETTINGS = st.dictionaries(
    TEXTS, st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS)
)


@given(SETTINGS, st.integers(0, 2**31), st.integers(0, 9), st.lists(TEXTS, max_size=2))
@example({"a": "\0seed\0", "b": '"\\u0000inputs\\u0000"'}, 3, 1, ["x"])
def test_digests_made_from_a_template_are_those_of_the_whole_content(
    settings, seed, replicate, inputs
):
    content = {"kind": "student", "settings": settings, "fingerprint": "f", "a": 1, "z": None}
    template = _Template(content, ("inputs", "replicate", "seed"))

    own = {"inputs": inputs, "replicate": replicate, "seed": seed}
    assert template.digest(**own) == digest_of({**content, **own})


def test_settings_are_looked_at_once_an_arm_however_many_seeds_there_are(monkeypatch):
    calls = Counter()

    def counted(model):
        calls["canonical"] += 1
        return canonical(model)

    monkeypatch.setattr("icckd.study.plan.canonical", counted)
    found = {}
    for seeds in (2, 50):
        calls.clear()
        plan = plan_of(load(ROOT / "studies" / "ablations.toml", [f"study.seeds.count={seeds}"]))
        found[seeds] = calls["canonical"]
        assert len({id(s.settings) for s in plan.stages.values()}) <= 2 * len(plan.arms)
    assert found[2] == found[50]
