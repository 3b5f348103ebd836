"""Archives of studies: the same bytes for the same content, and nothing of an unsound one."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.errors import MachineError, UsageError
from icckd.journal import archive as archives
from icckd.journal.archive import Member, restore_archive, write_archive
from icckd.journal.artifacts import publish, workspace
from icckd.journal.audit import audit
from icckd.journal.folder import StateFolder
from icckd.journal.owner import owner_lock
from icckd.results.query import open_results
from tests.support.lab import WEIGHTS, Lab, planned

STUDY = "icc-ablations"


def leave_artifacts(lab, session, *, without):
    """Give the complete stages of a session the artifacts that their attempts tell of."""
    for stage in session.plan.stages:
        if stage.digest not in without:
            prepared = workspace(lab.folder, "prepared")
            (prepared / "model.safetensors").write_bytes(WEIGHTS)
            publish(lab.folder, stage.digest, prepared)


def fill(lab):
    """Two studies that share the stages of one seed; one of each is not complete."""
    with lab.finished("s1", planned(seeds=(0, 1)), ordinal=1) as first:
        first.train_all(skip=[("full", 1)])
        unfinished = first.stage("full", 1)
        leave_artifacts(lab, first, without={unfinished.digest, first.stage("full", 1, 1).digest})
    lab.checkpoint = lab.folder.checkpoints / unfinished.digest / "epoch-000002"
    lab.checkpoint.mkdir(parents=True)
    (lab.checkpoint / "state.safetensors").write_bytes(b"half-way")
    (lab.checkpoint / "checkpoint.json").write_text("{}")
    (lab.checkpoint.parent / ".dead").mkdir()
    (lab.checkpoint.parent / ".dead" / "state.safetensors").write_bytes(b"torn")
    with lab.finished("s2", planned(seeds=(0,)), study="other", ordinal=2):
        pass
    log = next(lab.folder.attempts.iterdir()) / "output.log"
    log.write_text("hello\n")
    (lab.folder.sessions / "s1" / "code.json").write_text("{}")
    return lab


@pytest.fixture
def full(lab):
    return fill(lab)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The bytes of a small archive, and its tar file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        patch.setattr(os, "fdatasync", lambda file: None)
        made = fill(Lab(tmp_path_factory.mktemp("sound") / ".icckd"))
        out = made.folder.root.parent / "sound.tar.zst"
        write_archive(made.folder, STUDY, out, results_only=False)
        yield out.read_bytes(), zstd.decompress(out.read_bytes())


def tree(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("icckd.duckdb")
    }


def restored_from(data, *, large=False):
    """Restore bytes into a new folder; return what is there afterwards, and the error."""
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        file, folder = Path(home) / "x.tar.zst", StateFolder(Path(home) / "state")
        file.write_bytes(data)
        error = None
        try:
            restore_archive(folder, file, large=large)
        except (UsageError, MachineError) as refused:
            error = refused
        there = tree(folder.root) if folder.root.exists() else {}
        outside = sorted(path.name for path in Path(home).iterdir())
        assert set(outside) <= {"x.tar.zst", "state"}
        return {name: data for name, data in there.items() if name != "owner.lock"}, error


def test_a_restored_study_has_every_byte_that_is_needed_to_go_on_and_the_same_answers(
    full, tmp_path
):
    out, other = tmp_path / "x.tar.zst", StateFolder(tmp_path / "other")

    contents = write_archive(full.folder, STUDY, out, results_only=False)
    restore_archive(other, out)

    before, after = tree(full.folder.root), tree(other.root)
    kept = {name for name in before if not name.startswith((".", "owner", "sessions/s2"))}
    assert {name for name in after if not name.startswith(("restored", "owner"))} == kept - {
        f"checkpoints/{full.checkpoint.parent.name}/.dead/state.safetensors"
    }
    assert all(after[name] == before[name] for name in after if not name.startswith("restored"))
    assert [each.name for each in contents.members] == sorted(
        each.name for each in contents.members
    )
    with open_results(full.folder) as here, open_results(other) as there:
        assert [study.name for study in there.studies()] == [STUDY]
        study, again = here.study(STUDY), there.study(STUDY)
        assert study == again
        assert here.comparisons(study) == there.comparisons(again)
        assert here.trials(study) == there.trials(again)
    assert audit(other).is_whole


def test_an_archive_can_be_unpacked_by_any_tar(full, tmp_path):
    out = tmp_path / "x.tar.zst"
    contents = write_archive(full.folder, STUDY, out, results_only=False)

    with zstd.open(out) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
        found = {info.name: (info.size, info.isreg()) for info in tar}

    assert found.pop("manifest.json")[1]
    assert found == {each.name: (each.bytes, True) for each in contents.members}


def test_equal_content_gives_equal_bytes(full, tmp_path):
    copy = StateFolder(tmp_path / "copy")
    shutil.copytree(full.folder.root, copy.root)
    for folder, name in ((full.folder, "a"), (copy, "b")):
        write_archive(folder, STUDY, tmp_path / name, results_only=False)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_results_only_gives_the_same_answers_and_fsck_knows_what_was_left_out(full, tmp_path):
    out, other = tmp_path / "x.tar.zst", StateFolder(tmp_path / "other")

    write_archive(full.folder, STUDY, out, results_only=True)
    restore_archive(other, out)

    assert {name.split("/")[0] for name in tree(other.root)} == {
        "attempts", "sessions", "restored", "owner.lock",
    }  # fmt: skip
    with open_results(full.folder) as here, open_results(other) as there:
        study = here.study(STUDY)
        assert here.comparisons(study) == there.comparisons(there.study(STUDY))
    found = audit(other)
    assert found.is_whole
    assert "it was not in the archive" in found.findings[0].text


def test_a_study_that_shares_stages_brings_the_attempts_of_other_studies_sessions(full, tmp_path):
    out, other = tmp_path / "x.tar.zst", StateFolder(tmp_path / "other")

    contents = write_archive(full.folder, "other", out, results_only=False)
    restore_archive(other, out)

    assert contents.sessions_left_out == ("s1",)
    with open_results(other) as results:
        assert [(study.name, study.is_complete) for study in results.studies()] == [("other", True)]
    found = audit(other)
    assert found.is_whole
    assert any("is of another study" in finding.text for finding in found.findings)
    write_archive(full.folder, STUDY, tmp_path / "y", results_only=False)
    restore_archive(other, tmp_path / "y")  # what both share is there already, and stays
    with open_results(other) as results:
        assert {study.name for study in results.studies()} == {"other", STUDY}
    assert audit(other).is_whole


def test_what_is_there_is_never_replaced(full, tmp_path):
    out = tmp_path / "x.tar.zst"
    write_archive(full.folder, STUDY, out, results_only=False)
    before = tree(full.folder.root)

    with pytest.raises(UsageError, match=r"is in .* already"):
        restore_archive(full.folder, out)
    with pytest.raises(UsageError, match="is there already"):
        write_archive(full.folder, STUDY, out, results_only=False)
    assert tree(full.folder.root) == before

    other = StateFolder(tmp_path / "other")
    other.create()
    stage = next(full.folder.artifacts.iterdir())
    shutil.copytree(stage, other.artifacts / stage.name)
    (other.artifacts / stage.name / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="with another content"):
        restore_archive(other, out)
    assert list(other.sessions.iterdir()) == []


def test_a_study_whose_session_runs_and_a_folder_in_use_are_left_alone(full, tmp_path):
    out = tmp_path / "x.tar.zst"
    write_archive(full.folder, STUDY, out, results_only=False)
    full.session("s3", planned(seeds=(0,)), ordinal=3)

    with owner_lock(full.folder):
        with pytest.raises(MachineError, match="a session runs"):
            write_archive(full.folder, STUDY, tmp_path / "y", results_only=False)
        write_archive(full.folder, "other", tmp_path / "z", results_only=False)
        with pytest.raises(MachineError, match="is in use"):
            restore_archive(full.folder, out)
    assert not (tmp_path / "y").exists()


def test_a_damaged_artifact_is_not_archived(full, tmp_path):
    home = next(full.folder.artifacts.iterdir())
    (home / "model.safetensors").write_bytes(b"other weights")

    with pytest.raises(MachineError, match="is damaged"):
        write_archive(full.folder, STUDY, tmp_path / "x", results_only=False)
    assert [path.name for path in tmp_path.iterdir()] == [".icckd"]


# Hostile archives.


def packed(members, *, manifest=None, end=bytes(1024)):
    """Return an archive of members: name, header or None for the right one, content."""
    files = [
        Member(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, _, data in members
    ]
    contents = archives.Contents(
        study=STUDY, results_only=False, sessions_left_out=(), stages_left_out=(),
        members=tuple(files),
    )  # fmt: skip
    first = contents.manifest() if manifest is None else manifest
    tar = archives._header("manifest.json", len(first)) + archives._padded(first)
    for name, header, data in members:
        tar += header or archives._header(name, len(data))
        tar += archives._padded(data)
    return zstd.compress(tar + end)


def info(name, kind=tarfile.REGTYPE, **more):
    made = tarfile.TarInfo(name)
    made.type = kind
    for key, value in more.items():
        setattr(made, key, value)
    return made.tobuf(tarfile.PAX_FORMAT)


PLACE = f"artifacts/{'0' * 64}/x"
HEADERS = {
    "symbolic link": info(PLACE, tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": info(PLACE, tarfile.LNKTYPE, linkname=PLACE),
    "device": info(PLACE, tarfile.CHRTYPE, devmajor=1, devminor=3),
    "pipe": info(PLACE, tarfile.FIFOTYPE),
    "folder": info(PLACE, tarfile.DIRTYPE),
    "absolute path": info("/tmp/evil"),
    "path that leads out": info("../evil"),
    "sparse file": info(PLACE, tarfile.GNUTYPE_SPARSE),
    "larger than declared": info(PLACE, size=10_000_000_000),
    "set-user-id": info(PLACE, mode=0o4755),
    "no header at all": b"\xff" * 512,
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_member_that_is_no_plain_file_of_the_manifest_is_refused(what):
    there, error = restored_from(packed([(PLACE, HEADERS[what], b"")]))

    assert there == {}
    assert "is not a sound archive" in str(error)


NAMES = {
    "absolute": "/etc/passwd",
    "leads out": f"artifacts/{'0' * 64}/../../../evil",
    "ends in ..": f"artifacts/{'0' * 64}/..",
    "no digest": "artifacts/x/y",
    "double slash": f"artifacts/{'0' * 64}//x",
    "database": "icckd.duckdb",
    "lock": "locks/x.lock",
    "live status": "sessions/s/now.json",
    "hidden folder": "sessions/.s/journal.jsonl",
    "zero byte": f"artifacts/{'0' * 64}/a\0b",
    "long part": f"artifacts/{'0' * 64}/{'a' * 256}",
    "surrogate": f"artifacts/{'0' * 64}/\ud800",
}


@pytest.mark.parametrize("what", NAMES)
def test_a_path_that_no_archive_holds_is_refused(what):
    name = NAMES[what]
    header = info("x")
    there, error = restored_from(packed([(name, header, b"")]))

    assert there == {}
    assert "is not a sound archive" in str(error)
    assert str(error).isprintable()


def test_a_name_twice_a_file_as_folder_and_another_order_are_refused():
    for names in ((PLACE, PLACE), (f"{PLACE}2", f"{PLACE}1"), (PLACE, f"{PLACE}/y")):
        there, error = restored_from(packed([(name, None, b"") for name in names]))

        assert there == {}
        assert "its manifest cannot be read (a " in str(error)


def test_a_journal_of_another_study_or_name_is_refused(full, tmp_path):
    journal = (full.folder.sessions / "s2" / "journal.jsonl").read_bytes()
    attempt = next(full.folder.attempts.iterdir())
    for name, data in (
        ("sessions/s2/journal.jsonl", journal),
        ("attempts/other/journal.jsonl", (attempt / "journal.jsonl").read_bytes()),
        ("attempts/other/journal.jsonl", b"{}\n"),
    ):
        there, error = restored_from(packed([(name, None, data)]))

        assert there == {}
        assert "a journal that is not one of icc-ablations" in str(error)


def test_a_bomb_is_refused_before_it_grows_and_taken_only_on_demand(monkeypatch):
    monkeypatch.setattr(archives, "SMALL", 1 << 16)
    zeros = bytes(1 << 20)
    bomb = packed([(PLACE, None, zeros)])

    there, error = restored_from(bomb)
    assert (there, "would grow to" in str(error)) == ({}, True)
    there, error = restored_from(bomb, large=True)
    assert (error, len(there[PLACE])) == (None, len(zeros))


def test_what_grows_beyond_its_declared_size_is_not_decompressed(monkeypatch):
    declared = packed([(PLACE, None, b"short")], end=bytes(20 << 20))
    read = []
    stream = archives._Stream.read
    monkeypatch.setattr(
        archives._Stream, "read", lambda self, most: read.append(n := stream(self, most)) or n
    )

    there, error = restored_from(declared)

    assert there == {}
    assert "something follows its end" in str(error)
    assert sum(map(len, read)) < 1 << 16


def test_a_huge_manifest_or_one_that_is_none_is_refused():
    for manifest in (
        b" " * 10, b"[]", b"{}", b"[" * 100_000, json.dumps({"format": 2}).encode(),
        b'{"format":1,"study":"../x","results_only":false,"sessions_left_out":[],'
        b'"stages_left_out":[],"files":[]}',
    ):  # fmt: skip
        there, error = restored_from(packed([], manifest=manifest))
        assert there == {}
        assert "its manifest cannot be read" in str(error)
    header = info("manifest.json", size=1 << 40, mode=0o644)
    there, error = restored_from(zstd.compress(header + bytes(1 << 20)))
    assert (there, "does not begin with a manifest.json" in str(error)) == ({}, True)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_change_of_an_archive_goes_unseen(sound, data):
    compressed, tar = sound
    original = compressed
    how = data.draw(st.sampled_from(("flip", "cut", "append", "flip tar", "swap tar", "cut tar")))
    source = bytearray(tar if "tar" in how else compressed)
    at = data.draw(st.integers(0, len(source) - 1))
    if how.startswith("flip"):
        source[at] ^= data.draw(st.integers(1, 255))
    elif how.startswith("cut"):
        del source[at:]
    elif how == "swap tar":
        first, second = at // 512 * 512, data.draw(st.integers(0, len(tar) // 512 - 1)) * 512
        source[first : first + 512], source[second : second + 512] = (
            source[second : second + 512], source[first : first + 512],
        )  # fmt: skip
    else:
        source += data.draw(st.binary(min_size=1, max_size=600))
    changed = zstd.compress(bytes(source)) if "tar" in how else bytes(source)

    there, error = restored_from(changed)

    if error is not None:
        assert there == {}
        assert isinstance(error, UsageError)
        return
    expected, _ = restored_from(original)
    assert there == expected  # bits of a zstd frame that mean nothing, two equal blocks


@settings(max_examples=25, deadline=None)
@given(noise=st.binary(max_size=2000), is_zstd=st.booleans())
def test_noise_is_refused(noise, is_zstd):
    there, error = restored_from(zstd.compress(noise) if is_zstd else noise)

    assert there == {}
    assert isinstance(error, UsageError)


# Full disks, and processes that are killed.


def test_a_disk_without_room_is_told_before_and_meanwhile_and_nothing_is_left(
    full, tmp_path, monkeypatch
):
    out, other = tmp_path / "x.tar.zst", StateFolder(tmp_path / "other")
    write_archive(full.folder, STUDY, out, results_only=False)
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(10, 0, 10))
        with pytest.raises(MachineError, match="has 10 left"):
            restore_archive(other, out)
    for number in (1, 5, 20):
        left = [number]

        def full_disk(handle, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full_disk)
            with pytest.raises(MachineError, match="No space left") as refused:
                restore_archive(other, out)
        assert "nothing was restored" in refused.value.hint
        assert [path.name for path in other.root.rglob("*") if path.is_file()] == ["owner.lock"]


# Kills itself at the n-th call of a function of the file system.
KILLER = """
import os, pathlib, sys
name, left = sys.argv[1], int(sys.argv[2])
call = getattr(pathlib.Path, name)
def dying(self, *arguments, **options):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
    return call(self, *arguments, **options)
setattr(pathlib.Path, name, dying)
from icckd.cli.main import main
sys.argv = ["icckd", *sys.argv[3:]]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("call", "number"), [("mkdir", 25), ("rename", 3), ("rename", 24)])
def test_a_restore_that_is_killed_leaves_nothing_that_can_be_seen(full, tmp_path, call, number):
    with full.finished("s4", planned(seeds=(7,), salt="more"), ordinal=4):
        pass  # a second session, so that the killer comes between two of them
    out, other = tmp_path / "x.tar.zst", StateFolder(tmp_path / "other")
    contents = write_archive(full.folder, STUDY, out, results_only=False)
    homes = {"/".join(each.name.split("/")[:2]) for each in contents.members}
    if (call, number) == ("rename", 24):
        number = len(homes) + 1  # restored/, then all of them: before the last session
    command = [sys.executable, "-c", KILLER, call, str(number), "restore", str(out)]

    done = subprocess.run(
        command, env={**os.environ, "ICCKD_HOME": str(other.root)}, capture_output=True
    )

    assert done.returncode == -signal.SIGKILL
    assert list(other.root.glob(".restore-*"))
    with open_results(other) as results:
        assert results.studies() == ()
    assert {path.name for path in other.root.rglob("*") if path.is_file()} == {
        "owner.lock", "icckd.duckdb",
    }  # fmt: skip
    restore_archive(other, out)
    assert audit(other).is_whole
