"""Audit of a state folder: which journals and artifacts are damaged, lost or left over.

Reading only. A journal is whole when its lines have the numbers 0, 1, 2, ... and right checksums,
it begins with its header, and its last line counts those before it.
"""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from icckd.errors import MachineError
from icckd.journal.archive import LeftOut, read_left_out
from icckd.journal.artifacts import MANIFEST, verified
from icckd.journal.file import Line, read_chunk
from icckd.journal.folder import JOURNAL, StateFolder

CHUNK_BYTES = 1 << 20
Verdict = Literal["damaged", "missing", "leftover", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be; a `note` reports a state that is not wrong.

    `target` is what a repair puts away: a path under the state folder, or None where nothing can
    be done.
    """

    verdict: Verdict
    where: str
    text: str
    target: Path | None = None


@dataclass(slots=True)
class JournalFacts:
    """What one journal holds.

    Attributes:
        lines: Intact lines.
        lost: Lines that are missing between intact ones.
        bad_lines: Damaged lines.
        torn_bytes: Bytes after the last whole line.
        header: The body of its first line, or None when that is not a header.
        close: The body of its closing line, if there is one.
        published: SHA-256 by file name of the artifact that it tells of.
        late: Lines after the closing one.
        count_is_right: Whether the closing line counts the lines before it.
    """

    lines: int = 0
    lost: int = 0
    bad_lines: int = 0
    torn_bytes: int = 0
    late: int = 0
    header: dict[str, Any] | None = None
    close: dict[str, Any] | None = None
    published: dict[str, str] | None = None
    count_is_right: bool = True


@dataclass(slots=True)
class Audit:
    """The outcome: findings, and how much was looked at."""

    findings: list[Finding] = field(default_factory=list)
    journals: int = 0
    lines: int = 0
    artifacts: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.verdict == "note" for finding in self.findings)


Progress = Callable[[str, int, int], None]
"""Is told what is looked at, how many of them were, and how many there are."""


def audit(
    folder: StateFolder,
    progress: Progress = lambda what, done, total: None,
    elsewhere: Collection[str] = (),
) -> Audit:
    """Look at every journal and every artifact of a state folder.

    Artifacts that lie `elsewhere`, in storage that machines share, need not be here.
    """
    found = Audit()
    attempts: dict[str, JournalFacts] = {}
    sessions: set[str] = set()
    paths = list(folder.journals())
    for number, path in enumerate(paths):
        progress("journals", number, len(paths))
        is_session = path.parent.parent == folder.sessions
        facts = journal_facts(path)
        found.findings += _judge(path, facts, is_session, folder)
        found.journals += facts is not None
        found.lines += facts.lines if facts else 0
        if is_session:
            sessions.add(path.parent.name)
        elif facts is not None:
            attempts[path.parent.name] = facts
    left_out = read_left_out(folder)
    found.findings += _without_session(attempts, sessions, left_out)
    for finding in _artifacts(folder, attempts, left_out, found, progress):
        if finding.verdict != "missing" or Path(finding.where).name not in elsewhere:
            found.findings.append(finding)
    return found


def journal_facts(path: Path) -> JournalFacts | None:
    """Return what a journal holds, or None when it cannot be read."""
    facts, start, expected = JournalFacts(), 0, 0
    try:
        while (chunk := read_chunk(path, start, CHUNK_BYTES)).end > start:
            start = chunk.end
            facts.bad_lines += chunk.bad_lines
            for line in chunk.lines:
                _take(line, expected, facts)
                expected = max(expected, line.sequence + 1)
        facts.torn_bytes = path.stat().st_size - start
    except OSError:
        return None
    return facts


def _take(line: Line, expected: int, facts: JournalFacts) -> None:
    facts.lines += 1
    facts.late += facts.close is not None
    facts.lost += max(0, line.sequence - expected)
    if line.sequence == 0 and line.kind in ("h", "H"):
        facts.header = line.body
    elif line.kind == "a":
        facts.published = line.body.get("files")
    elif line.kind in ("z", "Z") and facts.close is None:
        facts.close = line.body
        facts.count_is_right = line.body.get("count") == line.sequence


def _judge(
    path: Path, facts: JournalFacts | None, is_session: bool, folder: StateFolder
) -> Iterator[Finding]:
    where = str(path.relative_to(folder.root))
    if facts is None:
        yield Finding(verdict="missing", where=where, text="the folder has no readable journal")
        return
    wrong = {
        "damaged lines": facts.bad_lines,
        "lines missing": facts.lost,
        "lines after the closing one": facts.late,
        "wrong count in its closing line": not facts.count_is_right,
        "no header": facts.header is None and facts.lines > 0,
        "the header of another journal": _is_foreign(path, facts, is_session),
    }
    for words, number in wrong.items():
        if number:
            text = words if number is True else f"{number} {words}"
            yield Finding(verdict="damaged", where=where, text=text)
    if facts.close is None:
        torn = f", {facts.torn_bytes} bytes of a torn last line" if facts.torn_bytes else ""
        yield Finding(verdict="note", where=where, text=f"not closed: running or cut off{torn}")
    elif facts.torn_bytes:
        text = f"{facts.torn_bytes} bytes after the closing line"
        yield Finding(verdict="damaged", where=where, text=text)


def _is_foreign(path: Path, facts: JournalFacts, is_session: bool) -> bool:
    key = "session" if is_session else "attempt"
    return facts.header is not None and facts.header.get(key) != path.parent.name


def _without_session(
    attempts: dict[str, JournalFacts], sessions: set[str], left_out: LeftOut
) -> Iterator[Finding]:
    for name, facts in attempts.items():
        session = (facts.header or {}).get("session")
        if isinstance(session, str) and session not in sessions:
            where, text = f"attempts/{name}/{JOURNAL}", f"its session {session} has no journal"
            if session in left_out.sessions:
                text = f"its session {session} is of another study, and was not in the archive"
                yield Finding(verdict="note", where=where, text=text)
            else:
                yield Finding(verdict="missing", where=where, text=text)


def _artifacts(
    folder: StateFolder,
    attempts: dict[str, JournalFacts],
    left_out: LeftOut,
    found: Audit,
    progress: Progress,
) -> Iterator[Finding]:
    published: dict[str, list[JournalFacts]] = {}
    for facts in attempts.values():
        if facts.published is not None and facts.header is not None:
            published.setdefault(str(facts.header.get("stage")), []).append(facts)
    present = sorted(
        path
        for path in folder.artifacts.glob("*")
        if path.is_dir() and (path.name not in left_out.stages or (path / MANIFEST).exists())
    )
    for path in present:
        progress("artifacts", found.artifacts, len(present))
        found.artifacts += 1
        yield from _artifact(folder, path, published.get(path.name, []))
    complete = {
        stage
        for stage, tries in published.items()
        if any((facts.close or {}).get("state") == "complete" for facts in tries)
    }
    for stage in sorted(complete - {path.name for path in present}):
        where, again = f"artifacts/{stage}", "the next run trains that stage again"
        if stage in left_out.stages:
            text = f"it was not in the archive that was restored; {again}"
            yield Finding(verdict="note", where=where, text=text)
        else:
            text = f"a complete attempt published it; {again}"
            yield Finding(verdict="missing", where=where, text=text)


def _artifact(folder: StateFolder, path: Path, tries: list[JournalFacts]) -> Iterator[Finding]:
    where = f"artifacts/{path.name}"
    if path.name.startswith(".tmp-"):
        text = "an attempt was preparing it"
        yield Finding(verdict="leftover", where=where, text=text, target=path)
        return
    try:
        verified(folder, path.name)
        files = json.loads((path / MANIFEST).read_bytes())["files"]
    except MachineError as error:
        yield Finding(verdict="damaged", where=where, text=error.message, target=path)
        return
    if not tries:
        text = "no attempt here published it"
        yield Finding(verdict="leftover", where=where, text=text, target=path)
    elif all(facts.published != files for facts in tries):
        text = "no attempt published these files under that name"
        yield Finding(verdict="damaged", where=where, text=text, target=path)
