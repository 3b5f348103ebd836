"""Verbs that look: plan, report, status, ls, show, logs."""

import csv
import io
import json
import re

import pytest
from typer.testing import CliRunner

from icckd.cli.main import app
from icckd.journal.folder import StateFolder
from icckd.results.query import open_results


def test_the_plan_shows_arms_differences_sharing_and_what_is_known(desk):
    plan = desk.run("plan", "small.toml", "student.distiller.temperature=2.0").stdout

    assert "2 arms x 2 seeds = 4 trials" in plan
    assert (
        'teacher.intra.cache: {"per_class": 64, "warmup_epochs": 1, "mode": "fifo"} -> "off"'
        in plan
    )
    assert "4 teacher stages; 0 already complete" in plan
    assert "unknown" in plan
    assert not desk.state.exists()


def test_the_plan_of_a_finished_study_says_that_nothing_is_left(finished):
    plan = finished.run("plan", "small.toml").stdout

    assert "4 already complete" in plan
    assert "to train: 0 stages" in plan


def test_the_plan_estimates_from_earlier_stages_of_that_shape(finished):
    plan = finished.run("run", "small.toml", "-n", "--seeds", "0:9").stdout

    assert "to train: 28 stages" in plan
    assert re.search(r"time +about .* from earlier stages", plan)
    assert re.search(r"memory +not measured, as stages that are packed share a process", plan)
    assert re.search(r"disk +about ", plan)


def test_the_report_comes_in_every_format(finished):
    rows = json.loads(finished.run("report", "--format", "json").stdout)["comparisons"]
    table = list(csv.DictReader(io.StringIO(finished.run("report", "--format", "csv").stdout)))
    markdown = finished.run("report", "--format", "md").stdout

    assert {row["arm"] for row in rows} == {row["arm"] for row in table} == {"full", "no-cache"}
    assert {row["metric"] for row in table} >= {"student.top1", "teacher.cache_bytes"}
    assert "| no-cache" in markdown


def test_the_cache_bytes_are_exact(finished):
    rows = json.loads(finished.run("report", "--format", "json").stdout)["comparisons"]
    means = {row["arm"]: row["mean"] for row in rows if row["metric"] == "teacher.cache_bytes"}

    embeddings, ids, steps, pointers = 5 * 64 * 64 * 4, 5 * 64 * 8, 5 * 64 * 8, 5 * 8
    assert means == {"full": embeddings + ids + steps + pointers, "no-cache": 0}


def test_the_report_takes_the_study_by_name_by_file_or_not_at_all(finished):
    outputs = {finished.run("report", *a).stdout for a in ((), ("small",), ("small.toml",))}

    assert len(outputs) == 1


def test_views_are_listed_and_can_be_queried(finished):
    names = re.findall(r"^(\w+)", finished.run("report", "--sql", ".views").stdout, re.M)
    assert {"outcome", "curve", "comparison", "paired_difference", "trial"} <= set(names)

    with open_results(StateFolder(finished.state)) as results:
        for name in names:
            assert results.query(f"select * from {name} limit 3", rows=1000)[0].columns


def test_a_query_comes_in_every_format(finished):
    query = "select arm, count(*) as n from trial group by arm order by arm"
    as_json = json.loads(finished.run("report", "--sql", query, "--format", "json").stdout)
    as_csv = finished.run("report", "--sql", query, "--format", "csv").stdout

    assert as_json == [{"arm": "full", "n": 2}, {"arm": "no-cache", "n": 2}]
    assert as_csv.splitlines() == ["arm,n", "full,2", "no-cache,2"]
    assert "no-cache" in finished.run("report", "--sql", query).stdout
    assert "| no-cache" in finished.run("report", "--sql", query, "--format", "md").stdout


def test_status_and_ls_say_where_studies_stand(finished):
    status = finished.run("status").stdout

    assert "small" in status
    assert "4 complete" in status
    assert "small" in finished.run("ls").stdout


def test_show_tells_all_about_an_arm_and_a_trial(finished):
    arm = finished.run("show", "no-cache").stdout
    trial = finished.run("show", "no-cache/1").stdout

    assert "teacher.intra.cache" in arm
    assert "torch" in trial
    assert "student.top1" in trial
    assert "complete" in trial


def test_logs_follow_a_trial_until_interrupted(finished):
    assert "full" in finished.run("logs").stdout
    assert "no-cache" not in finished.run("logs", "full/0").stdout


@pytest.mark.slow
def test_verbs_do_in_a_process_of_their_own_what_they_do_in_this_one(finished):
    for verb in ("report", "ls", "status"):
        assert finished.run_apart(verb).stdout == finished.run(verb).stdout
    refused = finished.run_apart("report", "smal")

    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == finished.run("report", "smal", code=2).stderr


def test_help_is_there_for_every_verb(desk):
    for command in app.registered_commands:
        done = CliRunner().invoke(app, [command.name, "--help"])
        assert done.exit_code == 0
        assert f"icckd {command.name}" in done.output
    assert re.match(r"icckd \d", desk.run("--version").stdout)


def test_output_that_nobody_reads_to_the_end_is_no_error(finished):
    process = finished.start("report")
    process.stdout.close()

    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()
