"""Storage that cannot be used: one error at the beginning; in the middle it stalls and goes on.

moto here asks for signatures and rights as AWS does (its `INITIAL_NO_AUTH_ACTION_COUNT`): the
identity of a test has a policy, and a key that can be taken away.
"""

import contextlib
import json
import socket
import threading
import time
import urllib.request

import pytest

from icckd.configuration import StorageSettings
from icckd.journal.file import first_line
from icckd.storage.opening import open_storage
from icckd.storage.segments import attempt_key
from tests.storage.proxy import proxy
from tests.storage.servers import BUCKET, KEY, SECRET, server
from tests.storage.test_runs import LONG, STUDY, Lab, attempts, outcomes
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("fresh_process")]
AT_ONCE = 15.0
EVERYTHING, READING = ["s3:*"], ["s3:Get*", "s3:List*"]


class Identity:
    """A user of moto, its rights, and its key in a credentials file."""

    def __init__(self, made, folder):
        import boto3

        self._url, self.file = made.url, folder / "credentials"
        self._iam = boto3.client(
            "iam", endpoint_url=made.url, aws_access_key_id="x", aws_secret_access_key="y",
            region_name="us-east-1",
        )  # fmt: skip
        self._key = None
        with self._unguarded():
            self._iam.create_user(UserName="u")
        self.allow(EVERYTHING)
        self.new_key()

    def allow(self, actions):
        rule = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
        with self._unguarded():
            self._iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=policy)

    def take_key(self):
        """Take the key away, which is still in the file."""
        with self._unguarded():
            self._iam.delete_access_key(UserName="u", AccessKeyId=self._key["AccessKeyId"])

    def new_key(self):
        """Write a new key into the file."""
        with self._unguarded():
            self._key = self._iam.create_access_key(UserName="u")["AccessKey"]
        aside = self.file.with_suffix(".new")
        aside.write_text(
            f"[default]\naws_access_key_id = {self._key['AccessKeyId']}\n"
            f"aws_secret_access_key = {self._key['SecretAccessKey']}\n"
        )
        aside.rename(self.file)

    @property
    def secret(self):
        return self._key["SecretAccessKey"]

    @contextlib.contextmanager
    def _unguarded(self):
        self._guard(1_000_000)
        try:
            yield
        finally:
            self._guard(0)

    def _guard(self, free):
        request = urllib.request.Request(
            f"{self._url}/moto-api/reset-auth", data=str(free).encode(), method="POST",
            headers={"Content-Type": "text/plain"},
        )  # fmt: skip
        urllib.request.urlopen(request).read()


@pytest.fixture
def guarded(tmp_path_factory, monkeypatch):
    """A server that asks for signatures and rights, and who may use it."""
    monkeypatch.setenv("INITIAL_NO_AUTH_ACTION_COUNT", "1000000")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    folder = tmp_path_factory.mktemp("guarded")
    with server("moto", folder) as made:
        identity = Identity(made, folder)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(identity.file))
        yield made, identity


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    with server("moto", tmp_path_factory.mktemp("moto")) as made:
        yield made


def bucket_lab(tmp_path, url, **settings):
    lab = Lab(tmp_path)
    lab.configure(**{"url": f"s3://{BUCKET}/runs", "endpoint": url, **settings})
    return lab


def refused(lab, secret="none"):
    """Return what a run said that was refused at its beginning, as it must be."""
    desk = lab.machine(f"m{time.monotonic_ns()}")
    start = time.monotonic()
    done = desk.run("run", "small.toml", code=4)
    assert time.monotonic() - start < AT_ONCE
    [error] = [line for line in done.stderr.splitlines() if line.startswith("icckd: storage")]
    assert not list(desk.state.glob("sessions/*/journal.jsonl"))
    assert secret not in done.stderr
    assert "Traceback" not in done.stderr
    return error + done.stderr.partition(error)[2]


def test_rights_to_read_alone_a_lost_key_and_a_bucket_that_is_not_there_are_one_error_each(
    guarded, tmp_path
):
    made, identity = guarded
    lab = bucket_lab(tmp_path, made.url)
    lab.configure(url="s3://no-such/runs", endpoint=made.url)
    assert "NoSuchBucket" in refused(lab)
    lab.configure(url=f"s3://{BUCKET}/runs", endpoint=made.url)
    identity.allow(READING)
    assert "must be allowed to list, read, write and delete" in refused(lab, identity.secret)
    identity.take_key()
    assert "InvalidAccessKeyId" in refused(lab, identity.secret)
    identity.file.write_text("[default]\n")
    assert "no credentials of profile 'default'" in refused(lab)


def test_a_server_that_accepts_and_never_answers_is_one_error_in_time(tmp_path, monkeypatch):
    for name, text in (("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(name, text)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        lab = bucket_lab(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
        said = refused(lab, SECRET)

    assert "does not answer" in said or "it cannot be reached" in said


@pytest.mark.parametrize("trouble", ["the key is lost", "only reading is allowed"])
def test_rights_that_end_amid_a_run_stall_it_until_they_are_renewed(guarded, tmp_path, trouble):
    made, identity = guarded
    lab = bucket_lab(tmp_path, made.url)
    a, plain = lab.machine("a", LONG), lab.machine("plain", LONG, shares=False)
    a.environment |= {"AWS_SHARED_CREDENTIALS_FILE": str(identity.file)}
    session = a.start_forked("run", "small.toml", "-j", "1")
    storage = open_storage(StorageSettings(url=f"s3://{BUCKET}/runs", endpoint=made.url))
    wait_for(lambda: storage.list("journals/attempts"), process=session)
    _break(identity, trouble)
    start = time.monotonic()
    wait_for(lambda: "stalled: storage" in session.said(), 30, process=session)
    assert time.monotonic() - start < AT_ONCE
    reason = "InvalidAccessKeyId" if trouble == "the key is lost" else "AccessDenied"
    assert f"refuses: {reason}" in session.said()
    time.sleep(1.0)
    assert session.poll() is None
    if trouble == "the key is lost":
        identity.new_key()
    else:
        identity.allow(EVERYTHING)
    _, told = session.communicate(120)

    assert session.returncode == 0, told
    assert identity.secret not in told
    plain.train("run", "small.toml", "-j", "1")
    assert outcomes(a) == outcomes(plain)
    storage = open_storage(StorageSettings(url=f"s3://{BUCKET}/runs", endpoint=made.url))
    assert_all_is_stored(a, storage)


def _break(identity, trouble):
    if trouble == "the key is lost":
        identity.take_key()
    else:
        identity.allow(READING)


def assert_all_is_stored(desk, storage):
    """Storage has every journal of attempts byte for byte, and each stage is complete once."""
    states = attempts(desk)
    assert [state for _, state in states].count("complete") == len({stage for stage, _ in states})
    for path in desk.state.glob("attempts/*/journal.jsonl"):
        key = attempt_key(first_line(path).body["ordinal"], path.parent.name)
        assert b"".join(storage.get(e.key) for e in storage.list(key)) == path.read_bytes()


@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_network_that_goes_at_any_request_of_a_beginning_run_is_one_error_or_a_stall(
    moto, tmp_path, monkeypatch, first
):
    """Three tests take turns: together they cut at every third of the first requests."""
    for name, text in (("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(name, text)
    ended = []
    for number in range(first, 60, 9):
        prefix = f"cut-{number}"
        with proxy(moto.port) as network:
            (tmp_path / prefix).mkdir()
            lab = Lab(tmp_path / prefix)
            lab.configure(url=f"s3://{BUCKET}/{prefix}", endpoint=network.url)
            a = lab.machine("a", STUDY)
            network.cut_at(number)
            session = a.start_forked("run", "small.toml", "-j", "1")
            wait_for(lambda network=network: network.is_cut, process=None)
            threading.Timer(2.0, network.mend).start()
            _, told = session.communicate(120)
            ended.append(session.returncode)
            assert session.returncode in (0, 4), told
            assert "Traceback" not in told
            if session.returncode == 4:
                errors = [x for x in told.splitlines() if x.startswith("icckd: storage s3:")]
                assert len(errors) == 1, told
                network.mend()
                again = a.start_forked("run", "small.toml", "-j", "1")
                _, told = again.communicate(120)
                assert again.returncode == 0, told
        storage = open_storage(StorageSettings(url=f"s3://{BUCKET}/{prefix}", endpoint=moto.url))
        assert_all_is_stored(a, storage)
    assert set(ended) == {0, 4}  # early an error, late a stall


def test_a_full_disk_behind_a_bucket_stalls_a_run_that_goes_on_when_there_is_room(
    tmp_path, monkeypatch
):
    from tests.faults.disks import tmpfs
    from tests.support.disks import fill

    for name, text in (("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(name, text)
    with tmpfs(tmp_path / "disk", megabytes=300) as disk, server("weed", disk / "weed") as made:
        lab = bucket_lab(tmp_path, made.url)
        a = lab.machine("a", LONG)
        session = a.start_forked("run", "small.toml", "-j", "1")
        storage = open_storage(StorageSettings(url=f"s3://{BUCKET}/runs", endpoint=made.url))
        wait_for(lambda: storage.list("journals/attempts"), process=session)
        fill(disk / "ballast")
        start = time.monotonic()
        wait_for(lambda: "stalled: storage" in session.said(), 60, process=session)
        assert time.monotonic() - start < AT_ONCE
        (disk / "ballast").unlink()
        _, told = session.communicate(240)

        assert session.returncode == 0, told
        assert_all_is_stored(a, storage)
