"""Owner, stage lock and recovery: a model explored to its end, and the code itself at random.

The model has two coordinators, each with one worker, and one stage. Anybody may die at any moment,
up to a number of deaths; anybody may be as slow as they like, which is what a pause is.
"""

import contextlib
import tempfile
from collections import deque
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from icckd.journal.artifacts import is_complete, publish, sweep, verified, workspace
from icckd.journal.events import AttemptClosed
from icckd.journal.file import JournalWriter
from icckd.journal.folder import JOURNAL, StateFolder
from icckd.journal.locks import stage_lock
from tests.faults import roles

PLAYERS = (0, 1)
DEATHS = 3


class World(NamedTuple):
    """One state of everything.

    Attributes:
        owner: The coordinator that holds the owner lock, or -1.
        leader: What each coordinator does: off, waits, owns, ordered, ended.
        worker: What each worker does: none, ordered, locked, trains, published, closed.
        holder: The worker that holds the stage's lock, or -1.
        complete: Whether a complete attempt was journalled.
        artifact: Whether the artifact is there.
        deaths: How many died so far.
    """

    owner: int = -1
    leader: tuple[str, str] = ("off", "off")
    worker: tuple[str, str] = ("none", "none")
    holder: int = -1
    complete: bool = False
    artifact: bool = False
    deaths: int = 0


def put(pair, index, value):
    return tuple(value if i == index else old for i, old in enumerate(pair))


def steps(world, *, checks=True, lock_runs_out=False):
    """Yield every state that one step of anybody leads to, and whether that step is a death."""
    for i in PLAYERS:
        leader, worker = world.leader[i], world.worker[i]

        def now(leader=leader, worker=worker, i=i, **more):
            pairs = {
                "leader": put(world.leader, i, leader),
                "worker": put(world.worker, i, worker),
            }
            return world._replace(**pairs, **more)

        if leader in ("off", "ended") and not world.complete:
            yield now(leader="waits"), False
        if leader == "waits" and world.owner == -1:
            yield now(leader="owns", owner=i), False
        if leader == "owns":
            if world.complete and world.artifact:
                yield now(leader="ended", owner=-1), False
            elif worker == "none":
                yield now(leader="ordered", worker="ordered"), False
        if leader == "ordered" and worker == "none":
            yield now(leader="owns"), False
        if worker == "ordered" and (world.holder == -1 or lock_runs_out):
            yield now(worker="locked", holder=i), False
        if worker == "locked":
            if checks and world.complete and world.artifact:
                yield now(worker="none", holder=-1), False
            else:
                yield now(worker="trains"), False
        if worker == "trains":
            yield now(worker="published", artifact=True), False
        if worker == "published":
            yield now(worker="closed", complete=True), False
        if worker == "closed":
            yield now(worker="none", holder=-1 if world.holder == i else world.holder), False
        if world.deaths < DEATHS:
            dead = world.deaths + 1
            if leader in ("waits", "owns", "ordered"):
                owner = -1 if world.owner == i else world.owner
                yield now(leader="off", owner=owner, deaths=dead), True
            if worker != "none":
                holder = -1 if world.holder == i else world.holder
                yield now(worker="none", holder=holder, deaths=dead), True


def explore(**rules):
    """Return every reachable state and, for each, the states one living step away."""
    start = World()
    edges, waiting = {}, deque([start])
    while waiting:
        world = waiting.popleft()
        if world in edges:
            continue
        found = list(steps(world, **rules))
        edges[world] = [after for after, is_death in found if not is_death]
        waiting += [after for after, _ in found]
    return edges


def broken(edges):
    """Return the promises that some reachable state or step breaks."""
    wrong = set()
    for world, following in edges.items():
        if world.worker.count("trains") > 1:
            wrong.add("two train at once")
        if world.complete and not world.artifact:
            wrong.add("complete without artifact")
        for after in following:
            begins = any(
                a == "trains" != b for a, b in zip(after.worker, world.worker, strict=True)
            )
            if begins and world.complete:
                wrong.add("trained although complete")
    reaching = {world for world in edges if world.complete}
    grown = True
    while grown:
        more = {w for w, after in edges.items() if w not in reaching and reaching & set(after)}
        reaching |= more
        grown = bool(more)
    if reaching != set(edges):
        wrong.add("stuck")
    return wrong


def test_every_reachable_state_of_the_protocol_keeps_its_promises():
    edges = explore()

    assert len(edges) > 500
    assert broken(edges) == set()


@pytest.mark.parametrize(
    ("rules", "harm"),
    [
        ({"checks": False}, {"trained although complete"}),
        ({"lock_runs_out": True}, {"two train at once"}),
    ],
)
def test_without_the_check_or_with_a_lock_that_runs_out_the_model_finds_the_harm(rules, harm):
    assert broken(explore(**rules)) == harm


DIGEST = "d" * 64


class Workshop(RuleBasedStateMachine):
    """Workers of several sessions at one stage, step by step, through the code that they run."""

    @initialize()
    def open(self):
        self.place = tempfile.TemporaryDirectory()
        self.folder = StateFolder(Path(self.place.name) / "state")
        self.folder.create()
        self.workers = {}
        self.count = 0
        self.completed = 0

    def teardown(self):
        for held, *_ in self.workers.values():
            held.close()
        self.place.cleanup()

    @rule()
    def begin(self):
        """A worker has an order: it takes the lock, looks, and begins."""
        held = contextlib.ExitStack()
        lock = stage_lock(self.folder, DIGEST, waiting=lambda: None, give_up=lambda: True)
        if not held.enter_context(lock):
            assert self.workers, "the lock is stuck although nobody lives"
            held.close()
            return
        assert not self.workers, "two hold one stage"
        if is_complete(self.folder, DIGEST):
            assert self.completed
            held.close()
            return
        assert not self.completed, "trained although complete"
        self.count += 1
        name = f"{DIGEST[:16]}-{self.count}"
        (self.folder.attempts / name).mkdir()
        journal = JournalWriter(self.folder.attempts / name / JOURNAL)
        header = roles.header(0).model_copy(
            update={"attempt": name, "stage": DIGEST, "ordinal": self.count}
        )
        journal.append(header)
        prepared = workspace(self.folder, name)
        (prepared / "model.safetensors").write_bytes(b"weights")
        self.workers[name] = (held, journal, prepared)

    @rule(order=st.integers(0, 3))
    def publish(self, order):
        for _, _, prepared in list(self.workers.values())[order:]:
            assert (prepared / "model.safetensors").exists() or not prepared.exists()
            if prepared.exists():
                publish(self.folder, DIGEST, prepared)

    @rule()
    def close(self):
        for name, (held, journal, prepared) in list(self.workers.items()):
            if not prepared.exists():
                journal.append(AttemptClosed(state="complete", count=journal.count, seconds=1.0))
                journal.close()
                held.close()
                self.completed += 1
                del self.workers[name]

    @rule()
    def die(self):
        for held, *_ in self.workers.values():
            held.close()
        self.workers.clear()

    @rule()
    def clean_up(self):
        """A new owner sweeps before it starts; what somebody works on stays."""
        before = {prepared: prepared.exists() for _, _, prepared in self.workers.values()}
        sweep(self.folder)
        assert {p: p.exists() for p in before} == before
        if not self.workers:
            assert not list(self.folder.artifacts.glob(".tmp-*"))

    @invariant()
    def whole(self):
        if hasattr(self, "folder") and (self.folder.artifacts / DIGEST).exists():
            verified(self.folder, DIGEST)


TestWorkshop = Workshop.TestCase
TestWorkshop.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
