"""du, archive and restore on a study that was really trained."""

import json
import shutil

import pytest

from icckd.journal.audit import audit
from icckd.journal.folder import StateFolder
from icckd.journal.room import read_room
from tests.support.desk import Desk
from tests.support.lab import planned


@pytest.fixture(scope="module")
def archived(finished, tmp_path_factory):
    """Another folder, into which the finished study was restored; its archive lies beside it."""
    home = tmp_path_factory.mktemp("restored")
    archive = home / "small.tar.zst"
    finished.archived = finished.run("archive", "small.toml", "-o", str(archive)).stdout
    made = Desk(home)
    made.write(made.small)
    made.restored = made.run("restore", str(archive))
    return made


def test_an_archive_says_what_is_in_it_and_restore_how_to_go_on(finished, archived):
    assert "small.tar.zst: small, " in finished.archived
    assert archived.restored.stdout.startswith("restored small: ")
    assert "next: icckd report small" in archived.restored.stderr


@pytest.mark.parametrize("kind", ["md", "json", "table", "html"])
def test_a_restored_study_has_the_same_report_byte_for_byte(finished, archived, kind):
    assert (
        archived.run("report", "--format", kind).stdout
        == finished.run("report", "--format", kind).stdout
    )


def test_a_restored_study_has_nothing_left_to_train_and_is_whole(archived):
    plan = archived.run("plan", "small.toml", "--device", "cpu").stdout

    assert "to train: 0 stages" in plan or "nothing to train" in plan
    assert audit(StateFolder(archived.state)).is_whole


def test_a_restored_study_is_never_put_over_itself(archived):
    error = archived.run("restore", "small.tar.zst", code=2).stderr

    assert "study small is in" in error
    assert "hint: restore it into another state folder" in error


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("archive", "nobody", "-o", "x.tar.zst"), 2, "there is no study 'nobody' in"),
        (("archive", "small", "-o", "no/such/x.tar.zst"), 4, "cannot write the archive"),
        (("archive", "small", "-o", "small.toml"), 2, "is there already, and nothing is over"),
        (("restore", "nothing.tar.zst"), 2, "cannot read nothing.tar.zst: No such file"),
        (("restore", "small.toml"), 2, "it is no zstd file, or a damaged one"),
        (("restore", "."), 2, "cannot read .: Is a directory"),
        (("du", "nobody"), 2, "there is no study 'nobody' here"),
    ],
)
def test_what_cannot_be_done_is_one_clear_error(archived, words, code, told):
    error = archived.run(*words, code=code).stderr

    assert told in error
    assert error.count("\n") == 2


def test_du_tells_the_bytes_of_a_study_and_of_the_folder(finished):
    table = finished.run("du").stdout.splitlines()
    said = json.loads(finished.run("du", "--format", "json").stdout)
    one = json.loads(finished.run("du", "small", "--format", "json").stdout)

    assert table[0].split() == ["study", "journals", "artifacts", "checkpoints", "in", "all"]
    assert table[1].split()[0] == "small"
    assert one == {"studies": said["studies"]}
    [row] = said["studies"]
    assert row["artifacts"] > row["journals"] > 0
    assert row["bytes"] == row["journals"] + row["artifacts"] + row["checkpoints"]
    database = finished.state / "icckd.duckdb"
    assert said["database"] == database.stat().st_size
    files = [path for path in finished.state.rglob("*") if path.is_file()]
    assert said["bytes"] == sum(path.stat().st_size for path in files)


def test_results_only_leaves_the_models_out(finished, tmp_path):
    done = finished.run("archive", "small", "-o", str(tmp_path / "x"), "--results-only")
    other = Desk(tmp_path)

    other.run("restore", "x")

    assert "results only" in done.stdout
    assert not list(other.state.rglob("*.safetensors"))
    assert other.run("report").stdout == finished.run("report").stdout
    shutil.rmtree(other.state)


def test_ls_tells_last_run_trials_verdicts_and_size_of_each_study(lab, monkeypatch, tmp_path):
    with lab.finished("s1", planned(seeds=range(5)), study="large", ordinal=1) as first:
        first.train_all()
    with lab.finished("s2", planned(seeds=(0, 1), salt="x"), study="begun", ordinal=2) as second:
        second.train(second.stage("full", 0))
    desk = Desk(tmp_path, environment={"TZ": "UTC"})

    lines = desk.run("ls").stdout.splitlines()
    said = json.loads(desk.run("ls", "--format", "json").stdout)
    sorted_by = {
        key: [row["study"] for row in json.loads(
            desk.run("ls", "--format", "json", "--sort", key).stdout)]
        for key in ("planned", "last-run", "name", "trials", "size")
    }  # fmt: skip

    assert lines[0].split("  ")[0] == "study"
    assert "4 x 2" in lines[1]
    assert "8 pending of 8" in lines[1]
    assert "2 undecided" in lines[1]
    assert "20 complete of 20" in lines[2]
    assert "2 helps" in lines[2]
    assert sorted_by == {
        "planned": ["begun", "large"], "last-run": ["begun", "large"], "name": ["begun", "large"],
        "trials": ["large", "begun"], "size": ["large", "begun"],
    }  # fmt: skip
    assert said[1]["verdicts"] == {"helps": 2}
    assert said[1]["trials"]["complete"] == said[1]["trials"]["total"] == 20
    sizes = {row.studies: row.bytes for row in read_room(lab.folder, None).studies}
    assert [row["bytes"] for row in said] == [sizes["begun",], sizes["large",]]
    assert said[0]["last_run"] > said[1]["last_run"] > said[1]["planned"]
