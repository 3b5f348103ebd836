"""What this machine offers and uses: CPUs, devices, memory. Torch-free and cheap to import."""

from icckd.resources.cpus import available_cpus
from icckd.resources.gpus import (
    GpuSample,
    cuda_device_names,
    gpu_memory_of_this_process,
    resolve_device,
    sample_gpus,
)
from icckd.resources.host import HostSample, sample_host
from icckd.resources.memory import PeakMemory
from icckd.resources.processes import ProcessSample, ProcessSampler

__all__ = [
    "GpuSample",
    "HostSample",
    "PeakMemory",
    "ProcessSample",
    "ProcessSampler",
    "available_cpus",
    "cuda_device_names",
    "gpu_memory_of_this_process",
    "resolve_device",
    "sample_gpus",
    "sample_host",
]
