"""NVIDIA's management library, asked so that no answer of it becomes an error.

NVML can be missing, belong to another driver, refuse, lack a function, or lose a GPU in the middle.
What it cannot say is None here; why it can say nothing at all is `failure`.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_GONE = ("NotFound", "GpuNotFound", "GpuIsLost", "ResetRequired")


class Nvml:
    """NVML while it is initialised.

    Attributes:
        failure: Why it cannot be asked; "" when it can.
        has_driver: Whether there is a driver at all.
    """

    def __init__(self, module: Any | None, failure: str = "", *, has_driver: bool = True) -> None:
        self._module = module
        self.failure = failure
        self.has_driver = has_driver

    def ask(self, function: str, *arguments: Any) -> Any | None:
        """Return what a function of NVML answers; None where it does not."""
        if self._module is None:
            return None
        try:
            return getattr(self._module, function)(*arguments)
        except Exception:  # NVML's errors have no common base; none of them stops anybody here
            return None

    def why_gone(self, function: str, *arguments: Any) -> str:
        """Return how NVML says that a device is lost when it is asked; "" when it is there."""
        if self._module is None:
            return ""
        gone = tuple(getattr(self._module, f"NVMLError_{name}") for name in _GONE)
        try:
            getattr(self._module, function)(*arguments)
        except gone as error:
            return str(error)
        except Exception:  # another refusal says nothing about whether the device is there
            return ""
        return ""


@contextlib.contextmanager
def open_nvml() -> Iterator[Nvml]:
    """Yield NVML, initialised if that is possible; it never raises."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:
        absent = ("NVMLError_LibraryNotFound", "NVMLError_DriverNotLoaded")
        yield Nvml(None, str(error), has_driver=type(error).__name__ not in absent)
        return
    nvml = Nvml(pynvml)
    try:
        yield nvml
    finally:
        nvml.ask("nvmlShutdown")


# NVIDIA devices, asked through NVML: no CUDA context is made and torch is not needed.

VISIBLE = "CUDA_VISIBLE_DEVICES"
UNKNOWN_NAME = "unknown GPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU, or an instance of one that is divided (MIG).

    Attributes:
        index: Position of the GPU as nvidia-smi counts, in PCI bus order.
        uuid: `GPU-...` or `MIG-...`, as CUDA_VISIBLE_DEVICES takes it; "" where NVML has none.
        name: The model.
        memory: In bytes, None where NVML cannot say.
        capability: Compute capability, None where NVML cannot say.
        is_divided: Whether MIG is enabled; CUDA then uses the instances and never the whole.
        instances: Its MIG instances.
        lost: Why it cannot be reached any more; "" when it can.
    """

    index: int
    uuid: str
    name: str
    memory: int | None = None
    capability: tuple[int, int] | None = None
    is_divided: bool = False
    instances: tuple["Gpu", ...] = ()
    lost: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.uuid})"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuView:
    """What NVML sees.

    Attributes:
        failure: Why it cannot be asked; "" when it can.
        has_driver: Whether there is a driver at all.
        driver: The driver's version.
        cuda: The newest CUDA version that the driver supports.
        gpus: The GPUs of this machine.
        visible: The GPUs and MIG instances that CUDA_VISIBLE_DEVICES leaves.
    """

    failure: str = ""
    has_driver: bool = True
    driver: str = ""
    cuda: str = ""
    gpus: tuple[Gpu, ...] = ()
    visible: tuple[Gpu, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """One device at one moment: use in percent, memory in bytes; None where NVML cannot say."""

    name: str
    utilisation: float | None
    memory_used: int | None
    memory_total: int | None


def view_gpus() -> GpuView:
    """Return what NVML sees, whatever state the driver is in."""
    with open_nvml() as nvml:
        gpus = _gpus(nvml)
        cuda = nvml.ask("nvmlSystemGetCudaDriverVersion_v2")
        return GpuView(
            failure=nvml.failure,
            has_driver=nvml.has_driver,
            driver=nvml.ask("nvmlSystemGetDriverVersion") or "",
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
            gpus=gpus,
            visible=visible_of(gpus, os.environ.get(VISIBLE)),
        )


def visible_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs and MIG instances that CUDA may use; empty without driver or device."""
    return view_gpus().visible


def cuda_device_names() -> tuple[str, ...]:
    """Return the names of the devices that CUDA may use; empty without driver or device."""
    return tuple(gpu.name for gpu in visible_gpus())


def visible_of(gpus: Sequence[Gpu], variable: str | None) -> tuple[Gpu, ...]:
    """Return what a value of CUDA_VISIBLE_DEVICES leaves of some GPUs, in its order.

    It is read as CUDA reads it: a list of indices, or of UUIDs that may be abbreviated, or of MIG
    UUIDs. The list ends at the first entry that names no device or several; a repeated entry, an
    empty list and -1 leave none. Indices are NVML's, in PCI bus order: CUDA counts so under
    CUDA_DEVICE_ORDER=PCI_BUS_ID and on machines with GPUs of one model.

    A GPU that is divided stands for its instances. CUDA itself uses the first instance only, and
    one a process; here each is a device of its own, for a worker uses one device. A lost GPU keeps
    its index and is left out.

    Args:
        gpus: The GPUs of the machine.
        variable: The value; None where the variable is not set.
    """
    if variable is None:
        chosen = list(gpus)
    elif variable.strip().startswith("MIG-"):
        chosen = _by_uuid([i for gpu in gpus for i in gpu.instances], variable, "MIG-")
    elif variable.strip().startswith("GPU-"):
        chosen = _by_uuid(gpus, variable, "GPU-")
    else:
        chosen = _by_index(gpus, variable)
    devices = (d for gpu in chosen for d in (gpu.instances if gpu.is_divided else (gpu,)))
    return tuple(device for device in devices if device.uuid and not device.lost)


def _by_index(gpus: Sequence[Gpu], variable: str) -> list[Gpu]:
    indices: list[int] = []
    for entry in variable.split(","):
        number = re.match(r"\s*([+-]?\d+)", entry)  # as strtol: what follows a number is ignored
        index = int(number[1]) if number else -1
        if index in indices:
            return []
        if index < 0:
            break
        indices.append(index)
    beyond = next((i for i, index in enumerate(indices) if index >= len(gpus)), len(indices))
    return [gpus[index] for index in indices[:beyond]]


def _by_uuid(devices: Sequence[Gpu], variable: str, prefix: str) -> list[Gpu]:
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in variable.split(",")):
        matching = [d for d in devices if entry.startswith(prefix) and d.uuid.startswith(entry)]
        if len(matching) != 1:
            break
        if matching[0] in chosen:
            return []
        chosen += matching
    return chosen


def why_gone(gpu: Gpu) -> str:
    """Return how NVML says that a GPU cannot be reached any more.

    "" when it can be, and where NVML does not say.
    """
    with open_nvml() as nvml:
        handle = nvml.ask("nvmlDeviceGetHandleByUUID", gpu.uuid)
        if handle is None:
            return nvml.why_gone("nvmlDeviceGetHandleByUUID", gpu.uuid)
        return nvml.why_gone("nvmlDeviceGetMemoryInfo", handle)


def gpu_memory_of_this_process() -> int | None:
    """Return the GPU memory that this process holds on all visible devices, in bytes.

    NVML counts the CUDA context too. None without a device, or where NVML does not show this
    process, as in a container with its own process numbers.
    """
    return gpu_memory_by_process().get(os.getpid())


def gpu_memory_by_process() -> dict[int, int]:
    """Return the GPU memory of each process on all visible devices, in bytes."""
    held: dict[int, int] = {}
    with open_nvml() as nvml:
        for _, handle in visible_handles(nvml):
            for process in nvml.ask("nvmlDeviceGetComputeRunningProcesses", handle) or ():
                if process.usedGpuMemory is not None:
                    held[process.pid] = held.get(process.pid, 0) + int(process.usedGpuMemory)
    return held


def gpu_memory_left(uuid: str) -> tuple[int, int] | None:
    """Return the bytes of a GPU that are free, and all; None where NVML cannot say."""
    with open_nvml() as nvml:
        handle = nvml.ask("nvmlDeviceGetHandleByUUID", uuid)
        memory = None if handle is None else nvml.ask("nvmlDeviceGetMemoryInfo", handle)
        return None if memory is None else (int(memory.total - memory.used), int(memory.total))


def sample_gpus() -> tuple[GpuSample, ...]:
    """Return a sample of each visible device."""
    with open_nvml() as nvml:
        return tuple(_sample(nvml, gpu, handle) for gpu, handle in visible_handles(nvml))


def visible_handles(nvml: Nvml) -> list[tuple[Gpu, Any]]:
    """Return the visible devices that can be asked, each with its handle."""
    visible = visible_of(_gpus(nvml), os.environ.get(VISIBLE))
    handles = [(gpu, nvml.ask("nvmlDeviceGetHandleByUUID", gpu.uuid)) for gpu in visible]
    return [(gpu, handle) for gpu, handle in handles if handle is not None]


def _sample(nvml: Nvml, gpu: Gpu, handle: Any) -> GpuSample:
    memory = nvml.ask("nvmlDeviceGetMemoryInfo", handle)
    rates = nvml.ask("nvmlDeviceGetUtilizationRates", handle)
    return GpuSample(
        name=gpu.name,
        utilisation=None if rates is None else float(rates.gpu),
        memory_used=None if memory is None else int(memory.used),
        memory_total=None if memory is None else int(memory.total),
    )


def _gpus(nvml: Nvml) -> tuple[Gpu, ...]:
    return tuple(_gpu(nvml, index) for index in range(nvml.ask("nvmlDeviceGetCount") or 0))


def _gpu(nvml: Nvml, index: int) -> Gpu:
    handle = nvml.ask("nvmlDeviceGetHandleByIndex", index)
    if handle is None:
        lost = nvml.why_gone("nvmlDeviceGetHandleByIndex", index) or "NVML gives no handle for it"
        return Gpu(index=index, uuid="", name=UNKNOWN_NAME, lost=lost)
    current, _ = nvml.ask("nvmlDeviceGetMigMode", handle) or (0, 0)
    instances = _instances(nvml, index, handle) if current else ()
    return _described(nvml, index, handle, is_divided=bool(current), instances=instances)


def _instances(nvml: Nvml, index: int, parent: Any) -> tuple[Gpu, ...]:
    most = nvml.ask("nvmlDeviceGetMaxMigDeviceCount", parent) or 0
    handles = [nvml.ask("nvmlDeviceGetMigDeviceHandleByIndex", parent, n) for n in range(most)]
    return tuple(_described(nvml, index, handle) for handle in handles if handle is not None)


def _described(
    nvml: Nvml,
    index: int,
    handle: Any,
    *,
    is_divided: bool = False,
    instances: tuple[Gpu, ...] = (),
) -> Gpu:
    memory = nvml.ask("nvmlDeviceGetMemoryInfo", handle)
    return Gpu(
        index=index,
        uuid=nvml.ask("nvmlDeviceGetUUID", handle) or "",
        name=nvml.ask("nvmlDeviceGetName", handle) or UNKNOWN_NAME,
        memory=None if memory is None else int(memory.total),
        capability=nvml.ask("nvmlDeviceGetCudaComputeCapability", handle),
        is_divided=is_divided,
        instances=instances,
        lost=nvml.why_gone("nvmlDeviceGetMemoryInfo", handle),
    )


# Energy that the visible NVIDIA devices used, as their driver counts it.


class EnergyMeter:
    """Counts from the moment it is made; it counts devices, not processes."""

    def __init__(self) -> None:
        self._start = _total()

    def joules(self) -> float | None:
        """Return the energy used since; None without a device or where one does not count."""
        now = None if self._start is None else _total()
        return None if self._start is None or now is None else now - self._start


def _total() -> float | None:
    """Return what the visible devices used since their driver was loaded, in joules."""
    with open_nvml() as nvml:
        counts = [
            nvml.ask("nvmlDeviceGetTotalEnergyConsumption", handle)
            for _, handle in visible_handles(nvml)
        ]
    known = [millijoules for millijoules in counts if millijoules is not None]
    return sum(known) / 1000 if known and len(known) == len(counts) else None
