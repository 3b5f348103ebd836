"""Checkpoints of other projects become safetensors; nowhere else is one read that may be a pickle.

What is trusted: torch's restricted unpickler (`weights_only=True`), which makes tensors, plain
containers and what `_PLAIN` lists, and refuses every other name in the file, so that no code of the
file is run.
"""

import argparse
import datetime
import hashlib
import pathlib
import pickle
import pickletools
import re
import struct
import types
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save
from torch import Tensor

from icckd.errors import MachineError, UsageError
from icckd.train.weights import Fit, Wanted, compare, likely_network, shapes_of, today, unwrapped

_DEEPEST = 4
_PLAIN: list[Any] = [
    argparse.Namespace,
    pathlib.PosixPath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
    types.SimpleNamespace,
    *(bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, slice),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
    np.dtype,
    np.ndarray,
    *{type(np.dtype(each)) for each in np.sctypeDict.values() if each not in (object, np.object_)},
    *(
        (value.__reduce__()[0], f"{module}.multiarray.{name}")
        for name, value in (("scalar", np.float64(0)), ("_reconstruct", np.zeros(1)))
        for module in ("numpy.core", "numpy._core")
    ),
]
"""What training scripts leave beside weights and does nothing when it is made."""

_CONVENTIONAL = (
    "state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights",
)  # fmt: skip
"""What scripts call the weights of the network that they train."""

_AVERAGED = re.compile(r"(?:^|[._])(?:ema|swa|shadow)(?:[._]|$)", re.I)
"""Names of copies that average the weights over steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a conversion wrote.

    Attributes:
        part: Place of the state dict in the checkpoint; "" is all of it.
        tensors: How many tensors were written.
        values: How many numbers they hold.
        sha256: Digest of the file.
        wrappers: What was taken off the names.
        left: What was not taken, as text.
        fit: How they compare with the network, where one was given.
    """

    part: str
    tensors: int
    values: int
    sha256: str
    wrappers: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    fit: Fit | None = None


def convert(
    source: Path, target: Path, part: str | None = None, needed: Wanted | None = None
) -> Converted:
    """Write the state dict of a checkpoint as safetensors.

    Args:
        source: A file that torch.save wrote, or safetensors.
        target: The safetensors file; it must not exist.
        part: Dotted name of the state dict in the checkpoint, or of a part of one; None takes the
            only one, or the one that is called as weights are.
        needed: The network that the weights are for: what fits it is taken, and nothing else.

    Raises:
        UsageError: The file is no checkpoint, holds what could run code, no single state dict, or
            one that does not fit; or the target exists.
        MachineError: A file cannot be read or written.
    """
    found = _searched(_loaded(source))
    chosen = _chosen(source, found, part, needed)
    left = [*chosen.left, *found.left]
    left += [
        f"{each.name} ({len(each.tensors)} tensors; --part {each.name or '.'} takes them)"
        for each in found.dicts
        if each.name != chosen.source
    ]
    fit = None
    if needed is not None:
        fit = compare(shapes_of(chosen.tensors), needed)
        if not fit.is_enough:
            raise _misfit(source, chosen, fit, needed)
        left += [f"{name} (not of {needed.name})" for name in fit.extra]
        gone = frozenset(fit.extra)
        chosen.tensors = {n: tensor for n, tensor in chosen.tensors.items() if n not in gone}
    content = _content(source, chosen.tensors)
    _write_new(target, content)
    return Converted(
        part=chosen.name,
        tensors=len(chosen.tensors),
        values=sum(tensor.numel() for tensor in chosen.tensors.values()),
        sha256=hashlib.sha256(content).hexdigest(),
        wrappers=chosen.wrappers,
        left=tuple(left),
        fit=fit,
    )


# Reading: what the file is, and what stands in the way.

_DAMAGES = (
    OSError, RuntimeError, ValueError, LookupError, EOFError, TypeError, ArithmeticError,
    MemoryError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip
"""What readers of torch, pickles and archives raise for a damaged file."""


def _loaded(source: Path) -> Any:
    try:
        with source.open("rb") as file:
            start = file.read(64)
            file.seek(0)
            if _is_safetensors(start, source.stat().st_size):
                return load_safetensors(file.read())
            with torch.serialization.safe_globals(_PLAIN), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on kinds of archives and tensors: told here
                return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise MachineError(f"cannot read {source}: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        raise _refused(source, error) from error
    except (*_DAMAGES, AttributeError, SafetensorError) as error:
        raise UsageError(
            f"{source} is not a checkpoint of torch, or is damaged{_other_kind(source)}",
            hint="torch.save writes them",
        ) from error


def _is_safetensors(start: bytes, size: int) -> bool:
    """Whether a file begins as safetensors do: the length of a header, and the header's JSON."""
    return _is_header_of_safetensors(start) and int.from_bytes(start[:8], "little") < size


def _is_header_of_safetensors(start: bytes) -> bool:
    return len(start) > 9 and start[8:9] == b"{" and not any(start[5:8])


def _refused(source: Path, error: Exception) -> UsageError:
    """Return the error for a pickle that holds more than is made here, with what it holds."""
    names = _foreign(source, error)
    if not names:
        kind = _other_kind(source)
        return UsageError(
            f"{source} is not a checkpoint of torch, or is damaged{kind}"
            if kind
            else f"{source} holds more than tensors and plain containers, or is not a checkpoint",
            hint="nothing in it was run; save its state_dict alone where it was made",
        )
    is_network = any(name.startswith(("torch.nn.", "torchvision.models.")) for name in names)
    what = "a whole network as Python objects" if is_network else "Python objects"
    inner = ".state_dict()" if is_network else f"['{_likely_key(source)}']"
    line = f"torch.save(torch.load('{source.name}', weights_only=False){inner}, 'weights.pth')"
    return UsageError(
        f"{source} holds more than tensors and plain containers: {what} ({', '.join(names[:6])})",
        hint="nothing in it was run. Save its state_dict alone where it was made, or, where you"
        f' trust the file, since this runs what is in it: python -c "import torch; {line}"',
    )


def _foreign(source: Path, error: Exception) -> list[str]:
    """Return the names in a pickle that are not made here."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(source))
    except Exception:  # whatever a damaged file does to torch's reader: the error names one, too
        names = []
    with torch.serialization.safe_globals(_PLAIN):
        known = {_full_name(each) for each in torch.serialization.get_safe_globals()}
    found = [name for name in names if name not in known]
    if not found and (
        first := re.search(r"Unsupported (?:global|class):? (?:GLOBAL )?([\w.]+)", str(error))
    ):
        found = [first[1]]
    return sorted(found)


def _likely_key(source: Path) -> str:
    """Return what a pickle probably calls the weights: the first usual name among its texts."""
    try:
        with zipfile.ZipFile(source) as archive:
            name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
            texts = [text for _, text, _ in pickletools.genops(archive.read(name))]
    except (StopIteration, *_DAMAGES):
        return _CONVENTIONAL[0]
    return next((text for text in texts if text in _CONVENTIONAL), _CONVENTIONAL[0])


def _full_name(known: Any) -> str:
    if isinstance(known, tuple):
        return str(known[1])
    return f"{known.__module__}.{known.__qualname__}"


_KINDS = (
    (b"version https://git-lfs", "it is a pointer of Git LFS: `git lfs pull` gets the file"),
    (b"<", "it is a web page"),
    (b"\x89HDF", "it is HDF5, as Keras writes it"),
    (b"GGUF", "it is GGUF"),
    (b"\x1f\x8b", "it is compressed: unpack it first"),
    (b"\x93NUMPY", "it is an array of NumPy"),
    (b"7z\xbc\xaf", "it is compressed: unpack it first"),
    (b"BZh", "it is compressed: unpack it first"),
    (b"\xfd7zXZ", "it is compressed: unpack it first"),
)
_CUT = "it is cut short: copy or download it again"


def _other_kind(source: Path) -> str:
    """Return what a file is instead of a checkpoint, as the end of a sentence, where it shows."""
    try:
        with source.open("rb") as file:
            start = file.read(64)
    except OSError:
        return ""
    if not start:
        return ": it is empty"
    if start.startswith(b"PK"):
        found = _kind_of_archive(source)
    elif source.suffix == ".onnx":
        found = "it is ONNX, which has a network and not only its weights"
    elif _is_header_of_safetensors(start):
        found = _CUT
    else:
        found = next((text for beginning, text in _KINDS if start.startswith(beginning)), "")
    return f": {found}" if found else ""


def _kind_of_archive(source: Path) -> str:
    """Return what a zip archive is that torch does not take, "" where that does not show."""
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return _CUT
    except _DAMAGES:
        return ""
    if any(name.endswith("constants.pkl") for name in names):
        return "it is a TorchScript archive; torch.jit.load(FILE).state_dict() has its weights"
    if any(name.endswith("data.pkl") for name in names):
        return ""
    if names and all(name.endswith(".npy") for name in names):
        return "it is an archive of NumPy's arrays"
    return "it is a zip archive without one: unpack it first"


# Finding the state dicts in what was read, and choosing one.


@dataclass(slots=True, kw_only=True)
class _StateDict:
    """Tensors by name, without wrappers, with their place in the checkpoint.

    `name` may continue into the names of `source`, the place of the whole state dict.
    """

    name: str
    source: str
    tensors: dict[str, Tensor]
    wrappers: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    def below(self, prefix: str, name: str) -> "_StateDict":
        """Return the tensors whose names begin with a prefix, without it."""
        taken = {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}
        names, wrappers = unwrapped(taken)
        others = len(self.tensors) - len(taken)
        left = (f"{others} tensors whose names do not begin with {prefix}",) if others else ()
        return _StateDict(
            name=name,
            source=self.source,
            tensors={today(names[n]): t for n, t in taken.items() if n in names},
            wrappers=(*self.wrappers, *wrappers),
            left=(*self.left, *left),
        )


def _searched(content: Any) -> "_Search":
    """Return the state dicts of a checkpoint; arrays of NumPy count where it has no tensors."""
    found = _Search(takes_arrays=False)
    found.look(content)
    if found.dicts:
        return found
    arrays = _Search(takes_arrays=True)
    arrays.look(content)
    return arrays if arrays.dicts else found


@dataclass(slots=True)
class _Search:
    """State dicts in a checkpoint, and what else it holds, as text.

    Attributes:
        takes_arrays: Whether arrays of numbers count as tensors.
        dicts: The state dicts.
        left: All other things.
    """

    takes_arrays: bool
    dicts: list[_StateDict] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def look(self, value: Any, path: tuple[str, ...] = ()) -> None:
        """Look at a value of the checkpoint and at what it contains."""
        place = ".".join(path)
        if isinstance(value, list | tuple) and any(map(self._holds_tensors, value)):
            value = dict(enumerate(value))
        if not isinstance(value, Mapping) or len(path) > _DEEPEST:
            self.left.append(f"{place or 'the whole file'} ({_kind(value)})")
            return
        if {"state", "param_groups"} <= set(value):
            self.left.append(f"{place or 'the whole file'} (an optimizer's state)")
            return
        own = {
            name: held if isinstance(held, Tensor) else torch.tensor(held)
            for name, held in value.items()
            if isinstance(name, str) and self._is_tensor(held)
        }
        others = {name: held for name, held in value.items() if name not in own}
        if self._is_state_dict(own, others):
            names, wrappers = unwrapped(own)
            self.dicts.append(
                _StateDict(
                    name=place,
                    source=place,
                    tensors={today(names[n]): t for n, t in own.items() if n in names},
                    wrappers=wrappers,
                )
            )
            self.left += [f"{'.'.join((*path, n))} (a wrapper's)" for n in own if n not in names]
        else:
            self.left += [f"{'.'.join((*path, name))} (a tensor)" for name in own]
        for name, held in others.items():
            self.look(held, (*path, str(name)))

    def _is_state_dict(self, own: dict[str, Tensor], others: Mapping[Any, Any]) -> bool:
        """Whether tensors by name are weights, and not values beside the weights of others."""
        if not any(tensor.ndim for tensor in own.values()):
            return False
        return any("." in name for name in own) or not any(
            map(self._holds_tensors, others.values())
        )

    def _holds_tensors(self, value: Any, depth: int = 0) -> bool:
        if not isinstance(value, Mapping) or depth > _DEEPEST:
            return False
        return any(
            self._is_tensor(held) or self._holds_tensors(held, depth + 1) for held in value.values()
        )

    def _is_tensor(self, value: Any) -> bool:
        is_array = isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
        return isinstance(value, Tensor) or (self.takes_arrays and is_array)


def _chosen(source: Path, search: _Search, part: str | None, needed: Wanted | None) -> _StateDict:
    """Return the state dict that is meant.

    Raises:
        UsageError: It does not follow which one, or there is none.
    """
    dicts = search.dicts
    if not dicts:
        raise _without_weights(source, search.left)
    if part is not None:
        found = [each for each in dicts if each.name == part] or _parts(dicts, part)
        if not found:
            raise _undecided(source, dicts, f", none named {part!r}")
        return found[0]
    best = _fitting(dicts, needed) if needed is not None else dicts
    plain = [each for each in best if not _AVERAGED.search(each.name)] or best
    if len(plain) > 1:
        usual = [each for each in plain if each.name.rpartition(".")[2] in _CONVENTIONAL]
        plain = usual if len(usual) == 1 else plain
    if len(plain) != 1:
        raise _undecided(source, plain, "")
    return plain[0]


def _parts(dicts: list[_StateDict], part: str) -> list[_StateDict]:
    """Return a part of a state dict: names that begin with what is left of its own name."""
    found = []
    for each in dicts:
        inner = part.removeprefix(f"{each.name}.") if each.name else part
        prefix = f"{inner}."
        is_within = not each.name or part.startswith(f"{each.name}.")
        if is_within and any(name.startswith(prefix) for name in each.tensors):
            found.append(each.below(prefix, part))
    return found


def _fitting(dicts: list[_StateDict], needed: Wanted) -> list[_StateDict]:
    """Return the state dicts, or parts of them, that share most tensors with a network."""
    shared: list[tuple[int, _StateDict]] = []
    for each in dicts:
        counts: dict[str, int] = {"": 0}
        for name, tensor in each.tensors.items():
            for prefix, rest in _splits(name):
                if needed.shapes.get(today(rest)) == tuple(tensor.shape):
                    counts[prefix] = counts.get(prefix, 0) + 1
        most = max(counts.values())
        for prefix in [prefix for prefix, count in counts.items() if count == most]:
            if prefix:
                name = ".".join(filter(None, (each.name, prefix.removesuffix("."))))
                shared.append((most, each.below(prefix, name)))
            else:
                shared.append((most, each))
    most = max(count for count, _ in shared)
    return [each for count, each in shared if count == most]


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Yield every beginning of a dotted name, the empty one first, with the rest of the name."""
    yield "", name
    for dot in re.finditer(r"\.", name):
        yield name[: dot.end()], name[dot.end() :]


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{len(value)} entries" if value else "empty"
    module = type(value).__module__
    name = type(value).__qualname__
    return name if module == "builtins" else f"{module.partition('.')[0]}.{name}"


def _undecided(source: Path, dicts: list[_StateDict], more: str) -> UsageError:
    names = ", ".join(each.name or "the whole file" for each in dicts)
    count = f"{len(dicts)} state dicts ({names})" if len(dicts) > 1 else f"one state dict ({names})"
    return UsageError(f"{source} holds {count}{more}", hint="name one of them with --part")


def _without_weights(source: Path, held: list[str]) -> UsageError:
    some = "; ".join(held[:_NAMED]) + ("; ..." if len(held) > _NAMED else "")
    return UsageError(
        f"{source} holds no state dict" + (f", only {some}" if some else ": it is empty"),
        hint="wanted: tensors by name, as model.state_dict() gives them",
    )


_NAMED = 6
"""Things of a checkpoint that a message names."""


def _misfit(source: Path, chosen: _StateDict, fit: Fit, needed: Wanted) -> UsageError:
    likely = likely_network(shapes_of(chosen.tensors))
    instead = f"; they are most likely those of {likely}" if likely else ""
    return UsageError(
        f"{chosen.name or 'the whole file'} in {source} does not fit {needed.name}:"
        f" {fit.text()}{instead}",
        hint="nothing was written; take the file of that network, or the network of that file",
    )


# Writing.


def _content(source: Path, tensors: Mapping[str, Tensor]) -> bytes:
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized:
            kind = "quantized" if tensor.is_quantized else "sparse"
            raise UsageError(
                f"{name} in {source} is a {kind} tensor, which safetensors cannot hold",
                hint="where it was made, save what to_dense() or dequantize() makes of it",
            )
    try:
        return save({name: t.detach().clone().contiguous() for name, t in tensors.items()})
    except (KeyError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"{source} holds tensors that safetensors cannot: {error}",
            hint="dense tensors of plain numbers can be written; convert others first",
        ) from error


def _write_new(target: Path, content: bytes) -> None:
    try:
        with target.open("xb") as file:
            file.write(content)
    except FileExistsError as error:
        raise UsageError(f"{target} exists", hint="icckd convert replaces no file") from error
    except OSError as error:
        raise MachineError(f"cannot write {target}: {error.strerror}") from error
