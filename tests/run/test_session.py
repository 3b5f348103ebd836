"""A session counts for a stage what its present attempt reports, and ends cleanly without a GPU."""

import time

import pytest

from icckd.errors import MachineError
from icckd.journal.file import read_chunk
from icckd.journal.folder import JOURNAL
from icckd.journal.requests import Wanted, submit
from icckd.run.executors import Capabilities, Report
from icckd.run.local import LocalExecutor
from icckd.run.session import RunRequest, Session
from icckd.study.load import parse
from tests.support import studies
from tests.support.executors import plan_of
from tests.support.studies import TWO_STAGES

ONE_ARM = f'{studies.ONE_ARM}\n[numerics]\npacking = "off"\n'


class Silent:
    def transition(self, change, stage):
        pass

    def notice(self, text):
        pass

    def tick(self):
        pass


class Scripted:
    """An executor of one worker that reports what the test says.

    Attributes:
        orders: Every order that it was given.
        cancelled: Every attempt that it was told to end.
    """

    capabilities = Capabilities()
    capacity = 1

    def __init__(self, steps):
        self.orders, self.cancelled = [], set()
        self._steps = steps(self)
        self.free = 1

    def idle(self):
        return self.free

    def submit(self, orders):
        self.orders += orders
        self.free = 0

    def wait(self, timeout):
        return next(self._steps)

    def cancel(self, attempts):
        self.cancelled |= set(attempts)

    def retire(self):
        pass

    save = finish = kill = retire


def run_scripted(folder, steps, listener=None, stopping=lambda: ""):
    request = RunRequest(
        study=parse(ONE_ARM, where="x"), plan=plan_of(folder, study=ONE_ARM), complete=frozenset(),
        arguments=[], data_root=folder.root / "data", requested_at=0.0,
    )  # fmt: skip
    executor = Scripted(steps)
    code = Session(folder, request, executor, listener or Silent(), stopping).run()
    [journal] = folder.sessions.glob(f"*/{JOURNAL}")
    return code, executor, read_chunk(journal).lines


def test_the_late_end_of_a_cancelled_attempt_does_not_count_for_the_one_that_was_asked_for_since(
    folder,
):
    def steps(executor):
        [first] = executor.orders
        yield [Report(order=first, what="started")]
        submit(folder, Wanted(kind="cancel", study="small", arm="full", seed=0))
        yield []
        assert executor.cancelled == {first.attempt}
        submit(folder, Wanted(kind="retry", study="small", arm="full", seed=0))
        executor.free = 1
        yield []
        yield []
        again = executor.orders[-1]
        assert again.stage == first.stage
        yield [Report(order=again, what="started")]
        late = Report(order=first, what="lost", cause="killed", reason="worker killed by signal 9")
        yield [late]
        yield [Report(order=again, what="ended", state="complete")]
        for number in (2, 3, 4):
            executor.free = 1
            yield []
            order = executor.orders[number]
            yield [Report(order=order, what="started")]
            yield [Report(order=order, what="ended", state="complete")]

    code, executor, lines = run_scripted(folder, steps)

    teacher = executor.orders[0].stage.digest
    changes = [line.body for line in lines if line.kind == "s" and line.body["stage"] == teacher]
    assert [change["state"] for change in changes] == [
        "running", "cancelled", "pending", "running", "complete",
    ]  # fmt: skip
    assert changes[-1]["attempt"] == executor.orders[1].attempt
    assert code == 0


@pytest.mark.parametrize(
    ("has_begun", "told"),
    [
        (False, "interrupted: no stage is being trained, nothing is lost"),
        (True, "interrupted: saving the running stages, leaving within 25 s"),
    ],
)
def test_a_session_that_is_to_leave_says_whether_there_is_anything_to_save(folder, has_begun, told):
    stopping = ""

    def steps(executor):
        nonlocal stopping
        [first] = executor.orders
        if has_begun:
            (folder.attempts / first.attempt).mkdir()
            (folder.attempts / first.attempt / JOURNAL).touch()
            yield [Report(order=first, what="started")]
        stopping = "save"
        yield []
        stopping = "kill"
        yield []

    listener, notices = Silent(), []
    listener.notice = notices.append
    code, _, _ = run_scripted(folder, steps, listener, lambda: stopping)

    assert notices[0] == told
    assert code == 130


def test_a_session_without_a_gpu_left_cancels_what_is_open_and_records_exit_4(folder):
    executor = LocalExecutor(capacity=1, device="cuda", gpus=(), threads=1, logs=folder.sessions)
    request = RunRequest(
        study=parse(TWO_STAGES, where="x"), plan=plan_of(folder), complete=frozenset(),
        arguments=[], data_root=folder.root / "data", requested_at=time.time(),
    )  # fmt: skip
    session = Session(folder, request, executor, Silent(), lambda: "")

    with pytest.raises(MachineError, match="no GPU is left") as caught:
        session.run()

    assert caught.value.exit_code == 4
    assert "the same command resumes" in caught.value.hint
    [journal] = folder.sessions.glob(f"*/{JOURNAL}")
    lines = read_chunk(journal).lines
    assert [line.body["state"] for line in lines if line.kind == "s"] == ["cancelled"] * 2
    assert lines[-1].body["exit_code"] == 4
