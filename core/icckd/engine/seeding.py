"""Random streams: each source of randomness has a generator of its own.

A stream is named by a key such as `("teacher", seed, "view1.crop", epoch)`. What one stream draws
never depends on how much another drew, so switching a part of the method on or off shifts none.
Streams are CPU generators, so that a device draws the same numbers as any other.
"""

import json
from hashlib import blake2b

import torch
from torch import Generator, Tensor, nn

Key = tuple[str | int, ...]


def generator(key: Key) -> Generator:
    """Return the generator of the stream called `key`.

    torch's CPU generator takes 32 bits of seed, hence a digest of four bytes.
    """
    digest = blake2b(json.dumps(key).encode(), digest_size=4).digest()
    return Generator().manual_seed(int.from_bytes(digest, "big"))


def initialise(model: nn.Module, key: Key) -> None:
    """Set every parameter and buffer, each from a stream keyed by its own name.

    The distributions are torch's: convolutions and linear layers are uniform between plus and
    minus 1 / sqrt(inputs of one output), batch norm starts as the identity.

    Raises:
        TypeError: If a module has parameters of a kind that has no rule here.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            bound = module.weight[0].numel() ** -0.5
            for part, parameter in module.named_parameters(recurse=False):
                _fill(parameter, bound, (*key, f"{name}.{part}"))
        elif next(module.parameters(recurse=False), None) is not None:
            raise TypeError(f"no initialisation rule for {type(module).__name__} {name!r}")


@torch.no_grad()
def _fill(parameter: Tensor, bound: float, key: Key) -> None:
    values = torch.empty(parameter.shape)
    parameter.copy_(values.uniform_(-bound, bound, generator=generator(key)))
