"""A study that was run again, in part or in vain: every revision can be listed, shown, compared."""

import json
import math

import pytest

from icckd.cli.run import AddedSeeds, _check_goal
from icckd.errors import GateError
from icckd.results.query import open_results
from icckd.results.seeds import Goal
from icckd.study.load import parse
from tests.support.desk import Desk
from tests.support.lab import Lab, planned
from tests.support.studies import TWO_STAGES

GATE = "diff(no-cache, student.top1) < 0"


@pytest.fixture
def desk(lab: Lab, tmp_path) -> Desk:
    """A desk at which a study is complete, and a newer revision of one seed failed throughout."""
    with lab.finished("s1", planned(), revision="aaaa1111", ordinal=1) as whole:
        whole.train_all()
    plan = planned(seeds=(0,), salt="broken")
    plan = plan.model_copy(update={"study": {**plan.study, "data": {"folder": "gone"}}})
    with lab.finished("s2", plan, revision="bbbb2222", ordinal=2) as broken:
        for arm in plan.arms:
            broken.say(broken.stage(arm.name, 0), "failed", reason="the data folder is gone")
    return Desk(tmp_path)


def test_a_report_shows_the_newest_complete_revision_and_says_first_what_is_newer(desk):
    first, *rest = desk.run("report").stdout.splitlines()

    assert "Revision aaaa1111 of 2026-09-21, the newest complete one" in first
    assert "newer revision bbbb2222: 0 of 4 trials" in f"{first} {rest[0]}"
    assert any("12 of 12 trials complete" in line for line in rest)
    document = json.loads(desk.run("report", "--format", "json").stdout)
    assert (document["revision"], document["is_newest"]) == ("aaaa1111", False)
    assert [row["revision"] for row in document["newer_revisions"]] == ["bbbb2222"]
    assert "newer revision bbbb2222" in desk.run("report", "--format", "md").stdout


def test_any_revision_is_reported_by_the_beginning_of_its_name(desk):
    newest = desk.run("report", "--revision", "bbbb").stdout

    assert "revision bbbb2222: 4 arms x 1 seeds, 0 of 4 trials complete" in newest
    assert "complete revision is aaaa1111" in " ".join(newest.split())
    refused = desk.run("report", "--revision", "cccc", code=2).stderr
    assert "no revision 'cccc'" in refused
    assert "bbbb2222, aaaa1111" in refused


def test_status_shows_the_current_revision_and_the_list_has_them_all(desk):
    assert "revision bbbb2222" in desk.run("status").stdout
    assert "newest complete revision aaaa1111" in desk.run("ls").stdout
    listed = desk.run("ls", "icc-ablations").stdout
    assert listed.index("bbbb2222") < listed.index("aaaa1111")
    assert 'data: null -> {"folder": "gone"}' in listed
    assert "(what reports show)" in listed.splitlines()[-1]


def test_views_show_the_revision_that_reports_show_and_others_beside(desk):
    rows = desk.run("report", "--sql", "select revision, count(*) from trial group by all").stdout
    every = desk.run("report", "--sql", "select distinct revision from every_trial").stdout

    assert "aaaa1111" in rows
    assert "bbbb2222" not in rows
    assert "bbbb2222" in every


def test_arms_of_two_revisions_are_compared(desk):
    done = desk.run("compare", "icc-ablations@bbbb:full", "full").stdout

    assert "icc-ablations@bbbb2222:full" in done
    assert "icc-ablations:full" in done
    assert "newer revision bbbb2222: 0 of 4 trials" in done
    refused = desk.run("compare", "icc-ablations@cccc:full", "full", code=2).stderr
    assert "bbbb2222, aaaa1111" in refused


def test_a_gate_judges_the_newest_revision_only(desk):
    failed = desk.run("report", "--gate", GATE, code=6)
    assert "not known" in failed.stderr
    assert "bbbb2222" in failed.stderr
    assert "12 of 12 trials complete" in failed.stdout
    desk.run("report", "--revision", "aaaa", "--gate", GATE, code=2)


def test_a_newest_revision_that_is_complete_or_diverged_is_shown_and_judged(lab, tmp_path):
    with lab.finished("s1", planned(), revision="aaaa1111", ordinal=1) as whole:
        whole.train_all()
    plan = planned(seeds=(0, 1), salt="new")
    with lab.finished("s2", plan, revision="bbbb2222", ordinal=2) as newest:
        newest.train_all(skip=[("no-margin", 1)])
        newest.train(newest.stage("no-margin", 1), end="failed", until=2)
        newest.say(newest.stage("no-margin", 1, 1), "blocked", reason="its teacher failed")
    done = Desk(tmp_path).run("report", "--gate", GATE).stdout

    assert done.splitlines()[1].startswith("study icc-ablations, revision bbbb2222: 4 arms x 2")


def test_a_newest_revision_of_which_all_diverged_hides_no_complete_one(lab, tmp_path):
    with lab.finished("s1", planned(), revision="aaaa1111", ordinal=1) as whole:
        whole.train_all()
    plan = planned(seeds=(0,), salt="hot")
    with lab.finished("s2", plan, revision="bbbb2222", ordinal=2) as hot:
        for arm in plan.arms:
            hot.train(hot.stage(arm.name, 0), end="failed", until=1)
            hot.say(hot.stage(arm.name, 0, 1), "blocked", reason="its teacher failed")
    first = Desk(tmp_path).run("report").stdout

    assert "Revision aaaa1111 of" in first


def test_the_same_text_with_other_stages_is_a_revision_apart(lab):
    """Other source, data or device: results of both are there, and neither hides the other."""
    with lab.finished("s1", planned(seeds=(0,)), revision="aaaa1111", ordinal=1) as first:
        first.train_all()
    other = planned(seeds=(0,), salt="another training version")
    with lab.finished("s2", other, revision="aaaa1111", ordinal=2) as second:
        second.train_all(skip=[("no-cache", 0)])
    with lab.finished("s3", planned(seeds=(0,)), revision="aaaa1111", ordinal=3):
        pass
    with open_results(lab.folder) as results:
        found = [(each.revision, each.complete, each.is_newest) for each in results.revisions()]
        values = results.values(results.revision(None, "aaaa1111.2"), "student.top1")

    assert found == [("aaaa1111", 4, True), ("aaaa1111.2", 3, False)]
    assert "no-cache" not in values
    assert all(math.isfinite(value) for by_seed in values.values() for value in by_seed.values())


def test_a_goal_that_the_newest_revision_cannot_tell_is_not_known(desk, monkeypatch):
    monkeypatch.chdir(desk.folder)
    monkeypatch.delenv("ICCKD_HOME", raising=False)
    study = parse(TWO_STAGES.replace('"s"', '"icc-ablations"'), where="x")

    with pytest.raises(GateError, match="not known: 'decided'; the newest revision bbbb2222"):
        _check_goal(study, Goal(text="decided", condition=None), AddedSeeds(step=1), 1, {})
