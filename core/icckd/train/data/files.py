"""Raw files of data sets and weights: where they lie, and what identifies them. Without torch.

`fingerprint` identifies a data set, `survey` looks at all its images and says what is wrong.
"""

import contextlib
import functools
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from icckd.errors import DataError, MachineError
from icckd.study.data import DATASETS, Data, Inventory, Labelled
from icckd.study.network import WeightsFile
from icckd.train.data.inventory import IMAGE_SUFFIXES, shown
from icckd.train.data.picture import READER, Seen, inspect

TEXT_SUFFIX = ".txt"


def folder_of(kind: str, folder: Path) -> Path:
    """Return the folder of a data set.

    Raises:
        MachineError: If it is missing.
    """
    if not folder.is_dir():
        raise missing(kind, f"{folder} is no folder")
    return folder


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the names of a folder's sub-folders, sorted; hidden ones are no classes."""
    with os.scandir(folder) as entries:
        return tuple(sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(".")))


def class_images(folder: Path, classes: tuple[str, ...], inner: str = "") -> Labelled:
    """Return the images of each class's sub-folder, sorted by class and name.

    Args:
        folder: Has the sub-folders.
        classes: Their names, in the order of their numbers.
        inner: Name of a folder within each sub-folder that holds the images, if any.
    """
    names: list[str] = []
    labels: list[int] = []
    for number, name in enumerate(classes):
        own = f"{name}/{inner}" if inner else name
        found = sorted(image_names(folder / own)) if (folder / own).is_dir() else []
        names += (f"{own}/{image}" for image in found)
        labels += [number] * len(found)
    return Labelled(names=tuple(names), labels=tuple(labels))


def image_names(folder: Path) -> list[str]:
    """Return the names of the images directly in a folder."""
    with os.scandir(folder) as entries:
        return [
            entry.name
            for entry in entries
            if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and entry.is_file()
        ]


def expect(kind: str, folder: Path, parts: dict[str, Labelled], counts: dict[str, int]) -> None:
    """Check how many images each part of a set has.

    Raises:
        MachineError: If a part has more or fewer.
    """
    for name, part in parts.items():
        if len(part.names) != counts[name]:
            raise missing(
                kind, f"{folder / name} holds {len(part.names)} images, not {counts[name]}"
            )


def missing(kind: str, why: str) -> MachineError:
    """Return the error for a data set that is not there as it should be."""
    return _missing(DATASETS.part(kind).settings, why, kind)


def _missing(data: Data | type[Data], why: str, kind: str = "") -> MachineError:
    name = kind or data.kind
    return MachineError(
        f"data set {name!r} cannot be read: {why}",
        hint=data.absent_hint or f"run `icckd fetch {name}`",
    )


# Fingerprint of a data set: which bytes a stage reads. Torch-free.
#
# A set with a file for each image may hold more than can be read at every plan. What a folder's
# files held is therefore remembered under their names, sizes, times of change and inode numbers: a
# folder in which none of these differs is not read again.

READERS = 8
SETTLED_NS = 2_000_000_000
"""Files changed less than two seconds ago are not remembered: they may change within one tick."""

Listed = tuple[str, os.stat_result]


def fingerprint(data: Data, root: Path) -> str:
    """Return the SHA-256 over names and contents of the raw files, in hexadecimal.

    Args:
        data: The data set; its other settings do not count.
        root: Folder that holds downloaded data sets.

    Raises:
        MachineError: If a file is missing or cannot be read.
    """
    if data.drawn:
        return sha256(data.drawn.encode()).hexdigest()
    total = sha256()
    folder = data.raw_folder(root)
    if folder is not None:
        inventory = data.inventory(root)
        contents = list(_contents(folder, inventory))
        if not contents:
            raise _missing(data, f"there are no images in {folder}")
        for name, content in contents:
            total.update(os.fsencode(f"{name} {content}\n"))
        if inventory is not None and inventory.counts_anew:
            total.update(f"reader {READER}\n".encode())
    for file in data.raw_files(root):
        total.update(f"{file.name} {_raw_content(file)}\n".encode())
    return total.hexdigest()


def cache_folder() -> Path:
    """Return where fingerprints of folders are remembered; deleting it costs time alone."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "icckd" / "fingerprints"


def _contents(folder: Path, inventory: Inventory | None) -> Iterator[tuple[str, str]]:
    """Yield each sub-folder that has files, by name, with the digest of what they hold."""
    as_seen = inventory is not None and inventory.as_seen
    remembered = _Remembered(folder, as_seen=as_seen)
    try:
        with ThreadPoolExecutor(READERS) as pool:
            for name, files in _walked(folder) if inventory is None else inventory.files().items():
                here = folder / name
                listed = [(file, (here / file).stat()) for file in files]
                yield name or ".", remembered.about(here, listed, pool).digest
    except OSError as error:
        raise MachineError(
            f"data in {folder} cannot be read: {error}", hint="check the files and their rights"
        ) from error
    remembered.keep()


def _walked(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every sub-folder by name, with the names of its images and texts.

    Links to folders are followed, unless they lead into a folder that contains them.
    """
    wanted = IMAGE_SUFFIXES | {TEXT_SUFFIX}
    for here, inner, files in os.walk(folder, followlinks=True):
        if Path(here).resolve() in {p.resolve() for p in Path(here).parents}:
            inner.clear()
            continue
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        chosen = sorted(name for name in files if os.path.splitext(name)[1].lower() in wanted)
        if chosen:
            yield Path(here).relative_to(folder).as_posix(), chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What the files of one folder hold, as remembered.

    Attributes:
        digest: Digest of names, sizes and contents.
        words: Images by their mode and what is unusual about them.
        sizes: Least and greatest width and height; empty where no image was decoded.
        damaged: Why a file is not a whole image, by its name.
    """

    digest: str
    words: dict[str, int]
    sizes: list[int]
    damaged: dict[str, str]


class _Remembered:
    """What folders hold by what their listing shows, kept in one file for each data set.

    Images that are read as a viewer shows them are decoded, and what earlier versions read
    otherwise has the reader's version in the digest.
    """

    def __init__(self, folder: Path, *, as_seen: bool) -> None:
        name = sha256(os.fsencode(folder.resolve())).hexdigest()
        self._file = cache_folder() / f"{name}{f'.{READER}' if as_seen else ''}.json"
        self._as_seen = as_seen
        self._known = self._read()
        self._used: dict[str, Any] = {}

    def about(self, here: Path, listed: list[Listed], pool: ThreadPoolExecutor) -> _About:
        """Return what the listed files hold."""
        listing = sha256()
        for name, about in listed:
            seen = (name, about.st_size, about.st_mtime_ns, about.st_ino, about.st_dev)
            listing.update(json.dumps(seen).encode())
        key = f"{here} {listing.hexdigest()}"
        found = self._remembered(key)
        if found is None:
            look = inspect if self._as_seen else _unseen
            found = _summed(listed, pool.map(look, [here / name for name, _ in listed]))
        if max(about.st_mtime_ns for _, about in listed) < time.time_ns() - SETTLED_NS:
            self._used[key] = asdict(found)
        return found

    def keep(self) -> None:
        """Write what is known now, aside first; a folder that cannot be written is left alone."""
        if self._used == self._known:
            return
        aside = self._file.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(self._used))
            aside.replace(self._file)

    def _remembered(self, key: str) -> _About | None:
        with contextlib.suppress(TypeError, ValueError):
            found = _About(**self._known[key]) if key in self._known else None
            return found if found is None or isinstance(found.digest, str) else None
        return None

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def _summed(listed: list[Listed], seen: Iterable[Seen]) -> _About:
    total, words, damaged = sha256(), Counter[str](), dict[str, str]()
    sizes: list[tuple[int, int]] = []
    for (name, about), each in zip(listed, seen, strict=True):
        mark = f" reader {READER}" if each.is_read_anew else ""
        total.update(os.fsencode(f"{name} {about.st_size} {each.digest}{mark}\n"))
        if each.damage:
            damaged[name] = each.damage
        elif each.words:
            words[each.words] += 1
            sizes.append(each.size)
    widths, heights = zip(*sizes, strict=True) if sizes else ((), ())
    return _About(
        digest=total.hexdigest(),
        words=dict(words),
        sizes=[min(widths), min(heights), max(widths), max(heights)] if sizes else [],
        damaged=damaged,
    )


def _unseen(file: Path) -> Seen:
    return Seen(digest=_content(file))


def _raw_content(file: Path) -> str:
    """Return the digest of a raw file: a worker asks for it before every stage."""
    about = file.stat()
    if max(about.st_mtime_ns, about.st_ctime_ns) >= time.time_ns() - SETTLED_NS:
        return _content(file)
    seen = (about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino, about.st_dev)
    return _content_as_seen(file, seen)


@functools.lru_cache(maxsize=64)
def _content_as_seen(file: Path, seen: tuple[int, ...]) -> str:
    return _content(file)


def _content(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


# A survey: every image looked at once, by the same listing and the same memory as the fingerprint.

MOST_NAMED = 20
"""Damaged images that a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a folder of images holds, every image decoded.

    Attributes:
        data: The data set.
        inventory: Classes, images, what is left out.
        words: Images by their mode and what is unusual about them; empty where none was decoded.
        sizes: Least and greatest width and height of the images, where they were decoded.
        damaged: Why a file is not a whole image, by its name below the folder.
    """

    data: Data
    inventory: Inventory
    words: Mapping[str, int]
    sizes: tuple[int, ...]
    damaged: Mapping[str, str]

    def problems(self) -> list[str]:
        """Return what makes the images unfit to train on, a line each."""
        return [
            *self.inventory.problems,
            *(f"{shown(n)}: {shown(why)}" for n, why in self.damaged.items()),
        ]

    def require_sound(self) -> None:
        """Do nothing where the images can be trained on.

        Raises:
            DataError: They cannot; the message names all that is wrong.
        """
        problems = self.problems()
        if not problems:
            return
        shown = problems[:MOST_NAMED]
        if len(problems) > MOST_NAMED:
            shown.append(f"and {len(problems) - MOST_NAMED} more")
        hint = self.data.absent_hint
        if self.damaged:
            hint = "put whole copies of these files there, or remove them from the set"
        raise DataError(
            "\n  ".join([f"{self.inventory.folder} cannot be trained on:", *shown]),
            hint=f"{hint}; `icckd data check` shows all that a folder holds",
        )


def survey(data: Data, root: Path, *, decode: bool = False) -> Survey | None:
    """Look at all images of a set that has a folder of them; None for other sets.

    Args:
        data: The data set.
        root: Folder that holds data sets.
        decode: Whether to decode images also of a set whose images are read as they are stored.

    Raises:
        MachineError: The folder is missing or cannot be read.
    """
    inventory = data.inventory(root)
    if inventory is None:
        return None
    words, damaged = Counter[str](), dict[str, str]()
    sizes: list[list[int]] = []
    if inventory.as_seen or decode:
        remembered = _Remembered(inventory.folder, as_seen=True)
        with ThreadPoolExecutor(READERS) as pool:
            for name, files in inventory.files().items():
                here = inventory.folder / name
                found = remembered.about(here, [(n, (here / n).stat()) for n in files], pool)
                words.update(found.words)
                sizes += [found.sizes] if found.sizes else []
                damaged |= {f"{name}/{n}": why for n, why in found.damaged.items()}
        remembered.keep()
    ends = (min, min, max, max)
    return Survey(
        data=data,
        inventory=inventory,
        words=words,
        sizes=tuple(end(each[n] for each in sizes) for n, end in enumerate(ends)) if sizes else (),
        damaged=damaged,
    )


# Weights that a study names: read whole and compared with their digest, without torch.


def read_weights(given: WeightsFile) -> bytes:
    """Return the content of a weights file.

    Raises:
        MachineError: The file is missing, or is not the one that the study means.
    """
    try:
        content = Path(given.file).read_bytes()
    except OSError as error:
        raise MachineError(
            f"cannot read the weights {given.file}: {error.strerror}",
            hint="put the safetensors file there, or change `weights` in the study",
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != given.sha256:
        raise MachineError(
            f"the weights {given.file} are not those of the study: their SHA-256 is {digest}",
            hint="put the right file there, or write that digest into the study",
        )
    return content
