"""The cause of an attempt's failure, by the exception that ended it."""

import errno

import pytest
import torch

from icckd.errors import MachineError, NonFiniteError, StageError
from icckd.run.failures import failure_of, is_about_device

ADVICE = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the"
    " stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1"
    "\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)


def accelerator(words):
    return torch.AcceleratorError(f"CUDA error: {words}{ADVICE}")


def raised_from(error, cause):
    error.__cause__ = cause
    return error


CASES = [
    (MemoryError(), "out-of-memory"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), "out-of-memory"),
    (accelerator("out of memory"), "out-of-memory"),
    *(
        (RuntimeError(f"CUDA error: {status} when calling `cublasCreate(handle)`"), "out-of-memory")
        for status in (
            "CUBLAS_STATUS_ALLOC_FAILED", "CUSOLVER_STATUS_ALLOC_FAILED",
            "CUSPARSE_STATUS_ALLOC_FAILED",
        )
    ),
    *(
        (RuntimeError(f"cuDNN error: {status}"), "out-of-memory")
        for status in (
            "CUDNN_STATUS_ALLOC_FAILED", "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        )
    ),
    (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), "out-of-memory"),
    (RuntimeError("CURAND_STATUS_ALLOCATION_FAILED"), "out-of-memory"),
    (RuntimeError("NVRTC_ERROR_OUT_OF_MEMORY"), "out-of-memory"),
    (RuntimeError("CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY"), "out-of-memory"),
    (RuntimeError("Triton Error [CUDA]: out of memory"), "out-of-memory"),
    (raised_from(StageError("torch cannot compile"), RuntimeError("out of memory")),
     "out-of-memory"),
    *(
        (accelerator(words), "device")
        for words in (
            "an illegal memory access was encountered", "misaligned address",
            "unspecified launch failure", "uncorrectable ECC error encountered",
            "the launch timed out and was terminated", "unknown error", "driver shutting down",
            "CUDA-capable device(s) is/are busy or unavailable", "hardware stack error",
        )
    ),
    (RuntimeError("CUDA driver error: device lost"), "device"),
    (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), "device"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `x`"), "device"),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
    (raised_from(StageError("the step failed"), accelerator("misaligned address")), "device"),
    (accelerator("device-side assert triggered"), "bug"),
    (accelerator("invalid configuration argument"), "bug"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `x`"), "bug"),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "bug"),
    (ValueError("CUDA error: out of memory, said no CUDA"), "bug"),
    (MachineError("the data set changed"), "machine"),
    (NonFiniteError(step=3, term="ce"), "non-finite"),
    (OSError(errno.ENOSPC, "No space left on device"), "disk-full"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "cause"), CASES, ids=lambda value: str(value)[:50])
def test_the_cause_is_told_by_the_exception(error, cause):
    assert failure_of(error).cause == cause
    if cause == "device":
        assert is_about_device(error)
    if cause in ("machine", "non-finite", "disk-full"):
        assert not is_about_device(error)
