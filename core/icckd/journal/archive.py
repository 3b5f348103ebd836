"""Archives: a study out of its state folder, in one file; and into another one.

An archive is a tar file under zstd. Its first member, `manifest.json`, names every other member in
their order, with bytes and SHA-256; the others lie where they lay in the state folder. Members are
plain files with equal owners, rights and times, so that the same content gives the same bytes.

Reading trusts nothing. A member's header must be, byte for byte, the one that this module writes
for the name and the size in the manifest; so nothing else can be in an archive: no link, device,
path that leads out, or name twice. Not one byte more than the manifest declares is decompressed.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tarfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from icckd.errors import MachineError, UsageError
from icckd.journal.artifacts import MANIFEST, RUN_FOLDER, verified
from icckd.journal.belongings import Belongings, read_belongings
from icckd.journal.file import first_line, last_line, sync
from icckd.journal.folder import CODE, JOURNAL, OUTPUT, StateFolder
from icckd.journal.locks import is_worked_on
from icckd.journal.owner import owner_is_alive, try_owner_lock
from icckd.journal.placing import place, sweep_unplaced

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FORMAT = 1
MODEL = "model.json"
"""Says of a trained model how many classes it knows; reports read it."""
MOST_MANIFEST = 64 << 20
MOST_TIMES = 200
"""An archive that grows more than so many times is restored on demand only."""
SMALL = 64 << 20
"""What is smaller than this, in bytes, may grow as it likes."""
_WINDOW_LOG = 27  # 128 MiB: more memory than this no archive of ours needs
_CHUNK = 1 << 18
_BLOCK = 512
_END = bytes(2 * _BLOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file in an archive: its path below the state folder, its bytes, and their SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What an archive holds, which its manifest says.

    Attributes:
        study: The study's name.
        results_only: Whether artifacts and checkpoints were left out.
        sessions_left_out: Sessions of other studies, which trained stages that this one shares.
        stages_left_out: Complete stages whose artifact is not inside.
        members: The files, in their order.
    """

    study: str
    results_only: bool
    sessions_left_out: tuple[str, ...]
    stages_left_out: tuple[str, ...]
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(member.bytes for member in self.members)

    def manifest(self) -> bytes:
        """Return the bytes of the manifest."""
        found = {
            "format": FORMAT,
            "study": self.study,
            "results_only": self.results_only,
            "sessions_left_out": self.sessions_left_out,
            "stages_left_out": self.stages_left_out,
            "files": [[each.name, each.bytes, each.sha256] for each in self.members],
        }
        return json.dumps(found, separators=(",", ":")).encode()


# Writing.


def write_archive(folder: StateFolder, study: str, out: Path, *, results_only: bool) -> Contents:
    """Write an archive of a study into a new file, whole or not at all.

    A session of another study may run meanwhile.

    Args:
        folder: The state folder.
        study: The study's name.
        out: The file, which must not exist.
        results_only: Leave out what only further training needs: artifacts and checkpoints.

    Raises:
        UsageError: There is no such study, or the file is there already.
        MachineError: Its session runs, an artifact is damaged, or the disk refuses the file.
    """
    with try_owner_lock(folder) as is_ours:
        if is_ours:
            sweep_unplaced(folder)
    known = read_belongings(folder)
    if study not in known:
        raise UsageError(
            f"there is no study {study!r} in {folder.root}",
            hint=f"there are: {', '.join(known) or 'none'}",
        )
    belongings = known[study]
    if belongings.is_open and owner_is_alive(folder):
        raise MachineError(
            f"a session runs, and may change {study}", hint="archive it when its session has ended"
        )
    if out.exists():
        raise UsageError(
            f"{out} is there already, and nothing is overwritten",
            hint="name another file or remove that one",
        )
    aside = out.with_name(f".{out.name[:200]}.{os.getpid()}")
    try:
        contents = _contents(folder, belongings, results_only)
        with aside.open("xb") as file:
            _write(folder, contents, file)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(out)
    except OSError as error:
        if Path(error.filename or "").is_relative_to(folder.root) and not aside.exists():
            raise _changed(Path(error.filename).name) from error
        raise MachineError(
            f"cannot write the archive {out}: {error.strerror}",
            hint="free space on that disk, or name a file on another one; nothing was written",
        ) from error
    finally:
        aside.unlink(missing_ok=True)
    return contents


def _contents(folder: StateFolder, belongings: Belongings, results_only: bool) -> Contents:
    paths = list(_journals(folder, belongings, results_only))
    complete = {_stage_of(path) for path in paths if path.name == JOURNAL and _is_complete(path)}
    inside: set[str] = set()
    if results_only:
        models = [folder.artifacts / stage / MODEL for stage in complete]
        paths += [path for path in models if path.is_file()]
    else:
        inside = {stage for stage in complete if (folder.artifacts / stage).is_dir()}
        for stage in sorted(inside):
            paths += _plain_files(verified(folder, stage))
        for stage in sorted(belongings.stages - complete):
            if not is_worked_on(folder, stage):
                paths += _checkpoints(folder.checkpoints / stage)
    members = []
    for name, path in sorted((path.relative_to(folder.root).as_posix(), path) for path in paths):
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            members.append(Member(name=name, bytes=size, sha256=_sha256(file, size)))
    return Contents(
        study=belongings.study,
        results_only=results_only,
        sessions_left_out=tuple(sorted(belongings.foreign)),
        stages_left_out=tuple(sorted(complete - inside)),
        members=tuple(members),
    )


def _journals(folder: StateFolder, belongings: Belongings, results_only: bool) -> Iterator[Path]:
    """Yield the journals of a study, and what of the files beside them is kept."""
    homes = {folder.sessions: belongings.sessions, folder.attempts: belongings.attempts}
    beside = (JOURNAL, CODE) if results_only else (JOURNAL, CODE, OUTPUT)
    for group, names in homes.items():
        for name in names:
            yield from (path for file in beside if (path := group / name / file).is_file())


def _is_complete(journal: Path) -> bool:
    close = last_line(journal)
    return close is not None and close.kind == "z" and close.body.get("state") == "complete"


def _stage_of(journal: Path) -> str:
    header = first_line(journal)
    return "" if header is None else str(header.body.get("stage"))


def _plain_files(home: Path) -> list[Path]:
    """Return the files below a folder; links and whatever else lies there are left out."""
    return [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]


def _checkpoints(home: Path) -> list[Path]:
    """Return the files of a stage's checkpoints, without those that were being written."""
    return [
        path for path in _plain_files(home) if not path.relative_to(home).parts[0].startswith(".")
    ]


def _sha256(file: IO[bytes], size: int) -> str:
    """Return the SHA-256 of so many bytes."""
    digest = hashlib.sha256()
    while size and (chunk := file.read(min(_CHUNK, size))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()


def _write(folder: StateFolder, contents: Contents, file: IO[bytes]) -> None:
    compressor = zstd.ZstdCompressor()
    manifest = contents.manifest()
    file.write(compressor.compress(_header(MANIFEST, len(manifest)) + _padded(manifest)))
    for member in contents.members:
        file.write(compressor.compress(_header(member.name, member.bytes)))
        digest, left = hashlib.sha256(), member.bytes
        with (folder.root / member.name).open("rb") as source:
            while left and (chunk := source.read(min(_CHUNK, left))):
                digest.update(chunk)
                left -= len(chunk)
                file.write(compressor.compress(chunk))
        if left or digest.hexdigest() != member.sha256:
            raise _changed(member.name)
        file.write(compressor.compress(_padding(member.bytes)))
    file.write(compressor.compress(_END) + compressor.flush())


def _changed(name: str) -> MachineError:
    return MachineError(
        f"{name} changed while it was archived", hint="archive the study when no session runs"
    )


def _header(name: str, size: int) -> bytes:
    """Return the header of a member: the only one that an archive may have for it."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _padded(data: bytes) -> bytes:
    return data + _padding(len(data))


# Reading.


def restore_archive(folder: StateFolder, archive: Path, *, large: bool = False) -> Contents:
    """Put the study of an archive into a state folder, whole or not at all.

    Nothing is in its place before every byte was held against the manifest.

    Args:
        folder: The state folder; it is made where there is none.
        archive: The file.
        large: Take one that grows more than `MOST_TIMES` times.

    Raises:
        UsageError: The study is there already; the archive is not sound, or not one; or it holds
            other bits under the digest of a stage, or the name of an attempt, that is there.
        MachineError: A session runs, or the disk refuses it.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(archive.open("rb"))
        except OSError as error:
            raise UsageError(
                f"cannot read {archive}: {error.strerror}", hint="name an archive of icckd"
            ) from error
        folder.create()
        if not stack.enter_context(try_owner_lock(folder)):
            raise MachineError(
                f"the state folder {folder.root} is in use, or cannot be written",
                hint="wait for its session to end, or restore into another one: ICCKD_HOME=DIR",
            )
        sweep_unplaced(folder)
        aside = folder.root / f".restore-{uuid.uuid4().hex}"
        try:
            contents = _unpack(folder, archive, file, aside, large)
            _settle(folder, aside, contents)
            place(folder, aside)
        except OSError as error:
            raise MachineError(
                f"cannot restore into {folder.root}: {error.strerror}",
                hint="free space on that disk, then again: nothing was restored",
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return contents


def _unpack(
    folder: StateFolder, archive: Path, file: IO[bytes], aside: Path, large: bool
) -> Contents:
    """Unpack an archive aside, holding every byte against its manifest."""
    about = os.fstat(file.fileno())
    if not stat.S_ISREG(about.st_mode):
        raise UsageError(f"{archive} is not a file", hint="name an archive of icckd")
    stream = _Stream(archive, file)
    contents = _read_manifest(archive, stream)
    if contents.study in read_belongings(folder):
        raise UsageError(
            f"study {contents.study} is in {folder.root} already",
            hint="restore it into another state folder: ICCKD_HOME=DIR icckd restore ...",
        )
    _refuse_bomb(folder, archive, contents.size, about.st_size, large)
    aside.mkdir()
    for member in contents.members:
        stream.expect(_header(member.name, member.bytes), member.name)
        target = aside / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, left = hashlib.sha256(), member.bytes
        with target.open("xb") as out:
            while left:
                chunk = stream.read(min(_CHUNK, left))
                digest.update(chunk)
                out.write(chunk)
                left -= len(chunk)
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != member.sha256:
            raise _unsound(archive, f"{member.name} has another SHA-256 than its manifest says")
        stream.expect(_padding(member.bytes), member.name)
    stream.expect(_END, "its end")
    stream.expect_end()
    return contents


def _refuse_bomb(folder: StateFolder, archive: Path, declared: int, size: int, large: bool) -> None:
    if declared > SMALL + MOST_TIMES * size and not large:
        raise UsageError(
            f"{archive} of {size} bytes would grow to {declared} bytes, more than {MOST_TIMES}"
            " times",
            hint="if you know who made it: icckd restore --large",
        )
    free = shutil.disk_usage(folder.root).free
    if declared > free:
        raise MachineError(
            f"{archive} holds {declared} bytes, and the disk of {folder.root} has {free} left",
            hint="free space, or restore onto another disk: ICCKD_HOME=DIR",
        )


class _Stream:
    """The decompressed bytes of an archive, no more of them than are asked for.

    Raises:
        UsageError: From each method: the archive is cut off, damaged, or holds something else.
    """

    def __init__(self, archive: Path, file: IO[bytes]) -> None:
        self._archive = archive
        self._file = file
        self._zstd = zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        )
        self._rest = b""

    def read(self, most: int) -> bytes:
        """Return some bytes, one at least."""
        while not self._rest:
            data = b""
            if self._zstd.eof or (self._zstd.needs_input and not (data := self._file.read(_CHUNK))):
                raise _unsound(self._archive, "it is cut off")
            try:
                self._rest = self._zstd.decompress(data, max_length=_CHUNK)
            except zstd.ZstdError as error:
                raise _unsound(self._archive, "it is no zstd file, or a damaged one") from error
        found, self._rest = self._rest[:most], self._rest[most:]
        return found

    def exactly(self, size: int) -> bytes:
        """Return so many bytes."""
        found = bytearray()
        while len(found) < size:
            found += self.read(size - len(found))
        return bytes(found)

    def expect(self, wanted: bytes, what: str) -> None:
        """Read bytes that must be these."""
        if wanted and (found := self.exactly(len(wanted))) != wanted:
            raise _unsound(self._archive, f"where {what} should be it has {_described(found)}")

    def expect_end(self) -> None:
        """See to it that nothing follows."""
        with contextlib.suppress(zstd.ZstdError):
            while not self._rest and not self._zstd.eof:
                data = self._file.read(_CHUNK) if self._zstd.needs_input else b""
                if self._zstd.needs_input and not data:
                    break
                self._rest = self._zstd.decompress(data, max_length=_CHUNK)
        if self._rest or not self._zstd.eof or self._zstd.unused_data or self._file.read(1):
            raise _unsound(self._archive, "something follows its end, or its end is missing")


def _described(header: bytes) -> str:
    """Say what somebody put where the header of a member should be."""
    try:
        info = tarfile.TarInfo.frombuf(header[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return "something else"
    kinds = {
        tarfile.SYMTYPE: "a link",
        tarfile.LNKTYPE: "a link",
        tarfile.CHRTYPE: "a device",
        tarfile.BLKTYPE: "a device",
        tarfile.FIFOTYPE: "a pipe",
        tarfile.DIRTYPE: "a folder",
    }
    return f"{kinds.get(info.type, 'a file')} named {ascii(info.name)[:200]}"


def _unsound(archive: Path, why: str) -> UsageError:
    return UsageError(
        f"{archive} is not a sound archive of icckd: {why}",
        hint="nothing was restored; fetch it again, as `icckd archive` wrote it",
    )


_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_STUDY = r"[a-z0-9][a-z0-9._-]{0,63}"
_DIGEST = r"[0-9a-f]{64}"
_PLACES = tuple(
    re.compile(place)
    for place in (
        rf"sessions/{_PART}/({re.escape(JOURNAL)}|{re.escape(CODE)})",
        rf"attempts/{_PART}/({re.escape(JOURNAL)}|{re.escape(OUTPUT)})",
        rf"artifacts/{_DIGEST}/.+",
        rf"checkpoints/{_DIGEST}/epoch-[0-9]{{1,12}}/[a-z]+\.[a-z]+",
        rf"checkpoints/{_DIGEST}/{RUN_FOLDER}/.+",
    )
)


def _read_manifest(archive: Path, stream: _Stream) -> Contents:
    header = stream.exactly(_BLOCK)
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        raise _unsound(archive, "it is no tar file") from error
    if info.name != MANIFEST or not 0 < info.size <= MOST_MANIFEST:
        raise _unsound(archive, f"it does not begin with a {MANIFEST}")
    if header != _header(MANIFEST, info.size):
        raise _unsound(archive, f"it begins with {_described(header)} that icckd did not write")
    raw = stream.exactly(info.size)
    stream.expect(_padding(info.size), MANIFEST)
    try:
        contents = _contents_of(json.loads(raw))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _unsound(archive, f"its manifest cannot be read ({error})") from error
    if contents.manifest() != raw:
        raise _unsound(archive, "its manifest is not as icckd writes it")
    return contents


def _contents_of(said: Any) -> Contents:
    """Return what a manifest says.

    Raises:
        ValueError, TypeError, KeyError: It is not a manifest, or names what no archive may hold.
    """
    if said["format"] != FORMAT:
        raise ValueError(f"format {said['format']}, this icckd reads {FORMAT}")
    members = []
    for name, size, sha256 in said["files"]:
        if type(size) is not int or not 0 <= size < 1 << 62 or not re.fullmatch(_DIGEST, sha256):
            raise ValueError("a file without size or digest")
        if not _may_be_inside(name):
            raise ValueError(f"the path {ascii(name)[:200]}")
        members.append(Member(name=name, bytes=size, sha256=sha256))
    names = [member.name for member in members]
    if names != sorted(set(names)):
        raise ValueError("a path twice, or out of order")
    if {parent for name in names for parent in _parents(name)} & set(names):
        raise ValueError("a file that is a folder, too")
    if type(said["results_only"]) is not bool or not re.fullmatch(_STUDY, said["study"]):
        raise TypeError("no study")
    return Contents(
        study=said["study"],
        results_only=said["results_only"],
        sessions_left_out=_texts(said["sessions_left_out"]),
        stages_left_out=_texts(said["stages_left_out"]),
        members=tuple(members),
    )


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or any(type(value) is not str for value in values):
        raise TypeError("no list of names")
    return tuple(values)


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition("/")[0]:
        yield name


def _may_be_inside(name: str) -> bool:
    parts = name.split("/")
    return (
        any(place.fullmatch(name) for place in _PLACES)
        and all(part not in ("", ".", "..") and "\0" not in part for part in parts)
        and len(name.encode("utf-8", "surrogateescape")) < 4096
        and all(len(part.encode("utf-8", "surrogateescape")) < 256 for part in parts)
    )


# What was unpacked beside what is there.


def _settle(folder: StateFolder, aside: Path, contents: Contents) -> None:
    """Take out of what was unpacked what the state folder has, and refuse what contradicts it."""
    for journal in aside.glob(f"*/*/{JOURNAL}"):
        _refuse_foreign(journal, contents)
    for group in ("sessions", "attempts", "artifacts"):
        for home in sorted((aside / group).glob("*")):
            target = folder.root / group / home.name
            if not os.path.lexists(target):
                continue
            key = MANIFEST if group == "artifacts" else JOURNAL
            if (home / key).exists() and not _is_equal(home / key, target / key):
                raise UsageError(
                    f"{group}/{home.name} is in {folder.root} with another content",
                    hint="restore into another state folder: ICCKD_HOME=DIR icckd restore ...",
                )
            shutil.rmtree(home)
    for home in (aside / "checkpoints").glob("*"):
        if (folder.checkpoints / home.name).exists():
            shutil.rmtree(home)
    record = aside / "restored" / f"{hashlib.sha256(contents.manifest()).hexdigest()[:16]}.json"
    record.parent.mkdir()
    left_out = {
        "study": contents.study,
        "sessions_left_out": contents.sessions_left_out,
        "stages_left_out": contents.stages_left_out,
    }
    record.write_text(json.dumps(left_out))
    for path in (record, *(path for path in aside.rglob("*") if path.is_dir())):
        sync(path)


def _refuse_foreign(journal: Path, contents: Contents) -> None:
    """See to it that a journal is of the study, and of the name of its folder."""
    header = first_line(journal)
    is_session = journal.parent.parent.name == "sessions"
    kind, key = ("H", "session") if is_session else ("h", "attempt")
    if (
        header is None
        or header.kind != kind
        or header.body.get(key) != journal.parent.name
        or (is_session and header.body.get("study") != contents.study)
    ):
        raise UsageError(
            f"the archive holds a journal that is not one of {contents.study}:"
            f" {journal.parent.parent.name}/{journal.parent.name}",
            hint="nothing was restored",
        )


def _is_equal(first: Path, second: Path) -> bool:
    with contextlib.suppress(OSError):
        return first.read_bytes() == second.read_bytes()
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What the archives did not hold that were restored into a state folder."""

    sessions: frozenset[str]
    stages: frozenset[str]


def read_left_out(folder: StateFolder) -> LeftOut:
    """Return what restored archives did not hold."""
    sessions: set[str] = set()
    stages: set[str] = set()
    for said in _records(folder.restored):
        sessions.update(_known(said, "sessions_left_out"))
        stages.update(_known(said, "stages_left_out"))
    return LeftOut(sessions=frozenset(sessions), stages=frozenset(stages))


def _records(home: Path) -> Iterator[Any]:
    for path in sorted(home.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            yield json.loads(path.read_bytes())


def _known(said: Any, key: str) -> Sequence[str]:
    try:
        return _texts(said[key])
    except (TypeError, KeyError):
        return ()
