"""The stand-in for NVML is held against the installed library: names, arguments, errors."""

import ctypes
import inspect

import pynvml
import pytest

from tests.support.gpus import Machine, gpu, instance, stand_in, uuid

STAND_IN = stand_in()
FUNCTIONS = sorted(name for name in vars(STAND_IN) if name.startswith("nvml"))
CODES = sorted(name for name in vars(STAND_IN) if name.startswith("NVML_ERROR_"))
CLASSES = sorted(name for name in vars(STAND_IN) if name.startswith("NVMLError_"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_the_arguments_of_the_installed_one(name):
    installed = inspect.signature(getattr(pynvml, name))

    assert inspect.signature(getattr(STAND_IN, name)) == installed


def test_error_codes_classes_and_words_are_those_of_the_installed_library():
    assert len(CODES) == len(CLASSES) > 10
    for name in CODES:
        code = getattr(pynvml, name)
        ours, theirs = STAND_IN.NVMLError(code), pynvml.NVMLError(code)
        assert getattr(STAND_IN, name) == code
        assert type(ours).__name__ == type(theirs).__name__
        assert ours.value == theirs.value
        assert name == "NVML_ERROR_GPU_NOT_FOUND" or str(ours) == str(theirs)
    for name in CLASSES:
        assert getattr(STAND_IN, name)().value == getattr(pynvml, name)().value
        assert getattr(pynvml, name).__mro__[1] is pynvml.NVMLError
    assert pynvml.NVMLLibraryMismatchError.__mro__[1] is Exception
    assert STAND_IN.NVMLLibraryMismatchError.__mro__[1] is Exception


def test_without_a_library_both_refuse_to_start_in_the_same_way(tmp_path, monkeypatch):
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        with pytest.raises(pynvml.NVMLError_LibraryNotFound):
            pynvml.nvmlInit()
    Machine(tmp_path / "m", nvml=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND).enter(monkeypatch)

    with pytest.raises(STAND_IN.NVMLError_LibraryNotFound):
        STAND_IN.nvmlInit()


def test_nothing_is_answered_before_the_start_and_a_shut_down_library_is_like_new(
    tmp_path, monkeypatch
):
    Machine(tmp_path / "m", gpu(1)).enter(monkeypatch)
    nvml = stand_in()
    for call in (nvml.nvmlDeviceGetCount, nvml.nvmlShutdown):
        with pytest.raises(nvml.NVMLError_Uninitialized):
            call()
    nvml.nvmlInit()
    assert nvml.nvmlDeviceGetCount() == 1
    nvml.nvmlShutdown()
    with pytest.raises(nvml.NVMLError_Uninitialized):
        nvml.nvmlDeviceGetCount()


def test_an_instance_has_its_own_uuid_and_lacks_what_only_a_whole_gpu_has(tmp_path, monkeypatch):
    Machine(tmp_path / "m", gpu(1, mig=[instance(2)])).enter(monkeypatch)
    nvml = stand_in()
    nvml.nvmlInit()
    whole = nvml.nvmlDeviceGetHandleByIndex(0)
    part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(whole, 0)

    assert nvml.nvmlDeviceGetUUID(part) == uuid(2, "MIG")
    with pytest.raises(nvml.NVMLError_NotFound):
        nvml.nvmlDeviceGetMigDeviceHandleByIndex(whole, 1)
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceGetTotalEnergyConsumption(part)
