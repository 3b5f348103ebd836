"""What a folder of images holds: classes, images of each split, what is left out and why.

Without torch. `take_inventory` lists a folder once; plan, fingerprint and reader go by the result.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from icckd.errors import MachineError
from icckd.study.data import Inventory, Labelled

IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp"})
OTHER_IMAGES = frozenset(
    (".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".npy", ".pgm", ".ppm", ".tga",
     ".tif", ".tiff", ".dcm", ".dng", ".svg")
)  # fmt: skip
"""Suffixes of images that are not read."""
ARCHIVES = frozenset((".zip", ".tar", ".tgz", ".gz", ".7z", ".rar"))
"""Suffixes of what may hold the images of a class."""
TRAIN = "train"
VALIDATION_NAMES = ("val", "valid", "validation")
TEST = "test"
LITTER = frozenset(
    {"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information"}
)
"""Folders that archives and file systems leave; they are no classes."""
KNOWN = f"{TRAIN}, {VALIDATION_NAMES[0]} (or {', '.join(VALIDATION_NAMES[1:])}), {TEST}"
NAMED = 3
"""Names that one line gives."""


@dataclass(frozen=True, slots=True)
class _Listing:
    """The entries of one folder, each kind sorted by name."""

    folders: list[str]
    hidden: list[str]
    images: list[str]
    others: list[str]


@dataclass(slots=True)
class _Notes:
    """Lines on what is left out and what is wrong; whether an earlier icckd counted otherwise."""

    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    counts_anew: bool = False
    seeming_splits: tuple[str, ...] = ()
    other_images: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add_other(self, suffix: str, where: str) -> None:
        """Count an image of a format that is not read."""
        self.other_images[suffix] += 1
        self.examples.setdefault(suffix, []).append(where)


def take_inventory(folder: Path, *, parts: Sequence[str] = (), as_seen: bool) -> Inventory:
    """Return what a folder holds.

    A class is a sub-folder that has images of its own: neither a hidden one, nor what an archive or
    a file system leaves. Links count as what they lead to; folders within a class are not read, so
    that no link leads in a circle.

    Args:
        folder: The folder.
        parts: Splits that it must have; none takes those that it has, or all images as one.
        as_seen: Whether images are decoded as a viewer shows them.

    Raises:
        MachineError: The folder, or one in it, cannot be read.
    """
    notes = _Notes()
    try:
        top = _list(folder)
        splits = tuple(parts) or _splits(top, folder, notes)
        found = {part: _classes(folder / part, part, notes) for part in splits or ("",)}
        _say_what_else(top, splits, notes)
    except OSError as error:
        raise MachineError(
            f"data in {folder} cannot be read: {error}", hint="check the files and their rights"
        ) from error
    _compare_splits(found, folder, notes)
    held = {name for images in found.values() for name, own in images.items() if own}
    empty = {name for images in found.values() for name in images} - held
    notes.left_out += [
        f"the folder {shown(n)}, which has no images and is not a class"
        for n in sorted(empty - set(notes.seeming_splits))
    ]
    classes = tuple(sorted(held))
    notes.left_out += [
        f"{count} {suffix} files: {_some(notes.examples[suffix])}"
        for suffix, count in sorted(notes.other_images.items())
    ]
    return Inventory(
        folder=folder,
        classes=classes,
        parts={part: _labelled(images, classes) for part, images in found.items()},
        left_out=tuple(notes.left_out),
        problems=tuple(notes.problems),
        as_seen=as_seen,
        counts_anew=notes.counts_anew,
    )


def _list(folder: Path) -> _Listing:
    found = _Listing([], [], [], [])
    with os.scandir(folder) as entries:
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.is_dir():
                (found.hidden if _is_litter(entry.name) else found.folders).append(entry.name)
            elif suffix in IMAGE_SUFFIXES and entry.is_file() and not entry.name.startswith("."):
                found.images.append(entry.name)
            else:
                found.others.append(entry.name)
    for names in (found.folders, found.hidden, found.images, found.others):
        names.sort()
    return found


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name in LITTER


def _splits(top: _Listing, folder: Path, notes: _Notes) -> tuple[str, ...]:
    """Return the sub-folders that are splits; none where the sub-folders are classes."""
    validation = [name for name in VALIDATION_NAMES if name in top.folders]
    if len(validation) > 1:
        notes.problems.append(f"{' and '.join(validation)} are both there: which is meant?")
    test = [TEST] if TEST in top.folders else []
    if TRAIN in top.folders and (validation or test):
        return (TRAIN, *validation[:1], *test)
    if not top.folders or any(_list(folder / name).images for name in top.folders):
        return ()
    inner = [name for name in top.folders if _images_below(folder / name)]
    if len(inner) > 1:
        notes.problems.append(
            f"the folders {', '.join(map(shown, inner))} have images in sub-folders alone, as"
            f" splits have; the names of splits are {KNOWN}"
        )
    elif inner and inner[0] in (TRAIN, *VALIDATION_NAMES, TEST):
        absent = "val and test" if inner == [TRAIN] else TRAIN
        notes.problems.append(
            f"there is a folder {inner[0]}, and none for {absent}; if it holds all images, name"
            f" the folder {folder.name}/{inner[0]} itself, and they are divided"
        )
    else:
        return ()
    notes.seeming_splits = tuple(inner)
    return ()


def _classes(folder: Path, part: str, notes: _Notes) -> dict[str, list[str]]:
    """Return the images of each class of a split, by the class's name; also of classes without."""
    if not folder.is_dir():
        notes.problems.append(f"{folder} is not a folder")
        return {}
    found: dict[str, list[str]] = {}
    listed = _list(folder)
    _note_stray(listed, part, notes)
    for name in listed.folders:
        where = shown(f"{part}/{name}".lstrip("/"))
        inner = _list(folder / name)
        found[name] = [f"{name}/{image}" for image in inner.images]
        notes.counts_anew |= not inner.images
        _note_class(inner, folder / name, where, notes)
    return found


def _note_class(inner: _Listing, folder: Path, where: str, notes: _Notes) -> None:
    """Say what of a class's folder is not read; one that seems meant as a class is a problem."""
    nested = [name for name in inner.folders if _images_below(folder / name)]
    deeper = sum(len(_list(folder / name).images) for name in nested)
    others = _note_files(inner, where, notes)
    if inner.images:
        if nested:
            notes.left_out.append(f"sub-folders of class {where}: {_some(nested)}")
        return
    if where in notes.seeming_splits:
        return
    if nested:
        notes.problems.append(
            f"class {where} has no images of its own: {deeper or 'others'} lie in sub-folders of it"
            f" ({_some(nested)})"
        )
    elif others:
        notes.problems.append(
            f"class {where} has no images that are read (JPEG, PNG and WebP are): {_some(others)}"
        )


def _note_files(inner: _Listing, where: str, notes: _Notes) -> list[str]:
    """Count what lies beside a class's images; return names of images that are not read."""
    others, hidden, notes_found = [], [], []
    for name in inner.others:
        suffix = os.path.splitext(name)[1].lower()
        if name.startswith("."):
            if suffix in IMAGE_SUFFIXES:
                hidden.append(name)
        elif suffix in OTHER_IMAGES:
            others.append(name)
            notes.add_other(suffix, f"{where}/{name}")
        else:
            notes_found.append(name)
    if hidden:
        notes.counts_anew = True
        notes.left_out.append(f"hidden files of class {where}: {_some(hidden)}")
    if notes_found:
        notes.left_out.append(f"files of class {where} that are not images: {_some(notes_found)}")
    return others


def _note_stray(listed: _Listing, part: str, notes: _Notes) -> None:
    """Say which images lie in no class."""
    images = listed.images + [
        name for name in listed.others if os.path.splitext(name)[1].lower() in OTHER_IMAGES
    ]
    if images:
        where = f" in {part}" if part else ""
        notes.left_out.append(f"images that lie{where} in no class: {_some(images)}")
    archives = [n for n in listed.others if os.path.splitext(n)[1].lower() in ARCHIVES]
    if archives:
        notes.left_out.append(f"archives that are not unpacked: {_some(archives)}")
    if litter := [name for name in listed.hidden if name in LITTER]:
        notes.counts_anew = True
        notes.left_out.append(f"the folder {_some(litter)}, which an archive or system left")


def _say_what_else(top: _Listing, splits: Iterable[str], notes: _Notes) -> None:
    """Say which folders and images beside the splits are not read."""
    if not splits:
        return
    if beside := [name for name in top.folders if name not in splits]:
        notes.left_out.append(f"folders beside the splits {', '.join(splits)}: {_some(beside)}")
    if top.images:
        notes.left_out.append(f"images that lie in no split: {_some(top.images)}")


def _compare_splits(found: dict[str, dict[str, list[str]]], folder: Path, notes: _Notes) -> None:
    """Find classes that one of several splits has no folder for, or no images of."""
    first = next(iter(found))
    for part, images in found.items():
        absent = sorted(set(images) ^ set(found[first]))
        if absent:
            notes.problems.append(
                f"only one of {first} and {part} in {folder} has class"
                f" {_some([repr(name) for name in absent])}"
            )
        elsewhere = {name for other in found.values() for name, own in other.items() if own}
        empty = [name for name, own in images.items() if not own and name in elsewhere]
        if empty:
            notes.problems.append(f"{part} has no images of class {_some(empty)}")


def _labelled(images: dict[str, list[str]], classes: tuple[str, ...]) -> Labelled:
    names: list[str] = []
    labels: list[int] = []
    for number, name in enumerate(classes):
        found = images.get(name, [])
        names += found
        labels += [number] * len(found)
    return Labelled(names=tuple(names), labels=tuple(labels))


def _images_below(folder: Path) -> bool:
    """Whether images lie in a folder or in folders directly below it."""
    listed = _list(folder)
    return bool(listed.images) or any(_list(folder / name).images for name in listed.folders)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(shown, names[:NAMED])) + more


def shown(name: str) -> str:
    r"""Return a file's name as a message may hold it: what no terminal should get is escaped.

    >>> print(shown("caf\udce9.png"), shown("a\x1b[31m.png"), shown("née.png"))
    caf\udce9.png a\x1b[31m.png née.png
    """
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in name)
