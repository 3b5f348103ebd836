"""Which device a study is trained on: NVML says what is there, torch whether it can use it.

torch is asked in a child process, once for each model of GPU, which sees that GPU alone, as a
worker will. Nothing is asked where NVML sees no device.
"""

import contextlib
import functools
import json
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from icckd.errors import MachineError
from icckd.resources.gpus import VISIBLE, Gpu, GpuView, view_gpus
from icckd.resources.host import cpu_model
from icckd.resources.processes import Helper, start_helper

Device = Literal["cpu", "cuda"]
Wanted = Literal["auto", "cpu", "cuda"]
TORCH_SECONDS = 120.0
"""How long torch may take to answer; a cold import from a network disk takes tens of seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchAnswer:
    """What torch says in a process that sees one GPU, or none.

    Attributes:
        error: Why it cannot use the GPU; "" when it can.
        version: Version of torch; "" when it did not get that far.
        cuda: The CUDA version it was built for; "" in a build for CPUs.
        archs: Architectures that its kernels were compiled for, such as `sm_90`.
    """

    error: str
    version: str = ""
    cuda: str = ""
    archs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChoice:
    """The device to train on.

    Attributes:
        device: Its kind.
        gpus: The GPUs to deal out to workers; none on a CPU.
        why: The reason.
        notices: What the user should know about the choice.
    """

    device: Device
    gpus: tuple[Gpu, ...] = ()
    why: str
    notices: tuple[str, ...] = ()


@functools.cache
def ask_torch(uuid: str) -> TorchAnswer:
    """Return what torch says about one GPU; asked once in the life of this process.

    Args:
        uuid: The GPU, as CUDA_VISIBLE_DEVICES takes it; "" for none.
    """
    helper = start_helper(
        "icckd.train.device",
        environment={**os.environ, VISIBLE: uuid},
        stdin=subprocess.DEVNULL,
        output=subprocess.DEVNULL,
        errors=subprocess.PIPE,
    )
    with helper.answers:
        return _answer_of(helper)


def _answer_of(helper: Helper) -> TorchAnswer:
    child = helper.process
    try:
        _, err = child.communicate(timeout=TORCH_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that the driver holds stays
            child.communicate(timeout=5)
        return TorchAnswer(error=f"torch gave no answer within {TORCH_SECONDS:g} s")
    except BaseException:
        child.kill()
        raise
    with contextlib.suppress(ValueError, KeyError, TypeError):
        said: dict[str, Any] = json.loads(helper.answers.read())
        return TorchAnswer(**{**said, "archs": tuple(said["archs"])})
    words = err.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(words) if line.strip()), "it said nothing")
    how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit {child.returncode}"
    return TorchAnswer(error=f"torch ended with {how}: {last}")


def choose_device(wanted: Wanted) -> DeviceChoice:
    """Return the device to train on.

    GPUs that torch cannot use are left out; `auto` takes the CPU where none is left.

    Raises:
        MachineError: `cuda` is wanted, and no GPU can be used.
    """
    if wanted == "cpu":
        return DeviceChoice(device="cpu", why="the CPU was asked for")
    view = view_gpus()
    if not view.visible:
        return _without_gpu(wanted, *_why_none(view))
    refusals = _refusals(view.visible)
    gpus = tuple(gpu for gpu in view.visible if gpu.name not in refusals)
    told = [f"torch cannot use {name}: {answer.error}" for name, answer in refusals.items()]
    if not gpus:
        hint = hint_for(next(iter(refusals.values())), view)
        return _without_gpu(wanted, "; ".join(told), hint, is_notable=True)
    why = f"torch can use {models_text(gpus)}"
    notices = tuple(f"{text}; it is left out" for text in told)
    return DeviceChoice(device="cuda", gpus=gpus, why=why, notices=notices)


def resolve_device(wanted: Wanted) -> Device:
    """Return the kind of device to train on; errors as `choose_device`."""
    return choose_device(wanted).device


def usable_gpus() -> tuple[Gpu, ...]:
    """Return the visible GPUs that torch can use."""
    return choose_device("auto").gpus


def hardware_here(device: Device) -> frozenset[str]:
    """Return the models of the devices that stages are trained on here."""
    if device == "cpu":
        return frozenset((cpu_model(),))
    return frozenset(gpu.name for gpu in usable_gpus())


def models_text(gpus: Sequence[Gpu]) -> str:
    """Return GPUs in words, equal models counted.

    >>> models_text([Gpu(index=0, uuid="", name="H100"), Gpu(index=1, uuid="", name="H100")])
    '2 x H100'
    """
    names = [gpu.name for gpu in gpus]
    counts = {name: names.count(name) for name in names}
    return ", ".join(f"{n} x {name}" if n > 1 else name for name, n in counts.items())


def hint_for(answer: TorchAnswer, view: GpuView) -> str:
    """Return what to do about a GPU that torch cannot use."""
    if answer.version and not answer.cuda:
        return f"torch {answer.version} was built for CPUs: install a CUDA build of it"
    if "too old" in answer.error:
        return (
            f"driver {view.driver} supports CUDA {view.cuda or 'of an earlier version'}, torch was"
            f" built for CUDA {answer.cuda}: update the driver, or install a torch for that CUDA"
        )
    if "no kernel image" in answer.error:
        known = ", ".join(answer.archs) or "none"
        return f"install a torch with kernels for this GPU; the present one has {known}"
    return "icckd doctor shows what is there; --device cpu trains without a GPU"


def _refusals(gpus: Sequence[Gpu]) -> dict[str, TorchAnswer]:
    """Return, by model, what torch says of the models that it cannot use."""
    first = {gpu.name: gpu.uuid for gpu in reversed(gpus)}
    with ThreadPoolExecutor(len(first)) as children:
        answers = dict(zip(first, children.map(ask_torch, first.values()), strict=True))
    return {gpu.name: answers[gpu.name] for gpu in gpus if answers[gpu.name].error}


def _why_none(view: GpuView) -> tuple[str, str, bool]:
    """Return why no GPU is visible, what to do, and whether it may surprise the user."""
    variable = os.environ.get(VISIBLE)
    if view.failure and view.has_driver:
        hint = "nvidia-smi shows more; after an update of the driver a reboot helps"
        return f"NVML cannot be asked: {view.failure}", hint, True
    if view.failure:
        hint = "install NVIDIA's driver if there is a GPU; --device cpu trains without one"
        return f"there is no NVIDIA driver: {view.failure}", hint, False
    lost = [f"GPU {gpu.index}: {gpu.lost}" for gpu in view.gpus if gpu.lost]
    if lost and variable is None:
        return "; ".join(lost), "check nvidia-smi, and dmesg for Xid errors", True
    if not view.gpus:
        return "no CUDA device is there", "nvidia-smi lists the GPUs of a machine", False
    if variable is None:
        return "MIG is enabled and there is no instance", "create one: nvidia-smi mig -cgi", True
    hides = not variable.strip() or variable.strip().startswith("-")
    hint = "it takes indices and UUIDs, as nvidia-smi -L shows them"
    return f"{VISIBLE}={variable!r} leaves no GPU of {len(view.gpus)}", hint, not hides


def _without_gpu(wanted: Wanted, why: str, hint: str, is_notable: bool) -> DeviceChoice:
    if wanted == "cuda":
        raise MachineError(f"device 'cuda' is asked for, but {why}", hint=hint)
    notices = (f"training on the CPU: {why} ({hint})",) if is_notable else ()
    return DeviceChoice(device="cpu", why=why, notices=notices)
