"""Fixtures of what needs a cluster: each server is real, and one that is missing is skipped loudly.

`.ci/long cluster` sets ICCKD_TEST_NEED_SERVERS: there, what is missing fails.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.cluster.slurm import TestSlurm
from tests.cluster.slurm import missing as missing_for_slurm
from tests.support.desk import Desk

CLONE_NEWNET = 0x40000000
NEED_SERVERS = "ICCKD_TEST_NEED_SERVERS"


def lacks(what: str) -> None:
    """Skip, or fail where the servers are needed, because something is missing."""
    text = f"missing for this test: {what}"
    if os.environ.get(NEED_SERVERS):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


@contextlib.contextmanager
def own_network():
    """Give this thread, and what it starts, a network of its own: nobody else's ports are there.

    It has a second address beside loopback: with loopback alone Slurm resolves no name.
    """
    if shutil.which("ip") is None:
        lacks("ip (apt-get install iproute2)")
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as before:  # a namespace, no path
        if libc.unshare(CLONE_NEWNET):
            lacks(f"a network namespace of its own: {os.strerror(ctypes.get_errno())}")
        try:
            for words in ("link set lo up", "addr add 192.0.2.9/32 dev lo"):
                subprocess.run(["ip", *words.split()], check=True)
            yield
        finally:
            assert libc.setns(before.fileno(), CLONE_NEWNET) == 0


@contextlib.contextmanager
def running(prefix, make):
    """Run the Slurm that is made for a folder of its own, in a network of its own."""
    if what := missing_for_slurm():
        lacks(what)
    root = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))  # a short path
    made = make(root)
    with own_network():
        try:
            made.start()
            yield made
        finally:
            made.stop()
            shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def slurm():
    """A Slurm of one host in a network of its own, until the module ends."""
    with running("icckd-slurm-", TestSlurm) as made:
        yield made


SETTINGS = "[slurm]\npoll_seconds = 0.2\nminimum_minutes = 0\n"


@pytest.fixture
def slurm_desk(slurm, tmp_path):
    """A folder from which studies are run on that Slurm; its tasks end with the test."""
    config = tmp_path / "config" / "icckd"
    config.mkdir(parents=True)
    (config / "config.toml").write_text(SETTINGS)
    names = ("SLURM_CONF", "PATH")
    desk = Desk(
        tmp_path,
        environment={
            **{name: slurm.environment[name] for name in names},
            "XDG_CONFIG_HOME": str(config.parent),
            "OMP_NUM_THREADS": "1",
        },
    )
    yield desk
    slurm.call("scancel", "-u", "root", check=False)
    slurm.resume_node()
