"""A table whose stages were made by other versions of torch, or on other devices, says so."""

import pytest

from icckd.results.bits import (
    Bits,
    FinishedStage,
    bits_of,
    mixed_bits,
    mixed_note,
    stages_to_retrain,
)
from icckd.results.query import open_results
from tests.support.lab import planned

OLD, NEW = Bits(torch="2.11.0", device="A CPU"), Bits(torch="2.12.0", device="A CPU")


def finished(stage, bits, *inputs, ordinal=0):
    return FinishedStage(
        stage=stage, bits=bits, inputs=dict.fromkeys(inputs and ("teacher",), "".join(inputs)),
        ordinal=ordinal,
    )  # fmt: skip


def test_the_device_is_the_one_told_else_that_of_its_type():
    environment = {"torch": "2.12.0", "cpu": "A CPU", "gpus": "H200, H200"}

    assert bits_of({"device": "cpu"}, environment) == NEW
    assert bits_of({"device": "cuda"}, environment) == Bits(torch="2.12.0", device="H200")
    told = {**environment, "gpus": "H200, A100", "device": "A100"}
    assert bits_of({"device": "cuda"}, told) == Bits(torch="2.12.0", device="A100")


def test_stages_of_one_value_or_of_unknown_ones_are_no_mixture():
    unknown = Bits(torch="", device="")

    assert mixed_bits([finished("a", OLD), finished("b", OLD), finished("c", unknown)]) == {}
    assert mixed_note({}) == ""


def test_a_mixture_is_counted_and_told_with_its_remedy():
    counts = mixed_bits([finished("a", NEW), finished("b", OLD), finished("c", OLD)])

    assert list(counts.items()) == [(OLD, 2), (NEW, 1)]
    note = mixed_note(counts)
    assert "2 stages by torch 2.11.0 on A CPU; 1 stage by torch 2.12.0 on A CPU" in note
    assert "--retrain-mixed" in note


def test_what_the_newest_attempt_did_not_make_is_trained_again_with_what_read_it():
    stages = [
        finished("teacher", OLD, ordinal=1),
        finished("student", NEW, "teacher", ordinal=5),
        finished("other teacher", NEW, ordinal=3),
        finished("other student", NEW, "other teacher", ordinal=4),
        finished("elsewhere", OLD, ordinal=9),
    ]
    by_digest = {each.stage: each for each in stages}
    wanted = [*by_digest][:4]

    assert stages_to_retrain([*wanted, "missing"], by_digest) == {"teacher", "student"}
    assert stages_to_retrain(["other teacher", "other student"], by_digest) == frozenset()


@pytest.mark.parametrize("versions", [("2.11.0",), ("2.11.0", "2.12.0")])
def test_a_studys_mixture_is_read_from_its_attempts(lab, versions):
    plan = planned(seeds=(0, 1))
    with lab.finished("s1", plan) as session:
        header = session._header

        def told(stage, name, *pack):
            version = versions[stage.seed % len(versions)]
            environment = {"torch": version, "cpu": "A CPU", "gpus": ""}
            return header(stage, name, *pack).model_copy(update={"environment": environment})

        session._header = told
        session.train_all()
    with open_results(lab.folder) as results:
        found = results.mixed_bits(results.study())
        again = stages_to_retrain(
            [stage.digest for stage in plan.stages], results.finished_stages()
        )

    expected = {Bits(torch=version, device="A CPU"): 8 for version in versions}
    assert found == (expected if len(versions) > 1 else {})
    assert len(again) == (8 if len(versions) > 1 else 0)
