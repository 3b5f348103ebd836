"""fsck says of every damage where it is, and changes nothing unless asked."""

import json
import shutil

import duckdb
import pytest

from icckd.cli import upkeep
from icckd.errors import MachineError
from icckd.journal.file import decode, encode
from icckd.journal.folder import JOURNAL
from icckd.journal.owner import owner_lock
from icckd.results.fsck import check, repair
from icckd.results.store import Store
from tests.support.lab import SHA, WEIGHTS, planned
from tests.support.lanes import slow_but
from tests.support.rows import FACTS, contents, in_memory

ROWS = [table for table in FACTS if table != "journal"]


@pytest.fixture
def study(lab):
    """A finished study with its artifacts, and a database up to date."""
    with lab.finished("s1", planned(seeds=(0,))) as session:
        session.train_all()
    for home in lab.folder.attempts.iterdir():
        stage = json.loads((home / JOURNAL).read_bytes().splitlines()[0])["stage"]
        path = lab.folder.artifacts / stage
        path.mkdir()
        (path / "model.safetensors").write_bytes(WEIGHTS)
        manifest = {"stage": stage, "files": {"model.safetensors": SHA}, "bytes": len(WEIGHTS)}
        (path / "manifest.json").write_text(json.dumps(manifest))
    with owner_lock(lab.folder), Store.open_file(lab.folder) as store:
        store.ingest()
    return lab.folder


def first(folder):
    return sorted(folder.iterdir())[0]


def edit(path, change):
    path.write_bytes(change(path.read_bytes()))


def without_line(number):
    def change(data):
        lines = data.splitlines(keepends=True)
        return b"".join(lines[:number] + lines[number + 1 :])

    return change


def with_wrong_count(data):
    *lines, last = data.splitlines(keepends=True)
    line = decode(last[:-1])
    body = {**line.body, "count": line.body["count"] - 1}
    return b"".join(lines) + encode(line.kind, line.sequence, line.time, body)


def in_database(sql):
    def damage(study):
        with duckdb.connect(study.database) as connection:
            connection.execute(sql)

    return damage


UNFINISHED = "c" * 64
DAMAGE = {
    "1 damaged lines": lambda s: edit(
        first(s.attempts) / JOURNAL, lambda data: data.replace(b'"epoch":2', b'"epoch":3')
    ),
    "1 lines missing": lambda s: edit(first(s.attempts) / JOURNAL, without_line(2)),
    "wrong count": lambda s: edit(first(s.attempts) / JOURNAL, with_wrong_count),
    "no header": lambda s: edit(first(s.attempts) / JOURNAL, without_line(0)),
    "header of another journal": lambda s: first(s.attempts).rename(s.attempts / "copied"),
    "lines after the closing one": lambda s: edit(
        first(s.attempts) / JOURNAL, lambda data: data + data.splitlines(keepends=True)[3]
    ),
    "5 bytes after the closing line": lambda s: edit(
        first(s.attempts) / JOURNAL, lambda data: data + b"extra"
    ),
    "no readable journal": lambda s: (first(s.attempts) / JOURNAL).unlink(),
    "its session s1 has no journal": lambda s: shutil.rmtree(s.sessions / "s1"),
    "damaged: model.safetensors": lambda s: edit(
        first(s.artifacts) / "model.safetensors", lambda data: data[:-1] + b"?"
    ),
    "missing or has no manifest": lambda s: (first(s.artifacts) / "manifest.json").unlink(),
    "trains that stage again": lambda s: shutil.rmtree(first(s.artifacts)),
    "no attempt here published it": lambda s: shutil.copytree(
        first(s.artifacts), s.artifacts / ("e" * 64)
    ),
    "an attempt was preparing it": lambda s: (s.artifacts / ".tmp-abc").mkdir(),
    "a request that no session answered": lambda s: (s.requests / "x.json").write_text("{}"),
    "the stage is complete": lambda s: (
        s.checkpoints / first(s.artifacts).name / "epoch-000001"
    ).mkdir(parents=True),
    "an attempt was writing it": lambda s: (s.checkpoints / UNFINISHED / ".a").mkdir(parents=True),
    "damaged; its stage does without it": lambda s: (
        s.checkpoints / UNFINISHED / "epoch-000002"
    ).mkdir(parents=True),
    "table metric holds 1 rows": in_database("insert into metric values ('a', 1, 'm', 2.0)"),
    "table metric lacks 1 rows": in_database(
        "delete from metric where rowid = (select max(rowid) from metric)"
    ),
    "cannot be read": lambda s: s.database.write_bytes(b"noise" * 5000),
}
QUICK = ("1 damaged lines", "no readable journal", "damaged: model.safetensors",
         "a request that no session answered", "table metric lacks 1 rows")  # fmt: skip
"""One of each kind of file."""
LASTING = ("damaged lines", "lines missing", "wrong count", "no header", "header of", "closing",
           "no readable", "its session")  # fmt: skip


def test_a_whole_folder_is_proven_so(study):
    found = check(study)

    assert found.is_whole
    assert found.findings == []
    assert (found.journals, found.artifacts) == (9, 8)
    assert found.lines == sum(p.read_bytes().count(b"\n") for p in study.journals())


@pytest.mark.parametrize("words", slow_but(DAMAGE, *QUICK))
def test_every_damage_is_named_and_what_can_be_mended_is(study, words):
    DAMAGE[words](study)
    before = {p: p.read_bytes() for p in study.root.rglob("*") if p.is_file()}

    found = check(study)

    assert not found.is_whole
    assert any(words in f.text for f in found.findings), found.findings
    assert {p: p.read_bytes() for p in study.root.rglob("*") if p.is_file()} == before
    repair(study, found)
    again = check(study)
    if any(words.endswith(lasting) or lasting in words for lasting in LASTING):
        assert not again.is_whole, "what a journal lost stays lost, and fsck goes on saying so"
    else:
        assert [f for f in again.findings if f.verdict == "damaged"] == []
    with owner_lock(study), Store.open_file(study) as store, in_memory(study) as whole:
        store.ingest()
        assert contents(store, ROWS) == contents(whole, ROWS)


def test_an_open_journal_a_torn_line_and_a_database_behind_are_notes_only(study, lab):
    plan = planned(seeds=(0,))
    session = lab.session("s2", plan)
    lost = session.train(session.stage("full", 0), until=1, end=None)
    edit(study.attempts / lost / JOURNAL, lambda data: data + b'{"v":1,"k":"m"')
    session.end()

    found = check(study)

    assert found.is_whole
    texts = [f.text for f in found.findings]
    assert any("not closed" in text and "14 bytes" in text for text in texts)
    assert any("behind the journals" in text for text in texts)


def test_nothing_is_mended_under_a_running_session(study):
    shutil.rmtree(first(study.artifacts))
    with owner_lock(study):
        found = check(study)
        with pytest.raises(MachineError, match="in use"):
            repair(study, found)

    assert "the database is not compared" in found.findings[-1].text


def test_a_damaged_artifact_goes_to_quarantine_so_that_its_stage_is_trained_again(study):
    victim = first(study.artifacts)
    edit(victim / "model.safetensors", lambda data: b"?" + data[1:])

    repair(study, check(study))

    assert not victim.exists()
    assert (study.quarantine / f"{victim.name}-1" / "model.safetensors").exists()


def test_a_long_look_says_how_far_it_is(lab, study, monkeypatch, capsys):
    told = []
    found = check(lab.folder, lambda *said: told.append(said))

    journals = [said for said in told if said[0] == "journals"]
    assert journals == [("journals", n, found.journals) for n in range(found.journals)]
    assert [said[0] for said in told][-1] == "database"

    tell = upkeep._tell_progress()
    tell("journals", 1, 2000)
    assert capsys.readouterr().err == ""  # nothing before some seconds have gone
    monkeypatch.setattr(upkeep, "PROGRESS_SECONDS", 0.0)
    tell("journals", 1500, 2000)
    assert capsys.readouterr().err == "icckd: looking at journals: 1,500 of 2,000\n"
