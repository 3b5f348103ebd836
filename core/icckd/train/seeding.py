"""Random streams: each source of randomness has a generator of its own.

A stream is named by a key such as `("teacher", seed, "view1.crop", epoch)`. What one stream draws
never depends on how much another drew, so switching a part of the method on or off shifts none.
Streams are CPU generators, so that a device draws the same numbers as any other.
"""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import shake_128
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from icckd.errors import MachineError
from icckd.train.lazy import Generator, Module, Tensor, nn, no_grad, np, torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

Key = tuple[str | int, ...]
Draw = Callable[[Tensor, Generator], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How convolutions and linear layers start; batch norm always starts as the identity.

    `uniform` is torch's own rule, within plus and minus 1 / sqrt(inputs of one output), for
    weights and biases. `fan-out` and `fan-in` are the normal distributions of He et al. 2015
    (arXiv 1502.01852), deviation sqrt(2 / (kernel area * channels)) with the channels of the
    output or the input of one group; such convolutions start without bias.

    Attributes:
        conv: Rule for convolutions.
        linear: Rule for the weights of linear layers; `normal` has the deviation 0.01, `outputs`
            is uniform within plus and minus 1 / sqrt(outputs).
        linear_bias: Rule for their biases.
    """

    conv: Literal["uniform", "fan-out", "fan-in"] = "uniform"
    linear: Literal["uniform", "normal", "outputs"] = "uniform"
    linear_bias: Literal["uniform", "zero"] = "uniform"


def generator(key: Key) -> Generator:
    """Return the generator of the stream called `key`.

    torch's CPU generator is MT19937 (Matsumoto and Nishimura 1998) and `manual_seed` keeps 32 bits
    of a seed, so that some of 100,000 streams would be equal. All 624 words of its state are
    therefore taken from a SHAKE128 digest of the key: streams are equal only if keys are.

    Raises:
        MachineError: If this torch keeps the generator's state in another form.
    """
    state = _fresh_state().copy()
    digest = shake_128(json.dumps(key).encode()).digest(4 * _WORDS)
    state[_FIRST_WORD : _FIRST_WORD + _WORDS] = np.frombuffer(digest, dtype="<u4")
    stream = torch.Generator()
    stream.set_state(torch.from_numpy(state.view(np.uint8)))
    return stream


_WORDS, _FIRST_WORD = 624, 3
"""Words of the state, and where they begin: after the seed, how many are left, and the next one."""


@functools.cache
def _fresh_state() -> "NDArray[np.uint64]":
    """Return the state of a generator that has drawn nothing, in words of 64 bits.

    Its form is torch's own affair: it is checked against a state that is known.
    """
    seed = 5489
    found = torch.Generator().manual_seed(seed).get_state().numpy()
    known = np.random.RandomState(seed).get_state(legacy=False)["state"]["key"]
    words = found.view(np.uint64) if found.nbytes % 8 == 0 else found
    if not np.array_equal(words[_FIRST_WORD : _FIRST_WORD + _WORDS], known):
        raise MachineError(
            f"torch {version('torch')} keeps the state of its random generator in another form",
            hint="install a version of torch that pyproject.toml allows, or report this",
        )
    return words


def initialise(model: Module, key: Key, start: Start = Start()) -> None:
    """Set every parameter and buffer, each from a stream keyed by its own name.

    Raises:
        TypeError: If a module has parameters of a kind that has no rule here.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            for part, parameter in module.named_parameters(recurse=False):
                draw = _rule(module, part, start)
                _fill(parameter, draw, (*key, f"{name}.{part}"))
        elif next(module.parameters(recurse=False), None) is not None:
            raise TypeError(f"no initialisation rule for {type(module).__name__} {name!r}")


def _rule(module: "nn.Conv2d | nn.ConvTranspose2d | nn.Linear", part: str, start: Start) -> Draw:
    outputs, inputs = module.weight.shape[0], module.weight[0].numel()
    if isinstance(module, nn.ConvTranspose2d):
        return _uniform(inputs**-0.5)
    if isinstance(module, nn.Conv2d):
        if start.conv == "uniform":
            return _uniform(inputs**-0.5)
        if part == "bias":
            return _zero
        area = module.weight[0, 0].numel()
        fan = outputs * area if start.conv == "fan-out" else inputs
        return _normal((2 / fan) ** 0.5)
    if part == "bias":
        return _zero if start.linear_bias == "zero" else _uniform(inputs**-0.5)
    if start.linear == "normal":
        return _normal(0.01)
    return _uniform((outputs if start.linear == "outputs" else inputs) ** -0.5)


def _uniform(bound: float) -> Draw:
    return lambda values, stream: values.uniform_(-bound, bound, generator=stream)


def _normal(deviation: float) -> Draw:
    return lambda values, stream: values.normal_(0, deviation, generator=stream)


def _zero(values: Tensor, stream: Generator) -> Tensor:
    return values.zero_()


@no_grad
def _fill(parameter: Tensor, draw: Draw, key: Key) -> None:
    parameter.copy_(draw(torch.empty(parameter.shape), generator(key)))
