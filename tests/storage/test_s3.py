"""A bucket as storage: against servers that keep conditions, and one that ignores them."""

import os
import threading

import pytest

from icckd.configuration import StorageSettings
from icckd.storage.base import StorageError, TakenError
from icckd.storage.opening import open_storage, try_storage
from icckd.storage.segments import SegmentWriter
from tests.storage.servers import BUCKET, KEY, SECRET, server
from tests.storage.test_runs import LONG, STUDY, Lab, attempts
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    with server("moto", tmp_path_factory.mktemp("moto")) as made:
        yield made


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def storage_at(url, prefix="p", bucket=BUCKET):
    return open_storage(StorageSettings(url=f"s3://{bucket}/{prefix}", endpoint=url))


@pytest.mark.slow
def test_a_bucket_keeps_what_is_made_once_and_lists_in_order(moto, credentials, tmp_path):
    storage = storage_at(moto.url)
    try_storage(storage)
    storage.create("a/b", b"1")
    storage.create("a/b", b"1")
    with pytest.raises(TakenError):
        storage.create("a/b", b"2")
    storage.put("a/d", b"22")
    (tmp_path / "big").write_bytes(os.urandom(9 << 20))  # more than a part
    storage.put_file("a/c", tmp_path / "big")

    assert [(e.key, e.size) for e in storage.list("a")] == [
        ("a/b", 1),
        ("a/c", 9 << 20),
        ("a/d", 2),
    ]
    assert [entry.key for entry in storage.list("a", "a/b")] == ["a/c", "a/d"]
    assert storage.get_file("a/c", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "big").read_bytes()
    assert (storage.get("none"), storage.size("none")) == (None, None)
    storage.delete("a/d")
    storage.delete("a/d")
    assert storage.get("a/d") is None
    with pytest.raises(StorageError, match="NoSuchBucket") as caught:
        try_storage(storage_at(moto.url, bucket="no-such"))
    assert "make the bucket" in caught.value.hint


@pytest.mark.slow
def test_a_run_on_a_bucket_is_seen_elsewhere_and_its_secrets_are_nowhere(moto, tmp_path):
    lab = Lab(tmp_path)
    lab.configure(url=f"s3://{BUCKET}/runs", endpoint=moto.url)
    a, b = lab.machine("a", STUDY), lab.machine("b", STUDY)
    secrets = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    for desk in (a, b):
        desk.environment |= secrets

    done = a.run("run", "small.toml", "-j", "1")  # a worker of its own has these credentials
    seen = b.run("report", "--format", "json")
    broken = [
        a.run("status"),
        *(_with_endpoint(lab, a, moto, url) for url in ("http://127.0.0.1:9", f"{moto.url}/x")),
    ]

    assert a.run("report", "--format", "json").stdout == seen.stdout
    assert len(attempts(b)) == 4
    text = "".join(each.stdout + each.stderr for each in (done, seen, *broken)).encode()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 30
    text += b"".join(path.read_bytes() for path in files)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in secrets.items():
            patch.setenv(name, value)
        storage = storage_at(moto.url, "runs")
    objects = storage.list("")
    assert len(objects) > 30
    text += b"".join((storage.get(entry.key) or b"") + entry.key.encode() for entry in objects)
    assert SECRET.encode() not in text
    assert KEY.encode() not in text


def _with_endpoint(lab, desk, moto, url):
    lab.configure(url=f"s3://{BUCKET}/runs", endpoint=url)
    done = desk.run("status")
    lab.configure(url=f"s3://{BUCKET}/runs", endpoint=moto.url)
    return done


@pytest.mark.slow
def test_a_server_that_ignores_conditions_is_refused_with_the_reason(credentials, tmp_path):
    refused = pytest.raises(StorageError, match="overwrites an object that is to be made once")
    with server("rclone", tmp_path / "rclone") as made, refused:
        try_storage(storage_at(made.url))


@pytest.fixture(scope="module")
def weed(tmp_path_factory):
    with server("weed", tmp_path_factory.mktemp("weed")) as made:
        yield made


@pytest.mark.long
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "no" * 20}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "AKNOBODY"}, "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_are_one_error_that_does_not_tell_them(
    weed, credentials, monkeypatch, wrong, reason
):
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(StorageError, match=reason) as caught:
        try_storage(storage_at(weed.url))

    assert "AWS_ACCESS_KEY_ID" in caught.value.hint
    assert not any(value in caught.value.message for value in wrong.values())


@pytest.mark.long
def test_credentials_of_a_file_are_taken_and_read_again(weed, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    told = "[other]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
    (tmp_path / "credentials").write_text(told.format(KEY, SECRET))
    with pytest.raises(StorageError, match="no credentials of profile 'default'"):
        try_storage(storage_at(weed.url))
    monkeypatch.setenv("AWS_PROFILE", "other")

    try_storage(storage_at(weed.url))


@pytest.mark.long
@pytest.mark.usefixtures("fresh_process")
def test_a_server_killed_in_the_middle_loses_nothing_acknowledged_and_the_run_goes_on(
    weed, credentials, tmp_path
):
    lab = Lab(tmp_path)
    lab.configure(url=f"s3://{BUCKET}/runs", endpoint=weed.url)
    a = lab.machine("a", LONG)
    a.environment |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    storage, journal, over = storage_at(weed.url, "lines"), tmp_path / "journal", threading.Event()
    journal.touch()
    acknowledged: list[int] = []

    def write():
        """Push lines as fast as they are acknowledged, whoever dies."""
        writer, number = SegmentWriter(storage, "journals/x", journal), 0
        while not over.is_set():
            with journal.open("ab") as file:
                file.write(b"line %d\n" % number)
            number += 1
            try:
                writer.push()
            except StorageError:
                over.wait(0.2)
            else:
                acknowledged.append(journal.stat().st_size)

    writing = threading.Thread(target=write)
    writing.start()
    session = a.start_forked("run", "small.toml", "-j", "1")
    runs = storage_at(weed.url, "runs")
    for what in ("journals/attempts", "artifacts"):
        wait_for(lambda what=what: runs.list(what), process=session)  # in the middle of the run
        wanted = len(acknowledged) + 20
        wait_for(lambda wanted=wanted: len(acknowledged) >= wanted)
        weed.kill()
        safe = acknowledged[-1]
        weed.start()
        stored = b"".join(storage.get(e.key) or b"" for e in storage.list("journals/x"))
        assert len(stored) >= safe
        assert journal.read_bytes().startswith(stored)
    _, told = session.communicate(240)
    over.set()
    writing.join()

    assert session.returncode == 0, told
    assert "stalled: storage" in told
    assert [state for _, state in attempts(a)].count("complete") == 4
    for path in a.state.glob("attempts/*/journal.jsonl"):
        keys = [e.key for e in runs.list("journals/attempts") if path.parent.name in e.key]
        assert b"".join(runs.get(key) for key in keys) == path.read_bytes()
