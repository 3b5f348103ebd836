"""Stages that bench/gpu.py trains, in its own process or in fresh ones, and what it counts."""

import hashlib
import json
import os
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "core"))  # a checkout that is not installed
SCRIPT = Path(__file__).resolve().with_name("gpu.py")

Stage = dict[str, Any]


class NotRunError(Exception):
    """A step, or a part of it, cannot be run here; the reason is its text."""


@dataclass(kw_only=True)
class Findings:
    """What a step found.

    Attributes:
        checks: Name, verdict and detail of each check.
        measured: Numbers and words, none of which is a verdict.
        left_out: Parts that were not run, with the reason.
    """

    checks: list[dict[str, Any]] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def check(self, name: str, is_met: bool, detail: object = "") -> None:
        """Add a check."""
        self.checks.append({"check": name, "met": bool(is_met), "detail": str(detail)})

    @contextmanager
    def part(self) -> Iterator[None]:
        """Go on with the rest of the step where a part cannot be run."""
        try:
            yield
        except NotRunError as reason:
            self.left_out.append(str(reason))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how a step runs.

    Attributes:
        device: `cuda` or `cpu`.
        tiny: Whether sizes are the smallest that exercise the code.
        folder: For everything that the step writes.
    """

    device: str
    tiny: bool
    folder: Path

    def need_cuda(self, why: str) -> None:
        """Raise NotRunError on a CPU."""
        if self.device != "cuda":
            raise NotRunError(f"not run on cpu: {why}")


class Notes:
    """A recorder that keeps everything."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.values: dict[str, float] = {}
        self.lines: list[str] = []
        self.resumed_after = 0

    def resumed(self, series: Sequence[Mapping[str, float]], **told: object) -> None:
        """Keep the epochs of the attempts before."""
        self.epochs = [dict(values) for values in series]
        self.resumed_after = len(series)

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Keep an epoch."""
        self.epochs.append(dict(values))

    def outcomes(self, values: Mapping[str, float], right: Sequence[bool] = ()) -> None:
        """Keep outcomes."""
        self.values |= values

    def log(self, message: str) -> None:
        """Keep a line."""
        self.lines.append(message)


def train(stage: Stage, setting: Setting) -> dict[str, Any]:
    """Train one stage; return its weights' SHA-256 and what it recorded.

    A stage has `name` (of its artifact, unique in the folder), `kind`, `data`, `settings`, and may
    have `numerics`, `teacher` (the name of one), `stop_after` (epochs), `resumes` (checkpoints are
    kept under that name), `count` ("waits" or "launches") and `recompile_limit` (of dynamo).
    """
    from pydantic import TypeAdapter

    from icckd.errors import StagePaused
    from icckd.study.data import Data
    from icckd.study.model import Student
    from icckd.study.teacher import Teacher
    from icckd.study.training import Numerics
    from icckd.train.contract import JobContext, StudentJob, TeacherJob
    from icckd.train.stage import train_student, train_teacher

    if "recompile_limit" in stage:
        import torch._dynamo.config as dynamo

        dynamo.recompile_limit = stage["recompile_limit"]
    told = {key: json.dumps(stage.get(key, {})) for key in ("data", "settings", "numerics")}
    common: dict[str, Any] = {
        "data": TypeAdapter(Data).validate_json(told["data"]),
        "numerics": Numerics.model_validate_json(told["numerics"]),
        "seed": 0,
    }
    left = iter(range(stage.get("stop_after", 0) - 1, -1, -1))
    kept = stage.get("resumes")
    place = JobContext(
        device=setting.device,  # type: ignore[arg-type]
        data_root=setting.folder,
        artifact_folder=setting.folder / stage["name"],
        checkpoint_folder=setting.folder / "checkpoints" / kept if kept else None,
        should_stop=lambda: next(left, -1) == 0,
        stage=kept or "",
        attempt=stage["name"],
    )
    notes, state = Notes(), "complete"
    with _counting(stage.get("count", ""), setting.device) as counts:
        try:
            if stage["kind"] == "teacher":
                teacher = Teacher.model_validate_json(told["settings"])
                train_teacher(TeacherJob(teacher=teacher, **common), notes, place)
            else:
                student = Student.model_validate_json(told["settings"])
                folder = setting.folder / stage["teacher"]
                job = StudentJob(student=student, replicate=0, teacher_folder=folder, **common)
                train_student(job, notes, place)
        except StagePaused:
            state = "paused"
    weights = place.artifact_folder / "model.safetensors"
    return {
        "state": state,
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else "",
        "epochs": notes.epochs,
        "values": notes.values,
        "lines": notes.lines,
        "resumed_after": notes.resumed_after,
        "counts": dict(counts),
    }


class Fresh:
    """A fresh process that trains stages one after another."""

    def __init__(self, name: str, stages: Sequence[Stage], setting: Setting, **env: str) -> None:
        self._answer = setting.folder / f"{name}.answer.json"
        self._log = setting.folder / f"{name}.log"
        request = setting.folder / f"{name}.stages.json"
        request.write_text(json.dumps(list(stages)))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*own_command(setting), "--stages", str(request)],
                stdout=log, stderr=log, env={**os.environ, **env},
            )  # fmt: skip

    def results(self) -> list[dict[str, Any]]:
        """Wait for its end; return what `train` returned for each stage."""
        if self._process.wait() != 0:
            print(self._log.read_text(errors="replace"), file=sys.stderr, flush=True)
            raise RuntimeError(f"{self._log.stem}: {last_line(self._log)}")
        found: list[dict[str, Any]] = json.loads(self._answer.read_text())
        return found


def own_command(setting: Setting) -> list[str]:
    """Return the command line of a process of this script that works in the setting."""
    return [
        sys.executable, str(SCRIPT), "--device", setting.device,
        "--folder", str(setting.folder), *(["--tiny"] if setting.tiny else []),
    ]  # fmt: skip


def train_requested(request: Path, setting: Setting) -> None:
    """Train the stages of a file that `Fresh` wrote, and write the answer that it reads."""
    found = [train(stage, setting) for stage in json.loads(request.read_text())]
    name = request.name.removesuffix(".stages.json")
    (setting.folder / f"{name}.answer.json").write_text(json.dumps(found))


@contextmanager
def _counting(what: str, device: str) -> Iterator[Counter[str]]:
    """Count by place or name what happens inside: "waits" of the host, or "launches" of kernels."""
    counts: Counter[str] = Counter()
    if what == "waits":
        with _waits_on_cuda(counts) if device == "cuda" else _waits_on_cpu(counts):
            yield counts
    elif what == "launches":
        with _launches(counts, device):
            yield counts
    else:
        yield counts


@contextmanager
def _waits_on_cuda(counts: Counter[str]) -> Iterator[None]:
    """Count the operations for which the host waits until the GPU has done all its work."""
    import torch

    def noted(message: Warning | str, *told: object, **more: object) -> None:
        if "synchronizing CUDA operation" in str(message):
            counts[_place_in_icckd()] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = noted
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


@contextmanager
def _waits_on_cpu(counts: Counter[str]) -> Iterator[None]:
    """Count the operations for which a GPU would be waited for: their result shapes the program."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    aten = torch.ops.aten
    reads = {
        aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default,
        aten._unique2.default, aten.repeat_interleave.Tensor,
    }  # fmt: skip

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if func in reads:
                counts[_place_in_icckd()] += 1
            return func(*args, **(kwargs or {}))

    with Reads():
        yield


def _place_in_icckd() -> str:
    """Return the innermost line of icckd that is being executed."""
    import icckd

    package = Path(icckd.__file__).parent
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if package in path.parents:
            return f"{path.parent.name}/{path.name}:{frame.lineno} {frame.name}"
    return "outside icckd"


@contextmanager
def _launches(counts: Counter[str], device: str) -> Iterator[None]:
    """Count launches on a GPU by the function that launches; torch operations on a CPU."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    launching = ("cudaLaunch", "cuLaunch", "cudaGraphLaunch") if device == "cuda" else ("aten::",)
    with profile(activities=activities) as profiler:
        yield
    for event in profiler.key_averages():
        if event.key.startswith(launching):
            counts[event.key] += event.count


def per_step(short: Mapping[str, int], long: Mapping[str, int], steps: int) -> dict[str, float]:
    """Return counts per step, of a stage and one with `steps` more that is otherwise equal.

    What happens once a stage or an epoch is in both, and so in neither.
    """
    more = {name: long.get(name, 0) - short.get(name, 0) for name in {*short, *long}}
    return {name: count / steps for name, count in sorted(more.items()) if count}


CNN = {"kind": "cnn", "widths": [16, 32, 64]}
SMALL_CNN = {"kind": "cnn", "widths": [4, 8, 16]}
CACHED = {"weight": 0.5, "margin": {"threshold": 0.0}, "cache": {"per_class": 16}}


def digits(train: int = 450) -> dict[str, Any]:
    """Return data settings of real images."""
    return {"kind": "digits", "train": train, "validation": 100}


def synthetic(train: int, **more: Any) -> dict[str, Any]:
    """Return data settings of drawn images, whose other splits do not depend on `train`."""
    return {
        "kind": "synthetic", "classes": 10, "size": 8, "train": train, "validation": 100,
        "test": 100, **more,
    }  # fmt: skip


def teacher(name: str, data: Any, training: Mapping[str, Any], **more: Any) -> Stage:
    """Return a teacher with the intra-class loss and its cache; `more` may replace settings."""
    settings = {"model": CNN, "views": 2, "intra": CACHED, "training": training}
    settings |= more.pop("settings", {})
    return {"name": name, "kind": "teacher", "data": data, "settings": settings, **more}


def student(name: str, of: str, data: Any, training: Mapping[str, Any], **more: Any) -> Stage:
    """Return a student by KD; `more` may replace settings."""
    settings = {"model": SMALL_CNN, "training": training, **more.pop("settings", {})}
    return {
        "name": name, "kind": "student", "teacher": of, "data": data, "settings": settings, **more,
    }  # fmt: skip


def tail(text: str) -> str:
    """Return the last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")[:500]


def last_line(log: Path) -> str:
    """Return the last line of a log that says something."""
    return tail(log.read_text(errors="replace")) or "it said nothing"
