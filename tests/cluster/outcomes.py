"""What a state folder holds in the end: artifacts by digest, attempts by stage."""

import json
from collections import defaultdict
from pathlib import Path

from icckd.journal.file import first_line, last_line


def artifacts(state: Path) -> dict[str, dict[str, str]]:
    """Return SHA-256 by file name of each artifact, by stage."""
    return {
        path.parent.name: json.loads(path.read_bytes())["files"]
        for path in (state / "artifacts").glob("*/manifest.json")
    }


def attempts_by_stage(state: Path) -> dict[str, tuple[str, ...]]:
    """Return how the attempts at each stage ended, in order; "" where a journal has no end."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in (state / "attempts").glob("*/journal.jsonl"):
        header, close = first_line(path), last_line(path)
        if header is None:
            continue
        ended = close.body["state"] if close is not None and close.kind == "z" else ""
        found[header.body["stage"]].append((path.parent.name, ended))
    return {stage: tuple(state for _, state in sorted(ends)) for stage, ends in found.items()}


def complete_once(state: Path) -> bool:
    """Whether each stage that was attempted was completed by one attempt."""
    return all(ends.count("complete") == 1 for ends in attempts_by_stage(state).values())
