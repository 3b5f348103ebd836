"""What a law of a part is: a function that raises where it is broken; and what several laws use.

A law takes one *case*, a part with settings, and runs the real thing. The first line of its
docstring is the sentence that it is told by. Laws of each sort of part stand in a module of their
own beside this one; the tests of icckd hold its own parts to the same functions.
"""

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any

from icckd.train.lazy import Module, Tensor, nn, np, torch

Law = Callable[[Any], None]


class BrokenLawError(AssertionError):
    """A part does not keep a law; the message says what was seen."""


class NotTriedError(Exception):
    """A law cannot be tried on a part; the message says why."""


def require(holds: object, text: str) -> None:
    """Do nothing where something holds.

    Raises:
        BrokenLawError: It does not.
    """
    if not holds:
        raise BrokenLawError(text)


def sentence(law: Law) -> str:
    """Return the sentence that a law is told by, such as `terms are finite scalars`."""
    first = (law.__doc__ or "").strip().splitlines()[0].rstrip(".")
    return first[0].lower() + first[1:]


@contextlib.contextmanager
def process_streams(seed: int) -> Iterator[None]:
    """Set the generators that a whole process shares (Python's, NumPy's, torch's); put them back.

    What a part computes may depend on none of them: other parts draw from them, too.
    """
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])


@contextlib.contextmanager
def no_shared_draws() -> Iterator[None]:
    """Require that nothing inside draws from the generators that a whole process shares.

    Raises:
        BrokenLawError: Something did.
    """
    before = _states()
    yield
    drawn = [name for name, state in _states().items() if state != before[name]]
    require(
        not drawn,
        f"it draws from the generator that the whole process shares ({', '.join(drawn)}):"
        " draw from generator(key)",
    )


def _states() -> dict[str, str]:
    return {
        "torch": digest(torch.get_rng_state()),
        "NumPy": repr(np.random.get_state()),
        "Python": repr(random.getstate()),
    }


def digest(values: Tensor) -> str:
    """Return what tells tensors of other bits apart."""
    whole = values.detach().cpu().contiguous()
    form = f"{whole.dtype} {tuple(whole.shape)}".encode()
    content = whole.reshape(-1).view(torch.uint8).numpy().tobytes() if whole.numel() else b""
    return hashlib.sha256(form + content).hexdigest()


def bits(module: Module) -> dict[str, str]:
    """Return the digest of each parameter and buffer, by name."""
    return {name: digest(value) for name, value in module.state_dict().items()}


def differing(some: dict[str, Any], others: dict[str, Any]) -> str:
    """Return the names whose values differ, a few of them, or "" where none does."""
    names = [n for n in {**some, **others} if some.get(n) != others.get(n)]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def starts_from_its_key(build: Callable[[int], Module]) -> None:
    """Parameters start from their key alone.

    Args:
        build: Makes the part anew under the key of a number.

    Raises:
        BrokenLawError: The same key gives other bits, or another one the same weights.
    """
    with process_streams(1):
        first = bits(build(0))
    with process_streams(2):
        made = build(0)
    odd = differing(first, bits(made))
    require(
        not odd,
        f"{odd} start otherwise under the same key: call initialise(self, key) once all layers"
        " are made",
    )
    other = dict(build(1).named_parameters())
    layers = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    for name, module in made.named_modules():
        if isinstance(module, layers):
            own = f"{name}.weight" if name else "weight"
            drawn = module.weight.numel() > 1 and module.weight.min() < module.weight.max()
            require(
                not drawn or not torch.equal(module.weight, other[own]),
                f"{own} starts the same under every key: its key leaves the seed out",
            )


def all_finite(values: dict[str, Tensor | None], what: str) -> None:
    """Require that each of these is there and finite.

    Raises:
        BrokenLawError: One is missing, NaN or infinite.
    """
    missing = [name for name, value in values.items() if value is None]
    require(not missing, f"{', '.join(missing[:4])}: no {what}")
    odd = [n for n, value in values.items() if value is not None and not value.isfinite().all()]
    require(not odd, f"{', '.join(odd[:4])}: {what} is not finite")
