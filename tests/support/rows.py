"""Rows of a state folder: a busy one, and everything that a store holds, to compare."""

import math

from icckd.journal.events import LogLine, RequestAnswered
from icckd.journal.folder import JOURNAL
from icckd.results.database import VIEWS
from icckd.results.store import Store
from tests.support.lab import planned

FACTS = ("session", "session_end", "study_revision", "hypothesis", "arm", "planned_trial",
         "trial_stage", "stage", "stage_event", "request", "attempt", "attempt_end", "metric",
         "recorded", "test_right", "artifact", "log_line", "journal")  # fmt: skip


def contents(store, tables=(*FACTS, "stage_now", "live_session", *VIEWS)):
    """Every row of every table and view, as sorted text: NaN equals itself there."""
    return {table: sorted(map(repr, store.select(f"from {table}"))) for table in tables}


def busy(lab, *, students=2):
    """Two sessions of one study: failures, a lost worker, a request, damage, values like NaN."""
    plan = planned(students=students)
    with lab.finished("s1", plan) as first:
        first.train_all(skip=[("no-cache", 2), ("full", 1)])
        first.train(first.stage("no-cache", 2), end="failed", until=2)
        first.say(first.stage("no-cache", 2, 1), "blocked", reason="its teacher failed")
        first.journal.append(RequestAnswered(request="q", kind="stop", answer="finishing"))
        first.journal.append(LogLine(text="half a pair \ud800 and a null \x00"))
    with lab.finished("s2", plan) as second:
        lost = second.train(second.stage("full", 1), until=1, end=None)
        second.say(second.stage("full", 1), "pending", attempt=lost, reason="killed; trying again")
        second.train(second.stage("full", 1), outcomes={"teacher.intra_ratio": math.nan})
        damaged = second.train(second.stage("full", 1, 1))
    path = lab.folder.attempts / damaged / JOURNAL
    data = bytearray(path.read_bytes())
    data[data.find(b"student.ce")] ^= 1
    path.write_bytes(bytes(data) + b"garbage")
    return plan


def in_memory(folder, **more):
    store = Store.in_memory(folder, **more)
    store.ingest()
    return store
