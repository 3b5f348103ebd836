"""Checkpoints: all that a stage needs to resume after an epoch as if it had never stopped.

That is design law 7, docs/laws.md.

    <checkpoint folder>/epoch-000012/
      state.safetensors   model, optimizer, state of the steps, values of all steps so far
      checkpoint.json     whose it is, how far it is, series so far, SHA-256 of the tensors

A checkpoint is written aside, synced and renamed, so that it is whole or not there; then older ones
are removed. Random streams need no saving: each is keyed by its epoch, and checkpoints are made at
epoch ends only. Nothing is pickled.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from icckd.journal.checkpoints import ABOUT, EPOCH, STATE
from icckd.journal.file import sync
from icckd.study.training import Numerics
from icckd.train.contract import JobContext, Recorder, code_epoch
from icckd.train.precision import bits_depend_on


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A stage after an epoch.

    Attributes:
        epoch: Epochs done.
        spent: What they cost, by name; costs add up over attempts.
        series: Series values of each epoch.
        peaks: The highest of what they took, by name, over attempts.
        tensors: Everything else, by name.
        attempt: The attempt that wrote it.
    """

    epoch: int
    spent: dict[str, float]
    series: list[dict[str, float]]
    peaks: dict[str, float] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    attempt: str = ""


class _Told(BaseModel):
    """What `checkpoint.json` tells of a snapshot; an earlier version may tell more or less."""

    model_config = ConfigDict(extra="ignore", strict=True)

    epoch: int = Field(ge=1, lt=2**31)
    spent: dict[str, float]
    series: list[dict[str, float]]
    peaks: dict[str, float] = {}
    attempt: str

    @model_validator(mode="after")
    def _has_every_epoch(self) -> "_Told":
        if len(self.series) != self.epoch:
            raise ValueError(f"{len(self.series)} epochs are told of, not {self.epoch}")
        return self


UNREADABLE = (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError)


DEFAULT = Numerics()


class UnfitError(Exception):
    """A checkpoint is not used; the message says why."""


class Checkpoints:
    """The checkpoints of one stage: those that earlier attempts left, and this attempt's."""

    def __init__(
        self, context: JobContext, recorder: Recorder, numerics: Numerics = DEFAULT
    ) -> None:
        self._context, self._recorder = context, recorder
        self._newest = monotonic()
        self._identity = {
            "code_epoch": code_epoch(
                device=context.device,
                precision=numerics.precision,
                compiled=numerics.compile == "on",
                packed=numerics.packing == "on",
            ),
            "stage": context.stage,
            **bits_depend_on(context.device),
        }

    def newest(self, expected: Callable[[int], Mapping[str, Tensor]]) -> Snapshot | None:
        """Return the newest checkpoint that fits; why another one does not is logged.

        Args:
            expected: Gives tensors with the names, shapes and types that belong to an epoch.
        """
        folder = self._context.checkpoint_folder
        if folder is None or not folder.is_dir():
            return None
        for path in sorted(folder.glob(f"{EPOCH}*"), reverse=True):
            try:
                return self._read(path, expected)
            except UnfitError as reason:
                self._recorder.log(f"checkpoint {path.name} is not used: {reason}")
        return None

    def after_epoch(self, take: Callable[[], Snapshot]) -> bool:
        """Save what `take` returns if that is due; return whether the stage should stop now."""
        stop = self._context.should_stop()
        folder = self._context.checkpoint_folder
        is_due = monotonic() - self._newest >= self._context.checkpoint_seconds
        if folder is not None and (stop or is_due):
            snapshot = take()
            try:
                self._write(folder, snapshot)
            except OSError as error:
                self._recorder.log(f"no checkpoint after epoch {snapshot.epoch}: {error}")
            self._newest = monotonic()
        return stop

    def _read(self, path: Path, expected: Callable[[int], Mapping[str, Tensor]]) -> Snapshot:
        try:
            about = json.loads((path / ABOUT).read_bytes())
            block = (path / STATE).read_bytes()
            for name, wanted in self._identity.items():
                if about[name] != wanted and name == "code_epoch":
                    raise UnfitError(
                        f"training version {about[name]} -> {wanted}: this version trains otherwise"
                    )
                if about[name] != wanted:
                    raise UnfitError(f"its {name} is {about[name]!r}, not {wanted!r}")
            if hashlib.sha256(block).hexdigest() != about["sha256"]:
                raise UnfitError("it is damaged")
            told = _Told.model_validate(about["snapshot"])
            snapshot = Snapshot(**told.model_dump(), tensors=load(block))
        except UNREADABLE as error:
            raise UnfitError(f"it cannot be read: {error}") from error
        _check_shapes(expected(snapshot.epoch), snapshot.tensors)
        return snapshot

    def _write(self, folder: Path, snapshot: Snapshot) -> None:
        kept = {name: value.detach().cpu().contiguous() for name, value in snapshot.tensors.items()}
        block = save(kept)
        told = {k: v for k, v in _fields(snapshot).items() if k != "tensors"}
        about = {
            **self._identity,
            "sha256": hashlib.sha256(block).hexdigest(),
            "snapshot": {**told, "attempt": self._context.attempt},
        }
        aside = folder / f".{self._context.attempt or os.getpid()}"
        target = folder / f"{EPOCH}{snapshot.epoch:06}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        _write_synced(aside / STATE, block)
        _write_synced(aside / ABOUT, json.dumps(about).encode())
        sync(aside)
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
        sync(folder)
        for other in folder.iterdir():
            if other != target:
                shutil.rmtree(other, ignore_errors=True)


def _fields(snapshot: Snapshot) -> dict[str, Any]:
    return {name: getattr(snapshot, name) for name in Snapshot.__slots__}


def _check_shapes(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise UnfitError unless both hold the same names with the same shapes and types."""
    odd = sorted(expected.keys() ^ found.keys())
    if odd:
        raise UnfitError(f"{odd[0]} is {'missing' if odd[0] in expected else 'unknown'}")
    for name, tensor in expected.items():
        if (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            raise UnfitError(f"{name} is {_form(found[name])}, but this stage has {_form(tensor)}")


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _write_synced(path: Path, block: bytes) -> None:
    with path.open("wb") as file:
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
