"""Settings of torch that decide the bits, and the versions that do."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch

from icckd.errors import MachineError
from icckd.resources import cuda_device_names
from icckd.spec.training import Numerics

PACKAGES = ("numpy", "safetensors", "scikit-learn", "torch", "torchvision")


def prepare(device: Literal["cpu", "cuda"], numerics: Numerics) -> None:
    """Set torch up as a stage's numerics say.

    In deterministic mode a repeat of a stage on this machine ends bit-identical.

    Raises:
        MachineError: If torch cannot use the device, or the device not the precision.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.set_num_threads(numerics.threads)
    # The same switch as use_deterministic_algorithms(True), which imports the compiler for it.
    torch.set_deterministic_debug_mode("error" if numerics.deterministic else "default")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not numerics.deterministic
    torch.backends.cudnn.deterministic = numerics.deterministic
    fp32 = "tf32" if numerics.precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = fp32
    torch.backends.cudnn.fp32_precision = fp32
    if device == "cuda":
        _check_cuda(numerics.precision)


def _check_cuda(precision: str) -> None:
    if not torch.cuda.is_available():
        raise MachineError(
            f"torch {torch.__version__} cannot use a CUDA device here",
            hint="use --device cpu, or install a CUDA build of torch that fits the driver",
        )
    if precision in ("tf32", "bf16") and torch.cuda.get_device_capability() < (8, 0):
        raise MachineError(
            f"{torch.cuda.get_device_name()} has no {precision}",
            hint='set numerics.precision = "fp32" or "fp16"',
        )


def bits_depend_on(device: Literal["cpu", "cuda"]) -> dict[str, str]:
    """Return what decides the bits of this machine besides a stage's identity."""
    name = torch.cuda.get_device_name() if device == "cuda" else _cpu_name()
    return {"torch": torch.__version__, "device": name}


def environment() -> dict[str, str]:
    """Return the versions and device names that a result may depend on."""
    versions = {package: version(package) for package in PACKAGES}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **versions,
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "",
        "cudnn": str(torch.backends.cudnn.version() or ""),  # type: ignore[no-untyped-call]  # untyped in torch
        "cpu": _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpus": ", ".join(cuda_device_names()),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
