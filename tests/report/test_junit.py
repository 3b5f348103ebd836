"""The report as JUnit XML: what passes, fails and is skipped, and in which form."""

import io

from icckd.report.document import build_document
from icckd.report.gates import judge_gates
from icckd.report.junit import write_junit
from icckd.results.query import open_results
from icckd.results.seeds import parse
from tests.support.junit import cases, read_junit
from tests.support.lab import planned
from tests.support.reports import report


def junit(results, *conditions):
    study = results.study()
    gates = judge_gates(results, study, [parse(text, study) for text in conditions])
    out = io.StringIO()
    write_junit(build_document(results, study, gates), out)
    return read_junit(out.getvalue())


def test_a_gate_that_fails_says_what_the_comparison_came_to(results):
    root = junit(results, "n(no-margin) >= 2", "diff(no-margin, student.top1) > 100")
    found = cases(root, "gates")

    assert list(found) == ["n(no-margin) >= 2", "diff(no-margin, student.top1) > 100"]
    assert found["n(no-margin) >= 2"].find("failure") is None
    failure = found["diff(no-margin, student.top1) > 100"].find("failure")
    row = next(
        row
        for row in results.comparisons(results.study())
        if (row.arm, row.metric) == ("no-margin", "student.top1")
    )
    assert f"does not hold: it is {row.difference:.4g}" in failure.get("message")
    assert "no-margin" in failure.text
    assert failure.text in failure.get("message")


def test_without_gates_there_are_the_questions_alone(results):
    root = junit(results)

    assert [suite.get("name") for suite in root] == ["icckd questions of icc-ablations"]


def test_every_primary_question_is_a_case_that_is_skipped_unless_it_is_decided(results):
    study = results.study()
    rows = {(row.arm, row.metric): row for row in results.comparisons(study)}
    found = cases(junit(results), "questions")

    assert set(found) == {f"{q.arm}: {q.metric}" for q in study.questions}
    for question in study.questions:
        case = found[f"{question.arm}: {question.metric}"]
        is_decided = rows[question.arm, question.metric].verdict in ("helps", "hurts", "equivalent")
        assert (case.find("skipped") is None) == is_decided


def test_a_question_with_a_verdict_passes_with_its_answer(lab):
    with lab.finished("s1", planned(seeds=range(8))) as session:
        session.train_all()
    with open_results(lab.folder) as results:
        study = results.study()
        verdicts = {
            f"{row.arm}: {row.metric}": row.verdict
            for row in results.comparisons(study)
            if row.metric == study.primary
        }
        root = junit(results)
    decided = [name for name, verdict in verdicts.items() if verdict not in ("", "undecided")]

    assert decided
    for name, case in cases(root, "questions").items():
        assert (case.find("skipped") is None) == (name in decided)
    assert f"{decided[0]}: " in root[0].find("system-out").text


def test_gates_of_an_incomplete_revision_fail_as_not_known(lab):
    with lab.finished("s1", planned()) as session:
        session.train_all(skip=[("no-margin", 1)])
    with open_results(lab.folder) as results:
        [case] = cases(junit(results, "diff(no-margin) > -100"), "gates").values()

    assert "not known" in case.find("failure").get("message")
    assert "incomplete" in case.find("failure").get("message")


def test_names_that_break_xml_do_not(lab):
    evil = "a<b>&\"'\x00\x1b[31m\ufffe\ud800]]> \u202e"
    plan = planned()
    study = {**plan.study, "study": {**plan.study["study"], "question": evil}}
    with lab.finished("s1", plan.model_copy(update={"study": study})) as session:
        session.train_all()
    with open_results(lab.folder) as results:
        root = read_junit(report(results, "junit"))

    question = root.find(".//property[@name='question']").get("value")
    assert question.startswith("a<b>&\"'")
    assert not set(question) & set("\x00\x1b\ufffe\u202e")
