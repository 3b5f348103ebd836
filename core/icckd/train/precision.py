"""How a stage computes: precision of its forward passes, scale of its loss, compiler.

fp32 and tf32 use the networks as they are; bf16 and fp16 run them under autocast, with weights in
fp32. Their pooled features are fp32 again, and the linear classifier works on those. Maps stay as
the network made them: whoever reads one casts it.

The loss scale of fp16 keeps small gradients above its smallest number: Micikevicius et al. 2018,
"Mixed Precision Training" (arXiv 1710.03740), section 3.2, with the rule and the numbers of
torch.amp.GradScaler. That one reads from the device twice a step whether a gradient overflowed, for
which a GPU must finish all its work; here the answer stays on the device.

Shape suffixes: B batch, C channels, H height, W width.
"""

import copy
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import cast

import torch
from torch import Tensor, nn

from icckd.errors import IcckdError, MachineError, StageError
from icckd.resources import cuda_device_names
from icckd.resources.host import cpu_model
from icckd.study.records import Device
from icckd.study.training import Numerics
from icckd.train.networks.base import Classifier, Maps, Output

START = 65536.0
GROWTH, BACKOFF = 2.0, 0.5
GROWS_AFTER = 2000
"""Steps without an overflow after which the scale is doubled."""
SMALLEST = 1.0
"""A gradient that overflows at a scale below this one overflows whatever the scale."""


class LossScale(nn.Module):
    """The scale, and the steps since it changed.

    Buffers: `scale` float32 and `steady` int32, both scalars on the device of the stage.
    """

    scale: Tensor
    steady: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(START))
        self.register_buffer("steady", torch.tensor(0, dtype=torch.int32))

    @torch.no_grad()
    def unscale(self, gradients: list[Tensor]) -> None:
        """Divide gradients by the scale, in place."""
        torch._foreach_mul_(gradients, self.scale.double().reciprocal().float())

    @torch.no_grad()
    def adapt(self, overflowed: Tensor) -> None:
        """Halve the scale after an overflow, double it after many steps without.

        Args:
            overflowed: 1.0 if a gradient of the step was not finite, else 0.0.
        """
        torch._amp_update_scale_(self.scale, self.steady, overflowed, GROWTH, BACKOFF, GROWS_AFTER)

    def is_lost(self) -> Tensor:
        """Return whether the scale fell so low that it cannot be what overflows, on the device."""
        return self.scale < SMALLEST


# Forward passes.

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}

Forward = Callable[[Tensor], Maps]


class Arithmetic:
    """How one stage computes, by its numerics.

    Attributes:
        loss_scale: What the loss is multiplied by, in fp16.
        captured: Whether a step is captured as a CUDA graph.
    """

    def __init__(self, numerics: Numerics, device: str) -> None:
        self._dtype = HALF.get(numerics.precision)
        self._device = device
        self._compiled = numerics.compile == "on"
        self.captured = numerics.graphs == "on"
        self.loss_scale = LossScale().to(device) if numerics.precision == "fp16" else None

    def forward(self, model: Classifier) -> Forward:
        """Return the function that computes a model's maps in training; its features are fp32."""
        run: Forward = model.maps
        if self._compiled:
            run = cast(Forward, torch.compile(model.maps, dynamic=False, fullgraph=True))
        return run if self._dtype is None else self._half(run, self._dtype)

    def frozen(self, model: Classifier) -> Forward:
        """Return `forward` of a model that is not trained, of its weights as they are now.

        In half precision it works on a copy whose weights autocast need not cast at every step.
        The bits are the same.
        """
        return self.forward(model if self._dtype is None else _halved(model, self._dtype))

    def scaled(self, tensor: Tensor) -> Tensor:
        """Return a loss or a gradient times the loss scale, which an update takes out again."""
        return tensor if self.loss_scale is None else tensor * self.loss_scale.scale

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Tell errors of torch's compiler from others; it compiles when first called.

        A forward pass is compiled at its first call, a backward pass too, and kernels when they
        are first launched. A stage's identity says that it is compiled, so without a compiler it
        does not run at all.

        Raises:
            MachineError: If torch cannot compile here.
            StageError: If the compiler gives up, having compiled too many variants.
        """
        try:
            yield
        except Exception as error:
            if self._compiled:
                _raise_of_compiler(error)
            raise

    def _half(self, run: Forward, dtype: torch.dtype) -> Forward:
        def forward(images_BCHW: Tensor) -> Maps:
            with torch.autocast(self._device, dtype=dtype):
                maps = run(images_BCHW)
            return maps._replace(features=maps.features.float())

        return forward


PLAIN = Arithmetic(Numerics(), "cpu")
"""fp32 without a compiler, on any device."""


def output_of(model: Classifier, maps: Maps) -> Output:
    """Return maps with the logits of the model's classifier, in fp32."""
    return Output(*maps, logits=model.classifier(maps.features))


def _halved(model: Classifier, dtype: torch.dtype) -> Classifier:
    """Return a copy with the weights in half precision that autocast would cast: norms stay."""
    halved = copy.deepcopy(model)
    for module in halved.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)
    return halved


_PACKAGES = ("torch._dynamo", "torch._functorch", "torch._inductor", "triton")
"""Where the errors of the compiler are defined."""
_PHASES = ("torch._dynamo.convert_frame", "torch._dynamo.backends", "torch._inductor.compile_fx")
"""Modules that compile, and are left before what they made is run."""


def _raise_of_compiler(error: Exception) -> None:
    """Raise what an error says of the compiler; return if it comes from elsewhere.

    A compiler that ran out of memory raises that error itself, as anything else in a stage would.
    """
    from torch._dynamo.exc import FailOnRecompileLimitHit

    inner = getattr(error, "inner_exception", error)
    if isinstance(inner, MemoryError | torch.OutOfMemoryError | IcckdError):
        if inner is not error:
            raise inner from error
        return
    if isinstance(error, FailOnRecompileLimitHit):
        raise StageError(
            f"torch.compile gave up: {_reason(error.__cause__ or error)}",
            hint='set numerics.compile = "off" for this study',
        ) from error
    if _is_within(type(error).__module__, _PACKAGES) or _passed_through(error, _PHASES):
        raise MachineError(
            f"torch.compile failed: {_reason(inner)}",
            hint='install what it asks for (a C++ compiler), or set numerics.compile = "off"',
        ) from inner


def _passed_through(error: Exception, modules: tuple[str, ...]) -> bool:
    """Return whether an error was raised by one of some modules, or by what they called."""
    trace = error.__traceback__
    while trace is not None:
        if _is_within(str(trace.tb_frame.f_globals.get("__name__")), modules):
            return True
        trace = trace.tb_next
    return False


def _is_within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _reason(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


# Settings of torch that decide the bits, and the versions that do.

PACKAGES = ("numpy", "safetensors", "scikit-learn", "torch", "torchvision")


def prepare(device: Device, numerics: Numerics) -> None:
    """Set torch up as a stage's numerics say.

    In deterministic mode a repeat of a stage on this machine ends bit-identical, whatever stages
    this process trained before.

    Raises:
        MachineError: If torch cannot use the device, the device not the precision, or the compiler
            is switched off where the stage is to be compiled.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.set_num_threads(numerics.threads)
    # The same switch as use_deterministic_algorithms(True), which imports the compiler for it.
    torch.set_deterministic_debug_mode("error" if numerics.deterministic else "default")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not numerics.deterministic
    torch.backends.cudnn.deterministic = numerics.deterministic
    allow_tf32(numerics.precision == "tf32")
    if device == "cuda":
        _check_cuda(numerics.precision)
    if numerics.compile == "on":
        _prepare_compiler(deterministic=numerics.deterministic)


def allow_tf32(allowed: bool) -> None:
    """Let CUDA compute fp32 matrix products and convolutions on TF32, or forbid it.

    torch has two interfaces for this, and a read of one raises where only the other was written;
    parts of its compiler still read the older one. Up to torch 2.11 at least, writing the newer one
    also leaves convolutions on TF32, torch's default. So both are written, the older one last:
    it sets matrix products, convolutions and recurrent layers one by one.
    """
    torch.backends.cudnn.fp32_precision = "tf32" if allowed else "ieee"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


@contextmanager
def full_fp32() -> Iterator[None]:
    """Compute in IEEE single precision inside, also in a stage that trains on TF32.

    The switches are those of the whole process; a stage computes one thing at a time.
    """
    trains_on_tf32 = torch.backends.cuda.matmul.allow_tf32
    allow_tf32(False)
    try:
        yield
    finally:
        allow_tf32(trains_on_tf32)


def _check_cuda(precision: str) -> None:
    if not torch.cuda.is_available():
        raise MachineError(
            f"torch {torch.__version__} cannot use a CUDA device here",
            hint="use --device cpu, or install a CUDA build of torch that fits the driver",
        )
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # untyped in torch
    except RuntimeError as error:
        raise MachineError(
            f"CUDA does not start: {str(error).splitlines()[0]}",
            hint="see what nvidia-smi says of the device, or use --device cpu",
        ) from error
    if precision in ("tf32", "bf16") and torch.cuda.get_device_capability() < (8, 0):
        raise MachineError(
            f"{torch.cuda.get_device_name()} has no {precision}",
            hint='set numerics.precision = "fp32" or "fp16"',
        )


def _prepare_compiler(*, deterministic: bool) -> None:
    """Make torch's compiler begin afresh, and fail where it cannot compile.

    By itself it stops compiling a function after a few variants and goes on without. All networks
    of a class share their functions, and it counts over the whole process. Where bits must
    repeat, its kernels are chosen without timing them.
    """
    import torch._dynamo.config as dynamo
    import torch._inductor.config as inductor

    if dynamo.disable or os.environ.get("TORCHDYNAMO_DISABLE") == "1":
        raise MachineError(
            "torch.compile failed: TORCH_COMPILE_DISABLE or TORCHDYNAMO_DISABLE switches it off",
            hint='unset that variable, or set numerics.compile = "off"',
        )
    torch.compiler.reset()
    dynamo.suppress_errors = False
    dynamo.fail_on_recompile_limit_hit = True
    inductor.deterministic = deterministic


def bits_depend_on(device: Device) -> dict[str, str]:
    """Return what decides the bits of this machine besides a stage's identity."""
    name = torch.cuda.get_device_name() if device == "cuda" else cpu_model()
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
        "cpu": cpu_model(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpus": ", ".join(cuda_device_names()),
    }
