"""Settings of every test, and the state folder that many of them write journals into."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.lab import lab

__all__ = ["lab"]

if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    # Nothing is written beside the sources; but tests start processes that import torch, and each
    # would compile it again, for two seconds.
    os.environ["PYTHONPYCACHEPREFIX"] = str(Path.home() / ".cache" / "icckd-tests" / "bytecode")

if "PYTEST_XDIST_WORKER" in os.environ:  # processes beside each other: a thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Runs of tests know nothing of those of other processes, which would wait for each other.
os.environ["ICCKD_MACHINE_DIR"] = tempfile.mkdtemp(prefix="icckd-tests-")
atexit.register(shutil.rmtree, os.environ["ICCKD_MACHINE_DIR"], ignore_errors=True)

# A busy machine is no reason for a property to fail.
settings.register_profile("icckd", deadline=None, derandomize=True)
settings.load_profile("icckd")

LANES = {"slow", "long", "gpu"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that would be run twice, or by neither: each is in one lane."""
    for item in items:
        lanes = LANES & {mark.name for mark in item.iter_markers()}
        if len(lanes) > 1:
            raise pytest.UsageError(f"{item.nodeid} is in more than one lane: {sorted(lanes)}")


NEED_SERVERS = "ICCKD_TEST_NEED_SERVERS"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that was to have every server, and skipped a test for want of one."""
    told = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(told.stats.get("skipped", ())) if told is not None else 0
    if os.environ.get(NEED_SERVERS) and skipped and not session.exitstatus:
        told.write_line(f"{skipped} tests were skipped; {NEED_SERVERS} wants them all", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# Set once in a process: by pytest, by torch's compiler, by the determinism of CUDA.
SET_FOR_GOOD = {"PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR", "CUBLAS_WORKSPACE_CONFIG"}


def variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in SET_FOR_GOOD}


@pytest.fixture(autouse=True)
def environment_is_left_as_found():
    """Fail a test that leaves other environment variables to the tests after it."""
    before = variables()
    yield
    after = variables()
    changed = sorted(k for k in {*before, *after} if before.get(k) != after.get(k))
    for name in changed:
        os.environ.pop(name, None)
    os.environ.update({name: before[name] for name in changed if name in before})
    assert not changed, f"this test left environment variables changed: {changed}"


@pytest.fixture(autouse=True)
def commands_end_with_their_test():
    """End the commands that a test started and left, as one does that fails."""
    yield
    desk = sys.modules.get("tests.support.desk")
    while desk is not None and desk.STARTED:
        started = desk.STARTED.pop()
        if started.poll() is None:
            started.kill()
            started.communicate()


@pytest.fixture(scope="session")
def fresh_process(tmp_path_factory) -> None:
    """The executor of `Desk.train`, installed beside icckd until the end of the session."""
    from tests.support.executors import install_fresh_process

    site = tmp_path_factory.mktemp("site")
    install_fresh_process(site)
    sys.path.append(str(site))


@pytest.fixture
def folder(tmp_path):
    """An empty state folder."""
    from icckd.journal.folder import StateFolder

    made = StateFolder(tmp_path / "state")
    made.create()
    return made
