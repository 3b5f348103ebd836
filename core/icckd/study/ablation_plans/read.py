"""Read an ablation plan: bytes, text, its form, entries; one clear error with its line.

    file -> bytes -> text, mis-decoded text undone -> page | JSON | YAML -> entries

Plan files are untrusted: sizes are limited, and nothing in them is evaluated or followed.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from icckd.errors import SpecError
from icckd.study.ablation_plans.page import page_entries
from icckd.study.ablation_plans.records import AblationPlan, PlanEntry
from icckd.study.ablation_plans.tables import json_entries, yaml_entries
from icckd.study.observed import visible

MOST_BYTES = 16 << 20
MOST_ENTRIES = 50_000
MOST_ITEMS = 100_000
STANDARD_INPUT = "-"
_YAML = re.compile(
    r"(?:\s*#[^\n]*\n|\s*\n|---\s*\n)*"
    r"(?:- *(?:name|ablated_part|action) *:|ablations? *:|plan *:)"
)
_ODD = re.compile(r"[\x00\ud800-\udfff]")


def read_plan(path: str) -> AblationPlan:
    """Return the ablation plan in a file, or on standard input for "-".

    Raises:
        SpecError: It cannot be read, is too large, is no text, or no plan; the message names the
            line.
    """
    if path == STANDARD_INPUT:
        return parse_plan(sys.stdin.buffer.read(MOST_BYTES + 1), "standard input")
    name = visible(Path(path).name)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot read the ablation plan {name}: {error.strerror}", hint="give a file, or -"
        ) from error
    return parse_plan(data, name)


def parse_plan(data: bytes, where: str) -> AblationPlan:
    """Return the ablation plan in some bytes.

    Args:
        data: The page, JSON lines, JSON or YAML.
        where: What to call it in messages, and its source where it names none.

    Raises:
        SpecError: As `read_plan`.
    """
    text, notes = _text(data, where)
    form = _form(text, Path(where).suffix.lower())
    source = where
    if form == "page":
        page = page_entries(text, where)
        entries, more, source = list(page.entries), list(page.notes), page.source or where
    else:
        entries, more = (json_entries if form == "json" else yaml_entries)(text, where)
    _refuse_unfit(entries, where)
    return AblationPlan(entries=tuple(entries), source=source, notes=(*notes, *more))


def _text(data: bytes, where: str) -> tuple[str, list[str]]:
    """Return the text of a plan, and what had to be done for it."""
    if len(data) > MOST_BYTES:
        raise SpecError(
            f"{where} is no ablation plan: it is larger than {MOST_BYTES >> 20} MiB",
            hint="a plan is a few kilobytes",
        )
    if not data.strip():
        raise SpecError(
            f"{where}, line 1: the ablation plan is empty",
            hint="AblationBench's planner leaves an empty file where it failed",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpecError(
            f"{where}, line {line}: an ablation plan is text in UTF-8, and this is not",
            hint="save it as UTF-8",
        ) from error
    if odd := _ODD.search(text):
        raise SpecError(
            f"{where}, line {text.count(chr(10), 0, odd.start()) + 1}: a zero byte: the file is"
            " no text",
            hint="give the plan as text in UTF-8",
        )
    whole, notes = undone(text)
    if "\r" in whole:
        whole = whole.replace("\r\n", "\n").replace("\r", "\n")
    return whole, notes


def _form(text: str, suffix: str) -> str:
    """Return which form a text has: "json", "yaml" or "page"."""
    start = text.lstrip()[:1]
    if start in ("{", "[") or suffix in (".json", ".jsonl", ".ndjson"):
        return "json"
    if suffix in (".yaml", ".yml"):
        return "yaml"
    return "yaml" if _YAML.match(text) else "page"


def _refuse_unfit(entries: Sequence[PlanEntry], where: str) -> None:
    if not entries:
        raise SpecError(
            f"{where}, line 1: the ablation plan has no ablation",
            hint="an entry has a name, an ablated part and an action",
        )
    if len(entries) > MOST_ENTRIES or sum(len(each.items) for each in entries) > MOST_ITEMS:
        raise SpecError(
            f"{where} is too large an ablation plan: {MOST_ENTRIES} ablations and {MOST_ITEMS}"
            " items are the most",
            hint="give it in parts",
        )
    seen: dict[str, int] = {}
    for each in entries:
        if each.name in seen:
            raise SpecError(
                f"{where}, line {each.line}: two ablations are called"
                f" {visible(each.name, 80)!r}, the first in line {seen[each.name]}",
                hint="give each its own name",
            )
        seen[each.name] = each.line


# UTF-8 that was once read as another encoding, whole: `δ` became `Œ¥` under Mac Roman.

_MISREAD = {"mac_roman": "Mac Roman", "cp1252": "Windows-1252", "latin-1": "Latin-1"}


def undone(text: str) -> tuple[str, list[str]]:
    """Return a text with a mis-decoding undone, and what was undone.

    Only what encodes to UTF-8 as a whole is taken for mis-decoded: text that was meant as it is
    hardly ever does.

    >>> undone("margin threshold Œ¥")
    ('margin threshold δ', ['its UTF-8 had been read as Mac Roman: undone'])
    >>> undone("margin threshold δ, naïve")
    ('margin threshold δ, naïve', [])
    """
    notes: list[str] = []
    for _ in range(2):  # it may have happened twice
        if text.isascii():
            break
        for codec, name in _MISREAD.items():
            found = _encoded_back(text, codec)
            if found is not None:
                text = found
                notes.append(f"its UTF-8 had been read as {name}: undone")
                break
        else:
            break
    return text, notes


def _encoded_back(text: str, codec: str) -> str | None:
    try:
        return _bytes_of(text, codec).decode("utf-8")
    except UnicodeError:
        return None


def _bytes_of(text: str, codec: str) -> bytes:
    """Return a text's bytes; Windows leaves five bytes undefined, which readers take for C1."""
    if codec != "cp1252":
        return text.encode(codec)
    return b"".join(
        bytes([ord(part)]) if part in "\x81\x8d\x8f\x90\x9d" else part.encode(codec)
        for part in re.split("([\x81\x8d\x8f\x90\x9d])", text)
        if part
    )
