"""Whether weights fit a network: names and shapes compared, and the network they were made for.

Names are those of torchvision, as in a file of weights and not as in icckd's own modules. Networks
are built on torch's `meta` device: shapes without values, in milliseconds.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from icckd.train.lazy import lazy_module, nn, torch

models: Any = lazy_module("torchvision.models")

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each tensor by name."""

NAMED = 3
"""Names of each kind that a message gives."""
ALIKE = 0.5
"""Least share of common tensors at which weights are said to be of a network."""
STRANGE = 0.1
"""Weights of which a network has a smaller share of the names are of another family."""

_OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The tensors that a network needs.

    Attributes:
        name: What torchvision calls the network.
        shapes: Its tensors.
        head: Name of its last linear layer, which starts anew where the file's is another one.
    """

    name: str
    shapes: Shapes
    head: str

    def is_head(self, name: str) -> bool:
        """Whether a tensor belongs to the last linear layer."""
        return name.startswith(f"{self.head}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How tensors compare with what a network needs.

    Attributes:
        missing: Names that the network needs and the tensors lack.
        extra: Names that the network has no place for.
        differing: Names with other shapes, as text.
        new_head: Whether the last linear layer starts anew.
    """

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    differing: tuple[str, ...]
    new_head: bool

    @property
    def is_enough(self) -> bool:
        """Whether the network has all it needs; there may be more."""
        return not (self.missing or self.differing)

    def text(self) -> str:
        """Return what does not fit, with a few names of each kind."""
        kinds = (
            ("missing", self.missing),
            ("not of this network", self.extra),
            ("of other shapes", self.differing),
        )
        return "; ".join(f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds if names)


def wanted(name: str, n_classes: int = 1000) -> Wanted:
    """Return what one of torchvision's networks needs."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on how later versions of torchvision will begin
        network = models.get_model(name, weights=None, num_classes=n_classes)
    linear = [found for found, m in network.named_modules() if isinstance(m, nn.Linear)]
    return Wanted(
        name=name, shapes=shapes_of(network.state_dict()), head=linear[-1] if linear else ""
    )


def shapes_of(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of tensors by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def compare(given: Shapes, needed: Wanted) -> Fit:
    """Compare tensors with what a network needs.

    Counters of batch norm may be absent: files from before they existed have none, and nothing here
    reads them. A last linear layer for other classes, or none, is no difference.
    """
    absent = [name for name in needed.shapes if name not in given]
    common = [name for name in needed.shapes if name in given]
    differing = [name for name in common if given[name] != needed.shapes[name]]
    return Fit(
        missing=tuple(n for n in absent if not needed.is_head(n) and not _is_counter(n)),
        extra=tuple(sorted(name for name in given if name not in needed.shapes)),
        differing=tuple(
            f"{name}: {list(given[name])}, the network has {list(needed.shapes[name])}"
            for name in differing
            if not needed.is_head(name)
        ),
        new_head=any(needed.is_head(name) for name in (*absent, *differing)),
    )


def likely_network(given: Shapes) -> str:
    """Return the network of torchvision that tensors are most likely of, "" where none is near."""
    best, found = ALIKE, ""
    body = {item for item in given.items() if not _is_counter(item[0])}
    strangers: set[str] = set()
    for name in models.list_models(module=models):
        family = models.get_model_builder(name).__module__
        if family in strangers:
            continue
        try:
            needed = wanted(name)
        except NotImplementedError:  # RegNet computes with values while it is built
            continue
        own = {item for item in needed.shapes.items() if not _is_counter(item[0])}
        if len(needed.shapes.keys() & given.keys()) < STRANGE * len(given):
            strangers.add(family)
        share = len(own & body) / max(1, len(own | body))
        if share > best:
            best, found = share, name
    return found


def today(name: str) -> str:
    """Return a name as torchvision writes it today: old files of DenseNet have "norm.1".

    >>> today("features.denseblock1.denselayer2.norm.1.weight")
    'features.denseblock1.denselayer2.norm1.weight'
    """
    old = _OLD_DENSENET.fullmatch(name)
    return f"{old[1]}{old[2]}" if old else name


# What wraps a network adds to its names.

WRAPPERS = frozenset(("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))
"""Data parallelism and averaging, the compiler, sharding, checkpointing of activations."""
BOOKKEEPING = frozenset(("n_averaged",))
"""What a wrapper keeps beside the network that it wraps."""


def unwrapped(names: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return each name without wrappers, by the name as given, and which wrappers there were.

    A wrapper holds one network and nothing else, so that its name is a part of names beside which
    there is no other. It may stand anywhere, also more than once. What only a wrapper keeps has no
    name in the result.
    """
    plain = {name: tuple(name.split(".")) for name in names if name not in BOOKKEEPING}
    seen: Counter[str] = Counter()
    depth = 0
    while any(len(parts) > depth + 1 for parts in plain.values()):
        beside: dict[tuple[str, ...], set[str]] = {}
        for parts in plain.values():
            if len(parts) > depth:
                beside.setdefault(parts[:depth], set()).add(parts[depth])
        gone = {p for p, words in beside.items() if len(words) == 1 and words <= WRAPPERS}
        if not gone:
            depth += 1
            continue
        for name, parts in plain.items():
            if len(parts) > depth + 1 and parts[:depth] in gone:
                seen[f"{parts[depth]}."] += 1
                plain[name] = parts[:depth] + parts[depth + 1 :]
    found = {name: ".".join(parts) for name, parts in plain.items()}
    if len(set(found.values())) < len(found):
        return {name: name for name in found}, ()
    return found, tuple(seen)


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
