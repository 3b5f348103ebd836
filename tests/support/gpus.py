"""Machines with GPUs, described: what the stand-in for NVML and CUDA tells icckd.

`stand_in/` holds a module `pynvml` and a `sitecustomize`; a process with the variables of
`Machine.variables()` believes in the GPUs described, and so do its children. Training runs on the
CPU; nothing here shows that CUDA itself works.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).parent / "stand_in"
GIB = 1024**3
H100 = "NVIDIA H100 80GB HBM3"
A100 = "NVIDIA A100-SXM4-80GB"
SIZES = {H100: (80 * GIB, [9, 0]), A100: (80 * GIB, [8, 0])}
NOT_COMPILED = "Torch not compiled with CUDA enabled"
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU"
    " driver by downloading and installing a new version from the URL:"
    " http://www.nvidia.com/Download/index.aspx"
)


def uuid(number: int, kind: str = "GPU") -> str:
    return f"{kind}-{number:08x}-4b5a-6978-8796-a5b4c3d2e1f0"


def gpu(number: int, name: str = H100, **more: Any) -> dict[str, Any]:
    """Return a GPU; `mig` is a list of instances, or None where MIG is off."""
    memory, capability = SIZES.get(name, (16 * GIB, [7, 5]))
    return {
        "uuid": uuid(number), "name": name, "memory": memory, "memory_used": 0,
        "utilisation": 0, "millijoules": 0, "processes": [], "capability": capability,
        "mig": None, **more,
    }  # fmt: skip


def instance(number: int, profile: str = "1g.10gb") -> dict[str, Any]:
    return {
        "uuid": uuid(number, "MIG"), "name": f"{H100} MIG {profile}", "memory": 10 * GIB,
        "capability": [9, 0], "processes": [],
    }  # fmt: skip


class Machine:
    """A described machine; `describe` changes it under the processes that look at it."""

    def __init__(self, file: Path, *gpus: dict[str, Any], **more: Any) -> None:
        self.file = file
        self.gpus = [dict(each) for each in gpus]
        self.more = {"driver": "580.95.05", "cuda": 13000, **more}
        self.write()

    def write(self) -> None:
        text = json.dumps({**self.more, "gpus": self.gpus})
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    def change(self, number: int, **fields: Any) -> None:
        self.gpus[number].update(fields)
        self.write()

    def variables(self, visible: str | None = None) -> dict[str, str]:
        """Return what a process needs in its environment; `visible` is CUDA_VISIBLE_DEVICES."""
        paths = [str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
        found = {"STAND_IN_GPUS": str(self.file), "PYTHONPATH": os.pathsep.join(paths)}
        return found if visible is None else {**found, "CUDA_VISIBLE_DEVICES": visible}

    def enter(self, monkeypatch: Any, visible: str | None = None) -> None:
        """Let this process, and children that it starts, see the machine."""
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that what a test sets goes with it
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        for name, value in self.variables(visible).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setitem(sys.modules, "pynvml", stand_in())


def stand_in() -> ModuleType:
    """Return a new copy of the stand-in for NVML."""
    spec = importlib.util.spec_from_file_location("pynvml", FOLDER / "pynvml.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
