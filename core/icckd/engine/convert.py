"""Checkpoints of other projects become safetensors; nowhere else is one read that may be a pickle.

What is trusted: torch's restricted unpickler (`weights_only=True`), which makes tensors and plain
containers and refuses every other name in the file, so that no code of the file is run.
"""

import hashlib
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from icckd.errors import MachineError, UsageError

_WRAPPER = "module."  # what torch's data-parallel wrappers put before each name
_DEEPEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a conversion wrote: `part` of the checkpoint ("" is all of it)."""

    part: str
    tensors: int
    values: int
    sha256: str


def convert(source: Path, target: Path, part: str | None = None) -> Converted:
    """Write the state dict of a checkpoint as safetensors.

    Args:
        source: A file that torch.save wrote.
        target: The safetensors file; it must not exist.
        part: Dotted name of the state dict in the checkpoint; None takes the only one.

    Raises:
        UsageError: The file is no checkpoint, holds more than tensors and plain containers, or no
            single state dict; or the target exists.
        MachineError: A file cannot be read or written.
    """
    found = dict(_state_dicts(_loaded(source)))
    if part is None and len(found) == 1:
        part = next(iter(found))
    if part is None or part not in found:
        raise UsageError(
            f"{source} holds {_listed(found)}" + ("" if part is None else f", none named {part!r}"),
            hint="name one of them with --part" if found else "icckd needs names and tensors",
        )
    tensors = {
        name: tensor.detach().clone().contiguous() for name, tensor in _bare(found[part]).items()
    }
    content = save(tensors)
    _write_new(target, content)
    return Converted(
        part=part,
        tensors=len(tensors),
        values=sum(tensor.numel() for tensor in tensors.values()),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _loaded(source: Path) -> Any:
    try:
        with source.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise MachineError(f"cannot read {source}: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{source} holds more than tensors and plain containers, or is no checkpoint",
            hint="nothing in it was run; save its state_dict alone where it was made",
        ) from error
    except (RuntimeError, ValueError, LookupError, EOFError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{source} is no checkpoint of torch, or is damaged", hint="torch.save writes them"
        ) from error


def _state_dicts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every table of tensors by name, with its dotted place."""
    if not isinstance(value, Mapping) or len(path) > _DEEPEST or not value:
        return
    if all(isinstance(name, str) and isinstance(held, Tensor) for name, held in value.items()):
        yield ".".join(path), dict(value)
        return
    for name, held in value.items():
        yield from _state_dicts(held, (*path, str(name)))


def _bare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if all(name.startswith(_WRAPPER) for name in tensors):
        return {name.removeprefix(_WRAPPER): tensor for name, tensor in tensors.items()}
    return tensors


def _listed(found: Mapping[str, object]) -> str:
    if not found:
        return "no state dict"
    return f"{len(found)} state dicts ({', '.join(name or 'the whole file' for name in found)})"


def _write_new(target: Path, content: bytes) -> None:
    try:
        with target.open("xb") as file:
            file.write(content)
    except FileExistsError as error:
        raise UsageError(f"{target} exists", hint="icckd convert replaces no file") from error
    except OSError as error:
        raise MachineError(f"cannot write {target}: {error.strerror}") from error
