"""A stand-in for a GPU beneath torch: the CPU trains, CUDA's answers come from a description.

Python imports this module at its start where the folder is on PYTHONPATH. When torch is imported,
the few functions of `torch.cuda` that icckd asks before and after training answer from the
description that `pynvml` beside this file reads; when `icckd.train.stage` is imported, its two
entry points are handed the device "cpu" instead of "cuda". Nothing here shows that CUDA works.

A GPU of the description may have, besides what NVML says of it: `torch`, an error that every use
raises; `lost`; and `fault`, raised `times` (1) at the end of an epoch of stages that train on it:
{"message", "kind": "error" or "abort", "class": of torch, "is_sticky", "times"}. Files beside the
description count what was raised.
"""

import functools
import importlib.abc
import importlib.util
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

ADVICE = """
Search for the error in https://docs.nvidia.com/cuda/cuda-runtime-api/ for more information.
CUDA kernel errors might be asynchronously reported at some other API call.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""
_broken = ""


def _machine():
    return json.loads(Path(os.environ["STAND_IN_GPUS"]).read_text(encoding="utf-8"))


def _own():
    """Return the description of the first device that this process sees, or None."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0]
    for gpu in _machine()["gpus"]:
        for device in (gpu, *(gpu.get("mig") or ())):
            if device["uuid"] == first:
                return {**device, "lost": gpu.get("lost", False)}
    return None


def _error():
    """Return the text of the error that CUDA would answer anything with; "" when it works."""
    machine, own = _machine(), _own()
    if machine.get("torch"):
        return machine["torch"]
    if own is None:
        return "No CUDA GPUs are available"
    if own["lost"]:
        return "CUDA error: unspecified launch failure"
    return _broken or own.get("torch", "")


def _answer(torch, call=None):
    if error := _error():
        kind = torch.AcceleratorError if error.startswith("CUDA error") else RuntimeError
        raise kind(error + ADVICE)
    return call() if call else None


def _is_cuda(device):
    return str(device or "").startswith("cuda")


def _patch_torch(torch):
    cuda, ones = torch.cuda, torch.ones

    def on_the_cpu(*size, device=None, **more):
        if not _is_cuda(device):
            return ones(*size, device=device, **more)
        return _answer(torch, lambda: ones(*size, **more))

    torch.ones = on_the_cpu
    cuda.init = lambda: _answer(torch)
    cuda.synchronize = lambda device=None: _answer(torch)
    cuda.is_available = lambda: not _error()
    cuda.device_count = lambda: int(_own() is not None)
    cuda.get_device_name = lambda device=None: _own()["name"]
    cuda.get_device_capability = lambda device=None: tuple(_own()["capability"])
    if "torch_cuda" in _machine():
        torch.version.cuda = _machine()["torch_cuda"] or None


def _raise_fault(torch, own, fault):
    global _broken
    home = Path(os.environ["STAND_IN_GPUS"]).parent
    for number in range(fault.get("times", 1)):
        try:
            (home / f"fault-{own['uuid']}-{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        if fault.get("kind") == "abort":
            os.abort()
        if fault.get("is_sticky"):
            _broken = fault["message"]
        kind = getattr(torch, fault.get("class", "AcceleratorError"))
        raise kind(fault["message"] + ADVICE)


def _patch_run(run):
    import torch

    def on_the_cpu(train):
        @functools.wraps(train)
        def trained(job, recorder, place):
            asked = place.should_stop

            def should_stop():
                own = _own()
                if own["lost"]:
                    _answer(torch)
                if fault := own.get("fault"):
                    _raise_fault(torch, own, fault)
                return asked()

            if place.device == "cuda":
                place = replace(place, device="cpu", should_stop=should_stop)
            return train(job, recorder, place)

        return trained

    run.train_teacher = on_the_cpu(run.train_teacher)
    run.train_student = on_the_cpu(run.train_student)


_PATCHES = {"torch": _patch_torch, "icckd.train.stage": _patch_run}


class _Patching(importlib.abc.MetaPathFinder):
    """Finds a module as without it, and patches it after its code has run."""

    def find_spec(self, name, path, target=None):
        if name not in _PATCHES:
            return None
        patch = _PATCHES.pop(name)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


if "STAND_IN_GPUS" in os.environ:
    sys.meta_path.insert(0, _Patching())
