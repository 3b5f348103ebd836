"""Verbs that answer: report to files, gates, diff, compare, sql; and seeds added until a goal."""

import json
import re
import shutil

import duckdb
import pytest

from icckd.cli import sql as sql_console
from icckd.journal.file import encode, read_chunk
from icckd.results.sandbox import Fence
from tests.support.junit import cases, read_junit


def test_a_report_goes_to_a_file_with_its_provenance_beside_it(finished, tmp_path):
    for name, start in (
        ("r.md", "## "),
        ("r.tex", "% "),
        ("r.html", "<!doctype"),
        ("r.txt", "Does"),
    ):
        finished.run("report", "-o", str(tmp_path / name))
        assert (tmp_path / name).read_text().startswith(start)
    document = json.loads((tmp_path / "r.md.provenance.json").read_text())

    assert len(document["stages"]) == 8
    assert document["sessions"][0]["arguments"][:2] == ["run", "small.toml"]
    assert document["spec"]["study"]["name"] == "small"


def test_parquet_needs_a_file(finished, tmp_path):
    assert "needs a file" in finished.run("report", "--format", "parquet", code=2).stderr
    finished.run("report", "-o", str(tmp_path / "c.parquet"))

    assert duckdb.sql(f"select count(*) from '{tmp_path}/c.parquet'").fetchall() == [(8,)]


def test_a_file_that_cannot_be_written_is_one_clear_error(finished):
    done = finished.run("report", "-o", "/proc/none/x.md", code=4)

    assert done.stderr.startswith("icckd: cannot write /proc/none/x.md")


def test_gates_decide_the_exit_code_after_the_report(finished):
    held = finished.run("report", "--gate", "diff(no-cache, student.top1) > -100")
    failed = finished.run(
        "report", "--gate", "n(no-cache) >= 2", "--gate", "diff(no-cache) > 100", code=6
    )

    assert failed.stdout == held.stdout
    assert "diff(no-cache) > 100' does not hold" in failed.stderr
    assert "n(no-cache)" not in failed.stderr
    finished.run("report", "--gate", "nonsense", code=2)


def test_gates_are_test_cases_in_junit_and_the_exit_code_stays(finished, tmp_path):
    file = tmp_path / "icckd.xml"
    gates = ["--gate", "n(no-cache) >= 2", "--gate", "diff(no-cache) > 100"]
    failed = finished.run("report", "-o", str(file), *gates, code=6)
    held = finished.run("report", "--format", "junit", "--gate", "n(no-cache) >= 2")

    found = cases(read_junit(file.read_text()), "gates")
    assert [case.find("failure") is None for case in found.values()] == [True, False]
    failure = found["diff(no-cache) > 100"].find("failure")
    assert failure.text in failure.get("message")
    assert failure.get("message").removesuffix(f"; {failure.text}") in failed.stderr
    assert list(cases(read_junit(held.stdout), "gates")) == ["n(no-cache) >= 2"]


@pytest.mark.slow
def test_figures_come_with_their_provenance(finished, tmp_path):
    finished.run("report", "--figures", str(tmp_path / "figures"))
    names = {path.name for path in (tmp_path / "figures").iterdir()}

    assert "curves-teacher.val_top1.png" in names
    assert "cost.svg" not in names  # stages in packs have no seconds
    assert "forest.pdf" not in names  # two seeds have no interval
    assert len([name for name in names if name.endswith(".provenance.json")]) == 1


def test_diff_explains_two_arms_and_two_trials(finished):
    arms = finished.run("diff", "full", "no-cache").stdout
    trials = finished.run("diff", "full/0", "small:no-cache/1").stdout

    assert re.search(r'^  teacher\.intra\.cache: \{.*"per_class": 64.*\} -> "off"$', arms, re.M)
    assert "the same data, numerics and training version" in arms
    assert "teacher: 0 shared, 2 only of the first, 2 only of the second" in arms
    assert re.search(r"teacher\.cache_bytes \(KiB\) +85.04 .* +0.00 .* -85.04", arms)
    assert "teacher: 0 shared, 1 only of the first, 1 only of the second" in trials
    assert "none differ" in finished.run("diff", "full", "full").stdout
    assert "'no-cache'" in finished.run("diff", "full", "no-cash", code=2).stderr


def test_compare_sets_any_arms_against_the_first(finished):
    text = finished.run("compare", "full", "no-cache", "--metric", "teacher.cache_bytes").stdout

    assert re.search(r"small:no-cache +0\.00 ± 0\.00 \(2\) +-85\.04 \[no interval yet\]", text)
    assert "were not declared beforehand" in text
    assert "one arm" in finished.run("compare", "full", code=2).stderr


def test_sql_answers_one_statement_and_exports_every_view(finished, tmp_path):
    one = finished.run("sql", "select count(*) as n from lineage", "--format", "json").stdout
    files = finished.run("sql", "--export", str(tmp_path), "--as", "csv").stdout.split()

    assert json.loads(one) == [{"n": 8}]
    assert {"trial.csv", "memory.csv", "lineage.csv"} <= {path.name for path in tmp_path.iterdir()}
    assert len(files) == len(list(tmp_path.iterdir()))
    assert (tmp_path / "trial.csv").read_text().count("\n") == 5
    assert "SQL" in finished.run("sql", "drop table metric", code=2).stderr


def test_the_console_answers_completes_and_remembers(finished, monkeypatch, capsys):
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    monkeypatch.setenv("ICCKD_HOME", str(finished.state))
    typed = (
        "select seed\n from trial where arm = 'full' order by 1;\n"
        "drop table metric;\n.nothing\n.describe paired_difference\n.views\n.quit\n"
    )
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text(typed.replace("\n", "\r"))
        sql_console._console()
    out = capsys.readouterr().out

    assert re.search(r"seed\n-+\n0\n1\n", out)
    assert "cannot be run here" in out
    assert "there is no command .nothing" in out
    assert re.search(r"^difference +DOUBLE", out, re.M)
    assert "Grain: (study, arm, seed, kind)." in out
    with Fence(finished.state) as fence:
        session = sql_console._session(finished.state / "sql_history", sql_console._words(fence))
    found = session.completer.get_completions(Document("from paired_"), CompleteEvent())
    assert [completion.text for completion in found] == ["paired_difference"]
    history = finished.state / "sql_history"
    assert "drop table metric" in history.read_text()
    assert history.stat().st_mode == (finished.state / "owner.lock").stat().st_mode
    history.unlink()
    history.mkdir()  # as a folder of somebody else, it cannot be written
    sql_console._session(history, ())
    assert f"statements are not kept: {history}" in capsys.readouterr().err
    history.rmdir()


def rule(text):
    return "confidence sequence" in " ".join(text.split())


@pytest.mark.slow
def test_added_seeds_are_the_extension_and_later_ones_are_looks_without_end(desk):
    desk.write(desk.small.replace("count = 2", "count = 3"))
    plan = desk.run("plan", "small.toml").stdout
    assert "fewer than 6 pairs give no verdict" in plan
    desk.train("run", "small.toml", "--seeds", "0:1")
    assert "first look at a study that declares one extension" in words(desk.run("report").stdout)

    done = desk.train("run", "small.toml", "--add-seeds", "1")

    assert "the study's one extension: 1 more; fewer than 4 decide nothing" in done.stderr
    assert "2 arms x 2 seeds" in done.stdout
    told = desk.run("report").stdout
    assert "The study's one extension, seed 1, was tested by itself" in words(told)
    assert not rule(told)
    plan = desk.run("plan", "small.toml").stdout
    assert "what 3 paired seeds can tell on student.top1" in plan
    assert "by the rule for repeated looks" in plan


@pytest.mark.slow
def test_a_study_without_an_extension_goes_on_with_looks_without_end(desk, finished):
    shutil.copytree(finished.state, desk.state)
    for journal in desk.state.glob("sessions/*/journal.jsonl"):  # as if it had been declared then
        declare(journal, rule="fixed")
    (desk.state / "icckd.duckdb").unlink()
    desk.write(desk.small.replace("[study]", '[study]\nextension = "none"'))
    assert "first look" not in words(desk.run("report").stdout)

    done = desk.train("run", "small.toml", "--add-seeds", "1")

    assert "from here on the rule for looks without end" in done.stderr
    told = desk.run("report").stdout
    assert rule(told)
    assert "seed 2 came after results had been seen" in words(told)
    assert "at 0.01" in words(told)


def declare(journal, **fields):
    """Write a session's journal anew with other fields of its plan."""
    lines = read_chunk(journal).lines
    journal.write_bytes(
        b"".join(
            encode(n.kind, n.sequence, n.time, {**n.body, **(fields if n.kind == "p" else {})})
            for n in lines
        )
    )


def test_methods_and_threats_are_made_from_the_study(finished):
    methods = words(finished.run("report", "--section", "methods").stdout)
    threats = finished.run("report", "--section", "threats").stdout

    for said in (
        "Data: digits, labels coarse, split seed 0, train 450", "test set of 1,000 images",
        "seeds 0-1", "equal seeds are pairs", "first look", "one question", "corrected by Holm",
        "The teacher (cnn (widths [16, 32, 64])) was trained for 2 epochs", "torch", "fingerprint",
        "teacher.intra.cache = off instead of",
    ):  # fmt: skip
        assert said in methods, said
    assert "None" not in methods
    assert "null" not in methods
    assert all(line.startswith(("- ", "  ")) for line in threats.splitlines())
    for said in ("one split", "no evidence of no effect", "No control of equal strength stands"):
        assert said in words(threats), said


def words(text):
    return " ".join(text.split())


@pytest.mark.slow
def test_until_adds_seeds_up_to_its_limit_and_exits_6_without_the_goal(desk, finished):
    shutil.copytree(finished.state, desk.state)
    desk.write(desk.small.replace('"teacher.top1"', '"teacher.nll"'))
    goal = "halfwidth(teacher.nll) < 1e-9"
    done = desk.train(
        "run", "small.toml", "--until", goal, "--max-seeds", "3", "--add-seeds", "1", code=6
    )

    assert "continuing with 3 seeds" in done.stderr
    assert "does not hold with the 3 seeds allowed" in done.stderr
    assert rule(desk.run("report").stdout)
    again = desk.run("run", "small.toml", "--until", goal, "--max-seeds", "4", code=2)
    assert re.search(r"takes .* seeds.* at the spread of .* seen so far", again.stderr)
    assert "to train" not in again.stderr  # said before anything is trained


@pytest.mark.slow
def test_a_goal_of_what_packed_stages_do_not_measure_ends_with_the_first_seeds(desk, finished):
    shutil.copytree(finished.state, desk.state)
    desk.write(desk.small.replace('"teacher.top1"', '"teacher.seconds"'))
    goal = ("--until", "halfwidth(teacher.seconds) < 1", "--max-seeds", "9")
    done = desk.train("run", "small.toml", *goal, code=6)

    assert "no number of seeds reaches" in done.stderr
    assert 'numerics.packing = "off"' in " ".join(done.stderr.split())
    assert "continuing with" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--until", "halfwidth(student.top1) < 1"), "--max-seeds"),
        (("--until", "diff(no-cache) > 1", "--max-seeds", "4"), "for precision"),
        (("--until", "decided", "--max-seeds", "4"), "smallest_effect"),
        (("--max-seeds", "4"), "go with --until"),
    ],
)
def test_goals_that_make_no_sense_are_refused_before_anything_is_trained(desk, arguments, words):
    assert words in desk.run("run", "small.toml", *arguments, code=2).stderr
    assert not desk.state.exists()


@pytest.mark.long
def test_a_hopeless_arm_is_given_no_more_seeds_and_the_report_says_so(desk):
    text = desk.small.replace("count = 2", "count = 5")
    text = text.replace("epochs = 2", "epochs = 6", 1).replace("epochs = 2", "epochs = 8")
    text = text.replace("[study]", '[study]\nfamily = ["bad", "no-cache"]\nsmallest_effect = 2.0')
    desk.write(f'{text}[[arm]]\nname = "bad"\nset = {{ "student.training.lr" = 0.0001 }}\n')
    done = desk.train(
        "run", "small.toml", "--until", "halfwidth(student.top1) < 3", "--max-seeds", "30",
        "--add-seeds", "3", "--stop-hopeless",
    )  # fmt: skip

    assert "bad is worse than full beyond doubt" in done.stderr
    assert "bad was given no more seeds after the first 5" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_trained_trials_are_read_back_by_tensorboard_with_what_they_trained_with(
    finished, tmp_path
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    said = finished.run("export", "tensorboard", "small", "-o", str(tmp_path / "out")).stdout
    query = "select epoch, value from curve where metric = 'student.val_top1'"
    where = "and arm = 'no-cache' and seed = 1 order by epoch"
    rows = json.loads(finished.run("sql", f"{query} {where}", "--format", "json").stdout)
    events = EventAccumulator(str(tmp_path / "out" / "small" / "no-cache" / "1")).Reload()
    content = events.PluginTagToContent("hparams")[metadata.SESSION_START_INFO_TAG]
    settings = metadata.parse_session_start_info_plugin_data(content).hparams

    assert "wrote 4 runs of small" in said
    assert [(e.step, e.value) for e in events.Scalars("student.val_top1")] == [
        (row["epoch"], pytest.approx(row["value"], rel=1e-6)) for row in rows
    ]
    assert len(rows) == 2
    assert settings["teacher.intra.cache"].string_value == "off"
    assert settings["teacher.training.epochs"].number_value == 2
    again = finished.run("export", "tensorboard", "-o", str(tmp_path / "out"), code=2)
    assert "is not empty" in again.stderr
    assert "lightning" in finished.run("export", "lightning", "-o", "x", code=2).stderr
