"""A stand-in for nvidia-ml-py: the part of NVML that icckd asks, answered from a description.

The environment variable STAND_IN_GPUS names a JSON file, read anew at every initialisation, so that
a test can change the machine under running processes. `tests/support/gpus.py` writes it.
tests/resources/test_stand_in.py holds this module against the installed one.
"""

# ruff: noqa: N802
import json
import os
from types import SimpleNamespace

NVML_SUCCESS = 0
NVML_ERROR_UNINITIALIZED = 1
NVML_ERROR_INVALID_ARGUMENT = 2
NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_NO_PERMISSION = 4
NVML_ERROR_NOT_FOUND = 6
NVML_ERROR_DRIVER_NOT_LOADED = 9
NVML_ERROR_LIBRARY_NOT_FOUND = 12
NVML_ERROR_FUNCTION_NOT_FOUND = 13
NVML_ERROR_GPU_IS_LOST = 15
NVML_ERROR_RESET_REQUIRED = 16
NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18
NVML_ERROR_GPU_NOT_FOUND = 28
NVML_ERROR_UNKNOWN = 999

_WORDS = {
    NVML_ERROR_UNINITIALIZED: "Uninitialized",
    NVML_ERROR_INVALID_ARGUMENT: "Invalid Argument",
    NVML_ERROR_NOT_SUPPORTED: "Not Supported",
    NVML_ERROR_NO_PERMISSION: "Insufficient Permissions",
    NVML_ERROR_NOT_FOUND: "Not Found",
    NVML_ERROR_DRIVER_NOT_LOADED: "Driver Not Loaded",
    NVML_ERROR_LIBRARY_NOT_FOUND: "NVML Shared Library Not Found",
    NVML_ERROR_FUNCTION_NOT_FOUND: "Function Not Found",
    NVML_ERROR_GPU_IS_LOST: "GPU is lost",
    NVML_ERROR_RESET_REQUIRED: "GPU requires restart",
    NVML_ERROR_LIB_RM_VERSION_MISMATCH: "RM has detected an NVML/RM version mismatch.",
    NVML_ERROR_UNKNOWN: "Unknown Error",
}


class NVMLLibraryMismatchError(Exception):
    pass


_CLASSES = {}


class NVMLError(Exception):
    def __new__(cls, value=None):
        made = Exception.__new__(_CLASSES.get(value, cls) if cls is NVMLError else cls)
        if value is not None:
            made.value = value
        return made

    def __str__(self):
        return _WORDS.get(self.value, f"NVML Error with code {self.value}")


def _error_class(name, code):
    words = "".join(word.capitalize() for word in name.removeprefix("NVML_ERROR_").split("_"))
    made = type(f"NVMLError_{words}", (NVMLError,), {"value": code, "__module__": __name__})
    _CLASSES[code] = made
    return made


for _name, _code in [(n, c) for n, c in globals().items() if n.startswith("NVML_ERROR_")]:
    _class = _error_class(_name, _code)
    globals()[_class.__name__] = _class

_machine = None
_references = 0


def _described():
    with open(os.environ["STAND_IN_GPUS"], encoding="utf-8") as file:
        return json.load(file)


def _refuse(code):
    raise NVMLError(code)


def _needs_start():
    if _references == 0:
        _refuse(NVML_ERROR_UNINITIALIZED)
    return _machine


def _answered(function):
    """Return the machine, or raise what the description says of this function."""
    machine = _needs_start()
    error = machine.get("functions", {}).get(function)
    if error == "mismatch":
        raise NVMLLibraryMismatchError("Unversioned function called and versions do not match")
    if error is not None:
        _refuse(error)
    return machine


class _Handle:
    """A device as described; a GPU has `mig`, an instance of one a `parent`."""

    def __init__(self, fields, parent=None):
        self.fields = fields
        self.parent = parent

    def get(self, name, function):
        _answered(function)
        if (self.parent or self).fields.get("lost"):
            _refuse(NVML_ERROR_GPU_IS_LOST)
        if name not in self.fields:
            _refuse(NVML_ERROR_NOT_SUPPORTED)
        return self.fields[name]


def nvmlInit():
    global _machine, _references
    machine = _described()
    state = machine.get("nvml", 0)
    if state == "mismatch":
        raise NVMLLibraryMismatchError("Unversioned function called and versions do not match")
    if state:
        _refuse(state)
    _machine = machine
    _references += 1


def nvmlShutdown():
    global _references
    _needs_start()
    _references -= 1


def nvmlSystemGetDriverVersion():
    return _answered("nvmlSystemGetDriverVersion")["driver"]


def nvmlSystemGetCudaDriverVersion_v2():
    return _answered("nvmlSystemGetCudaDriverVersion_v2")["cuda"]


def nvmlDeviceGetCount():
    return len(_answered("nvmlDeviceGetCount")["gpus"])


def nvmlDeviceGetHandleByIndex(index):
    gpus = _answered("nvmlDeviceGetHandleByIndex")["gpus"]
    if not 0 <= index < len(gpus):
        _refuse(NVML_ERROR_INVALID_ARGUMENT)
    if gpus[index].get("lost"):
        _refuse(NVML_ERROR_GPU_IS_LOST)
    return _Handle(gpus[index])


def nvmlDeviceGetHandleByUUID(uuid):
    for fields in _answered("nvmlDeviceGetHandleByUUID")["gpus"]:
        whole = _Handle(fields)
        for handle in (whole, *(_Handle(inner, whole) for inner in fields.get("mig") or ())):
            if handle.fields["uuid"] == uuid:
                if fields.get("lost"):
                    _refuse(NVML_ERROR_GPU_IS_LOST)
                return handle
    return _refuse(NVML_ERROR_NOT_FOUND)


def nvmlDeviceGetUUID(handle):
    return handle.get("uuid", "nvmlDeviceGetUUID")


def nvmlDeviceGetName(handle):
    return handle.get("name", "nvmlDeviceGetName")


def nvmlDeviceGetMemoryInfo(handle, version=None):
    total = handle.get("memory", "nvmlDeviceGetMemoryInfo")
    used = handle.fields.get("memory_used", 0)
    return SimpleNamespace(total=total, used=used, free=total - used)


def nvmlDeviceGetUtilizationRates(handle):
    rate = handle.get("utilisation", "nvmlDeviceGetUtilizationRates")
    return SimpleNamespace(gpu=rate, memory=0)


def nvmlDeviceGetTotalEnergyConsumption(handle):
    return handle.get("millijoules", "nvmlDeviceGetTotalEnergyConsumption")


def nvmlDeviceGetComputeRunningProcesses(handle):
    processes = handle.get("processes", "nvmlDeviceGetComputeRunningProcesses")
    return [SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in processes]


def nvmlDeviceGetCudaComputeCapability(handle):
    return tuple(handle.get("capability", "nvmlDeviceGetCudaComputeCapability"))


def nvmlDeviceGetMigMode(device):
    mode = int(device.get("mig", "nvmlDeviceGetMigMode") is not None)
    return [mode, mode]


def nvmlDeviceGetMaxMigDeviceCount(device):
    return 7 if device.get("mig", "nvmlDeviceGetMaxMigDeviceCount") is not None else 0


def nvmlDeviceGetMigDeviceHandleByIndex(device, index):
    instances = device.get("mig", "nvmlDeviceGetMigDeviceHandleByIndex") or []
    if index >= len(instances):
        _refuse(NVML_ERROR_NOT_FOUND)
    return _Handle(instances[index], device)
