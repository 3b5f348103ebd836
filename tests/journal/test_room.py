"""What takes how much room: every byte is counted once."""

from icckd.journal.room import read_room, size_of
from tests.support.lab import planned


def test_every_byte_is_counted_once_and_shared_ones_in_a_row_of_their_own(lab):
    with lab.finished("s1", planned(seeds=(0, 1)), ordinal=1) as first:
        first.train_all()
        own, shared = first.stage("full", 1), first.stage("full", 0)
    with lab.finished("s2", planned(seeds=(0, 2)), study="other", ordinal=2) as second:
        unfinished = second.stage("full", 2)
    nobody = "f" * 64
    for stage, size in ((own.digest, 1000), (shared.digest, 200), (nobody, 30)):
        (lab.folder.artifacts / stage).mkdir()
        (lab.folder.artifacts / stage / "model.safetensors").write_bytes(bytes(size))
    checkpoint = lab.folder.checkpoints / unfinished.digest / "epoch-000001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.safetensors").write_bytes(bytes(7))
    lab.folder.quarantine.mkdir()
    (lab.folder.quarantine / "icckd-1.duckdb").write_bytes(bytes(50))
    lab.folder.database.write_bytes(bytes(60))
    (lab.folder.root / "sql_history").write_text("select 1\n")
    (lab.folder.root / "link").symlink_to(lab.folder.database)

    room = read_room(lab.folder, lab.folder.quarantine)

    rows = {row.studies: row for row in room.studies}
    assert list(rows) == [("icc-ablations",), ("other",), ("icc-ablations", "other"), ()]
    assert [row.artifacts for row in rows.values()] == [1000, 0, 200, 30]
    assert [row.checkpoints for row in rows.values()] == [0, 7, 0, 0]
    of_seed_1 = [path for path in lab.folder.attempts.iterdir() if b'"seed":1,' in
                 (path / "journal.jsonl").read_bytes()]  # fmt: skip
    expected = size_of(lab.folder.sessions / "s1") + sum(map(size_of, of_seed_1))
    assert rows["icc-ablations",].journals == expected
    assert rows["icc-ablations", "other"].journals == sum(
        size_of(path) for path in lab.folder.attempts.iterdir() if path not in of_seed_1
    )
    assert (room.database, room.quarantine, room.cache) == (60, 50, 50)
    assert room.bytes == size_of(lab.folder.root)


def test_a_folder_that_holds_nothing_takes_nothing(lab):
    room = read_room(lab.folder, None)

    assert (room.studies, room.bytes, room.cache) == ((), 0, 0)
