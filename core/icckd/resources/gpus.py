"""NVIDIA devices, asked through NVML: no CUDA context is made and torch is not needed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from icckd.errors import MachineError

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """One device at one moment: use in percent, memory in bytes; None where NVML cannot say."""

    name: str
    utilisation: float | None
    memory_used: int | None
    memory_total: int | None


def cuda_device_names() -> tuple[str, ...]:
    """Return the names of the devices that CUDA may use; empty without driver or device.

    CUDA_VISIBLE_DEVICES is respected as CUDA reads it: a list of indices or UUIDs that ends at
    the first invalid entry; empty or -1 hides all. Indices are NVML's, in PCI bus order.
    """
    with _nvml() as nvml:
        return () if nvml is None else tuple(nvml.nvmlDeviceGetName(h) for h in _visible(nvml))


def resolve_device(wanted: Literal["auto", "cpu", "cuda"]) -> Device:
    """Return the device to use.

    Raises:
        MachineError: If `cuda` is wanted and no device is visible.
    """
    if wanted == "cpu":
        return "cpu"
    if cuda_device_names():
        return "cuda"
    if wanted == "auto":
        return "cpu"
    raise MachineError(
        "device 'cuda' is asked for, but no CUDA device is visible",
        hint="use --device cpu, or check nvidia-smi and CUDA_VISIBLE_DEVICES",
    )


def gpu_memory_of_this_process() -> int | None:
    """Return the GPU memory that this process holds on all visible devices, in bytes.

    NVML counts the CUDA context too. None without a device, or where NVML does not show this
    process, as in a container with its own process numbers.
    """
    with _nvml() as nvml:
        if nvml is None:
            return None
        held = [
            process.usedGpuMemory
            for handle in _visible(nvml)
            for process in _processes(nvml, handle)
            if process.pid == os.getpid() and process.usedGpuMemory is not None
        ]
        return int(sum(held)) if held else None


def gpu_memory_by_process() -> dict[int, int]:
    """Return the GPU memory of each process on all visible devices, in bytes."""
    with _nvml() as nvml:
        held: dict[int, int] = {}
        for handle in [] if nvml is None else _visible(nvml):
            for process in _processes(nvml, handle):
                if process.usedGpuMemory is not None:
                    held[process.pid] = held.get(process.pid, 0) + int(process.usedGpuMemory)
        return held


def sample_gpus() -> tuple[GpuSample, ...]:
    """Return a sample of each visible device."""
    with _nvml() as nvml:
        return () if nvml is None else tuple(_sample(nvml, handle) for handle in _visible(nvml))


@contextmanager
def _nvml() -> Iterator[Any]:
    """Yield the NVML module while it is initialised, or None where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _visible(nvml: Any) -> list[Any]:
    try:
        handles = [
            nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())
        ]
    except nvml.NVMLError:
        return []
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return handles
    chosen: list[Any] = []
    for token in wanted.split(","):
        handle = _find(nvml, handles, token.strip())
        if handle is None:
            break
        chosen.append(handle)
    return chosen


def _find(nvml: Any, handles: list[Any], token: str) -> Any | None:
    if token.isdecimal():
        return handles[int(token)] if int(token) < len(handles) else None
    try:
        if token.startswith("MIG-"):
            return nvml.nvmlDeviceGetHandleByUUID(token)
        if token.startswith("GPU-"):
            matching = [h for h in handles if nvml.nvmlDeviceGetUUID(h).startswith(token)]
            return matching[0] if len(matching) == 1 else None
    except nvml.NVMLError:
        return None
    return None


def _processes(nvml: Any, handle: Any) -> list[Any]:
    return list(_ask(nvml.nvmlDeviceGetComputeRunningProcesses, nvml, handle) or [])


def _sample(nvml: Any, handle: Any) -> GpuSample:
    memory = _ask(nvml.nvmlDeviceGetMemoryInfo, nvml, handle)
    rates = _ask(nvml.nvmlDeviceGetUtilizationRates, nvml, handle)
    return GpuSample(
        name=nvml.nvmlDeviceGetName(handle),
        utilisation=None if rates is None else float(rates.gpu),
        memory_used=None if memory is None else int(memory.used),
        memory_total=None if memory is None else int(memory.total),
    )


def _ask(question: Callable[[Any], Any], nvml: Any, handle: Any) -> Any | None:
    try:
        return question(handle)
    except nvml.NVMLError:
        return None
