"""What of a state folder belongs to which study, told by the journals alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from icckd.journal.file import Line, first_line, last_line, ordinal_of, read_chunk
from icckd.journal.folder import StateFolder
from icckd.journal.owner import MOST_SESSIONS

_CHUNK_BYTES = 1 << 20


@dataclass(slots=True, kw_only=True, eq=False)
class Belongings:
    """What belongs to one study.

    Attributes:
        study: Its name.
        sessions: Its sessions, in their order.
        stages: Digests of the stages of all their plans.
        wanted: Digests of the stages of its newest plan.
        attempts: Attempts at these stages, of whichever study's session, and all of its sessions.
        foreign: Sessions that made some of these attempts and are of other studies, or not here.
        is_open: Whether its newest session has not ended in good order.
    """

    study: str
    sessions: list[str] = field(default_factory=list)
    stages: set[str] = field(default_factory=set)
    wanted: set[str] = field(default_factory=set)
    attempts: list[str] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)
    is_open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    name: str
    path: Path
    header: Line


def read_belongings(folder: StateFolder) -> dict[str, Belongings]:
    """Return what belongs to each study, by its name, in the order of their names.

    A session without a readable header belongs to none.
    """
    sessions = [
        _Session(name=path.parent.name, path=path, header=header)
        for path in folder.journals()
        if path.parent.parent == folder.sessions
        and (header := first_line(path)) is not None
        and header.kind == "H"
    ]
    sessions.sort(key=lambda s: (ordinal_of(s.header, MOST_SESSIONS), s.header.time, s.name))
    found: dict[str, Belongings] = {}
    for session in sessions:
        study = str(session.header.body.get("study"))
        belongings = found.setdefault(study, Belongings(study=study))
        belongings.sessions.append(session.name)
        planned = _planned(session.path)
        belongings.stages |= planned
        belongings.wanted = planned or belongings.wanted
        close = last_line(session.path)
        belongings.is_open = close is None or close.kind != "Z"
    _share_out(folder, found)
    return dict(sorted(found.items()))


def _planned(journal: Path) -> set[str]:
    """Return the digests of the stages that a session planned; none where it made no plan."""
    start = 0
    while (chunk := read_chunk(journal, start, _CHUNK_BYTES)).end > start:
        start = chunk.end
        for line in chunk.lines:
            if line.kind == "p":
                stages = line.body.get("stages")
                rows = stages if isinstance(stages, list) else []
                return {str(row.get("digest")) for row in rows if isinstance(row, dict)}
            if line.kind == "s":  # words on stages follow the plan
                return set()
    return set()


def _share_out(folder: StateFolder, found: dict[str, Belongings]) -> None:
    """Give each study the attempts at its stages."""
    of_session = {session: each for each in found.values() for session in each.sessions}
    of_stage: dict[str, list[Belongings]] = {}
    for each in found.values():
        for stage in each.stages:
            of_stage.setdefault(stage, []).append(each)
    for name, session, stage in _attempts(folder):
        own = of_session.get(session)
        takers = of_stage.get(stage, [])
        for each in takers if own is None or own in takers else [*takers, own]:
            each.attempts.append(name)
            if each is not own:
                each.foreign.add(session)


def _attempts(folder: StateFolder) -> Iterator[tuple[str, str, str]]:
    """Yield name, session and stage of each attempt whose journal has its header."""
    for path in folder.journals():
        if path.parent.parent == folder.attempts:
            header = first_line(path)
            if header is not None and header.kind == "h":
                body = header.body
                yield path.parent.name, str(body.get("session")), str(body.get("stage"))
