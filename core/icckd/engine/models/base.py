"""What every model exposes.

Shape suffixes: B batch, C classes, D features, H height, W width.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from icckd.engine.seeding import Key, Start, initialise


class Maps(NamedTuple):
    """What a network computes before its classifier.

    Attributes:
        features: Pooled features, what the classifier sees, shape (batch, features).
        stages: Map after each stage, activated, shapes (batch, channels, height, width).
        preacts: The same maps before their last activation.
    """

    features: Tensor
    stages: tuple[Tensor, ...]
    preacts: tuple[Tensor, ...]


class Output(NamedTuple):
    """`Maps` and the logits, shape (batch, classes)."""

    features: Tensor
    stages: tuple[Tensor, ...]
    preacts: tuple[Tensor, ...]
    logits: Tensor


class Classifier(nn.Module, ABC):
    """A network that ends in one linear layer on pooled features.

    Attributes:
        start: How its parameters start.
        activated: Whether each stage is the ReLU of its preact; otherwise the two are the same
            map, which has no activation (linear bottlenecks).
    """

    start: Start = Start()
    activated: bool = True
    classifier: nn.Linear

    @abstractmethod
    def maps(self, images_BCHW: Tensor) -> Maps:
        """Return everything below the classifier of one forward pass."""

    def outputs(self, images_BCHW: Tensor) -> Output:
        """Return everything of one forward pass."""
        maps = self.maps(images_BCHW)
        return Output(*maps, logits=self.classifier(maps.features))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the logits, shape (batch, classes)."""
        return self.outputs(images_BCHW).logits

    def initialise(self, key: Key) -> None:
        """Set every parameter and buffer from streams under `key`."""
        initialise(self, key, self.start)


Builder = Callable[..., Classifier]
"""Makes a network from its settings, `in_channels` and `n_classes` (both by name)."""
