"""A stage may be executed twice and counts once: the newest order of it publishes."""

import json

import pytest

from icckd.errors import MachineError, StageSuperseded
from icckd.journal.artifacts import (
    MANIFEST,
    is_complete,
    publish,
    published_by,
    sweep,
    verified,
    workspace,
)
from icckd.journal.fencing import Claim, issue, newest_ordinal, token_path
from icckd.journal.file import encode
from icckd.journal.folder import JOURNAL
from icckd.journal.owner import owner_lock
from icckd.results.query import open_results
from icckd.run.inline import InlineExecutor
from tests.support.executors import kinds, orders
from tests.support.lab import planned

DIGEST = "3f2a" * 16


def claim(ordinal, attempt=None, **more):
    return Claim(attempt=attempt or f"{DIGEST[:16]}-{ordinal}", ordinal=ordinal, **more)


def publish_as(folder, by, content=b"weights"):
    made = workspace(folder, by.attempt)
    (made / "weights").write_bytes(content)
    return publish(folder, DIGEST, made, by)


def close(folder, by, state="complete"):
    home = folder.attempts / by.attempt
    home.mkdir()
    lines = encode("h", 0, 1.0, {"ordinal": by.ordinal, "stage": DIGEST})
    (home / JOURNAL).write_bytes(lines + encode("z", 1, 2.0, {"state": state}))


def test_an_attempt_publishes_only_by_the_newest_order_of_its_stage(folder):
    issue(folder, DIGEST, claim(5))
    issue(folder, DIGEST, claim(7))

    with pytest.raises(StageSuperseded, match="a newer order of this stage was given"):
        publish_as(folder, claim(5))
    assert not (folder.artifacts / DIGEST).exists()
    publish_as(folder, claim(7))

    assert published_by(folder, DIGEST) == claim(7)


def test_an_attempt_of_an_older_order_than_the_one_that_published_does_not_publish(folder):
    publish_as(folder, claim(7))

    with pytest.raises(StageSuperseded, match=f"attempt {DIGEST[:16]}-7 of a newer order"):
        publish_as(folder, claim(5), b"other bits")

    assert (verified(folder, DIGEST) / "weights").read_bytes() == b"weights"


@pytest.mark.parametrize("content", [b"weights", b"bits of another machine"])
def test_what_died_between_publishing_and_its_last_line_is_published_anew(folder, content):
    publish_as(folder, claim(5))  # its journal was never closed

    publish_as(folder, claim(7), content)

    assert published_by(folder, DIGEST) == claim(7)
    assert (verified(folder, DIGEST) / "weights").read_bytes() == content
    assert [path.name for path in folder.artifacts.iterdir()] == [DIGEST]


def test_a_newer_attempt_that_finds_its_stage_complete_leaves_it_unless_it_was_forced(folder):
    publish_as(folder, claim(5))
    close(folder, claim(5))

    with pytest.raises(StageSuperseded, match=f"attempt {DIGEST[:16]}-5 has completed it"):
        publish_as(folder, claim(7), b"other bits")
    assert published_by(folder, DIGEST) == claim(5)
    publish_as(folder, claim(8, is_forced=True), b"other bits")

    assert published_by(folder, DIGEST) == claim(8, is_forced=False)


def test_two_executions_of_one_order_count_once(folder):
    first, second = claim(5, f"{DIGEST[:16]}-x"), claim(5, f"{DIGEST[:16]}-x.2")
    publish_as(folder, first)
    close(folder, first)

    with pytest.raises(StageSuperseded):
        publish_as(folder, second)


def test_a_session_that_was_taken_over_gives_no_more_orders(folder):
    issue(folder, DIGEST, claim(2_000_001))

    with pytest.raises(MachineError, match="this one was taken over"):
        issue(folder, DIGEST, claim(1_000_009))

    assert newest_ordinal(folder, DIGEST) == 2_000_001


@pytest.mark.parametrize("left", [b"", b"[]", b'{"ordinal": "9"}', b'{"ordinal": -1}', b"{"])
def test_a_damaged_token_stops_nobody(folder, left):
    token_path(folder, DIGEST).write_bytes(left)

    publish_as(folder, claim(5))

    assert published_by(folder, DIGEST) == claim(5)


def test_tokens_of_what_is_published_are_swept_and_others_stay(folder):
    issue(folder, DIGEST, claim(5))
    publish_as(folder, claim(5))
    other = "77" * 32
    issue(folder, other, claim(6))

    sweep(folder)

    assert not token_path(folder, DIGEST).exists()
    assert token_path(folder, other).exists()


def test_a_superseded_attempt_does_not_make_its_stage_incomplete(folder):
    publish_as(folder, claim(5))
    close(folder, claim(5))
    close(folder, claim(7), "superseded")

    assert is_complete(folder, DIGEST)


def test_a_workspace_that_another_machine_may_work_on_is_not_swept(folder):
    made = workspace(folder, f"{DIGEST[:16]}-1")

    sweep(folder, {DIGEST})
    assert made.exists()
    sweep(folder)
    assert not made.exists()


def test_manifests_without_a_claim_are_read_as_before(folder):
    made = workspace(folder, "imported")
    (made / "weights").write_bytes(b"w")
    publish(folder, DIGEST, made)

    assert "ordinal" not in json.loads((folder.artifacts / DIGEST / MANIFEST).read_bytes())
    assert published_by(folder, DIGEST) == Claim()


@pytest.mark.slow
def test_an_attempt_whose_stage_is_ordered_anew_meanwhile_ends_superseded(folder):
    order, _ = orders(folder)

    def somebody_takes_over():
        if "m" not in kinds(folder, order.attempt):
            return False
        newer = Claim(attempt="newer", ordinal=order.ordinal + 1)
        issue(folder, order.stage.digest, newer)
        return False

    executor = InlineExecutor(somebody_takes_over)
    executor.submit([order])
    began, ended = executor.wait(0.0)

    assert (began.what, ended.what) == ("started", "returned")
    assert ended.reason == "a newer order of this stage was given"
    assert kinds(folder, order.attempt).endswith("lz")
    assert not (folder.artifacts / order.stage.digest).exists()
    assert not list(folder.artifacts.glob(".tmp-*"))
    executor.submit([order])
    [again] = executor.wait(0.0)  # it leaves before it begins
    assert (again.what, again.reason) == ("returned", "a newer order of this stage was given")


def test_nobody_reads_a_superseded_attempt(lab):
    plan = planned(seeds=(0,))
    with lab.finished("s1", plan, ordinal=1) as session:
        session.train_all()
        teacher = session.stage("full", 0)
        late = session.train(teacher, accuracy=1.0, end="superseded", say=False)

    with open_results(lab.folder) as results:
        info = results.study("icc-ablations")
        trial = next(t for t in results.trials(info) if t.arm == "full")
        assert (trial.state, trial.attempts) == ("complete", 2)
        assert late not in [each.attempt for each in results.attempts(info, "full", 0)]
        assert results.outcomes(info)["teacher.top1"]["full"][0] > 80


def test_an_attempt_that_a_later_session_took_over_runs_while_that_one_lives(lab):
    plan = planned(seeds=(0,))
    first = lab.session("s1", plan, ordinal=1, pid=2**22 + 1)  # nobody has such a number
    open_attempt = first.train(first.stage("full", 0), until=2, end=None)
    with owner_lock(lab.folder):
        second = lab.session("s2", plan, ordinal=2)

        def state():
            with open_results(lab.folder) as results:
                rows = results.attempts(results.study("icc-ablations"), "full", 0)
                return [each.state for each in rows]

        assert state() == ["cancelled"]
        second.say(second.stage("full", 0), "running", attempt=open_attempt)
        assert state() == ["running"]
