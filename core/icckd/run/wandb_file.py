"""An offline run of Weights & Biases, read from its file without W&B.

A `.wandb` file is a log of LevelDB's format (blocks of 32 KiB, records with a checksum, after a
header of seven bytes) whose records are messages of wandb/proto/wandb_internal.proto. Of these only
what a reader of results needs is decoded: settings, name and project of the run, logged values, and
whether the run came to its end. A file that ends amid a record is that of a run which was killed:
what is whole counts.
"""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from icckd.errors import StageError

HEADER = b":W&B\xe1\xbe\x00"
BLOCK = 1 << 15
LONGEST_RECORD = 1 << 26
_LEAD = struct.Struct("<IHB")  # checksum, length, part
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_HISTORY, _CONFIG, _RUN, _EXIT = 2, 5, 17, 18  # fields of a record


@dataclass(slots=True)
class WandbRun:
    """What was read of a run so far.

    Attributes:
        config: Its settings, as the run set and changed them.
        name, project, identity: What it is called.
        has_ended: Whether it came to its end in good order.
    """

    config: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    project: str = ""
    identity: str = ""
    has_ended: bool = False


def history(path: Path, run: WandbRun) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """Yield the logged values of a run, each with its step.

    Args:
        path: The file.
        run: Filled with what else the file tells, as far as it was read.

    Raises:
        StageError: It is no such file, or is damaged before its end.
    """
    for record in _records(path):
        fields = _fields(record)
        for body in fields.get(_RUN, ()):
            _take_run(_fields(body), run)
        for body in fields.get(_CONFIG, ()):
            _take_config(body, run.config)
        if _EXIT in fields:
            run.has_ended = True
        for body in fields.get(_HISTORY, ()):
            known = _fields(body)
            items = dict(_items(known.get(1, ())))
            steps = [_fields(step) for step in known.get(2, ())]
            number = next((n for step in steps for n in step.get(1, ()) if isinstance(n, int)), 0)
            yield (number if steps else None), items


def _take_run(fields: Mapping[int, list[Any]], run: WandbRun) -> None:
    for body in fields.get(4, ()):
        _take_config(body, run.config)
    for number, name in ((1, "identity"), (3, "project"), (8, "name")):
        for text in fields.get(number, ()):
            if isinstance(text, bytes):
                setattr(run, name, text.decode("utf-8", "replace"))


def _take_config(body: Any, config: dict[str, Any]) -> None:
    fields = _fields(body)
    for key, value in _items(fields.get(1, ())):
        config[key] = value
    for key, _ in _items(fields.get(2, ())):
        config.pop(key, None)


def _items(bodies: Any) -> Iterator[tuple[str, Any]]:
    """Yield keys and values of items: a key, or the keys of tables inside tables, and JSON."""
    for body in bodies:
        fields = _fields(body)
        keys = [k.decode("utf-8", "replace") for n in (1, 2) for k in fields.get(n, ()) if k]
        for text in fields.get(16, [b"null"])[-1:]:
            try:
                yield ".".join(keys), json.loads(text)
            except (ValueError, RecursionError, TypeError):
                continue


# Records: LevelDB's log.


def _records(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        if file.read(len(HEADER)) != HEADER:
            raise StageError(
                f"{path.name} is no file of an offline run of W&B",
                hint="its name ends in .wandb, and it lies in a folder offline-run-...",
            )
        whole = b""
        while (part := _part(file, path.name)) is not None:
            kind, data = part
            whole = data if kind in (_WHOLE, _FIRST) else whole + data
            if len(whole) > LONGEST_RECORD:
                raise StageError(
                    f"{path.name} has a record of more than {LONGEST_RECORD} bytes",
                    hint="no run logs that much at once",
                )
            if kind in (_WHOLE, _LAST):
                yield whole
                whole = b""


def _part(file: IO[bytes], name: str) -> tuple[int, bytes] | None:
    """Return the next part of a record; None at the end, or where the file was cut off."""
    left = BLOCK - file.tell() % BLOCK
    if left < _LEAD.size:
        file.seek(left, 1)
    head = file.read(_LEAD.size)
    if len(head) < _LEAD.size:
        return None
    checksum, length, kind = _LEAD.unpack(head)
    data = file.read(length)
    if len(data) < length or (kind == 0 and not any(head)):
        return None
    if zlib.crc32(data, zlib.crc32(bytes([kind]))) != checksum or not _WHOLE <= kind <= _LAST:
        raise StageError(
            f"{name} is damaged at byte {file.tell()}",
            hint="copy it again from where the run was made",
        )
    return kind, data


# Messages: the wire format of Protocol Buffers, as far as it occurs.


def _fields(message: Any) -> dict[int, list[Any]]:
    """Return numbers and texts of a message by field; what makes no sense ends it."""
    found: dict[int, list[Any]] = {}
    place = 0
    while isinstance(message, bytes) and place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        value: Any
        if kind == 0:
            value, place = _varint(message, place)
        elif kind == 2:
            length, place = _varint(message, place)
            value, place = message[place : place + length], place + length
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            value, place = None, place + width
        else:
            break
        found.setdefault(key >> 3, []).append(value)
    return found


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 64:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    return 0, len(message) + 1
