"""What this machine offers and uses: CPUs, devices, memory. Torch-free and cheap to import."""

from icckd.resources.cpus import available_cpus
from icckd.resources.energy import EnergyMeter
from icckd.resources.filesystems import network_file_system
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
    "EnergyMeter",
    "GpuSample",
    "HostSample",
    "PeakMemory",
    "ProcessSample",
    "ProcessSampler",
    "available_cpus",
    "cuda_device_names",
    "gpu_memory_of_this_process",
    "network_file_system",
    "resolve_device",
    "sample_gpus",
    "sample_host",
]
