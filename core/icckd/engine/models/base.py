"""What every model exposes.

Shape suffixes: B batch, C classes, D features, H height, W width.
"""

from typing import Any, NamedTuple

from torch import Tensor, nn


class Output(NamedTuple):
    """Pooled features [B, D], which the classifier sees, and logits [B, C]."""

    features: Tensor
    logits: Tensor


class Classifier(nn.Module):
    """A network that ends in one linear layer on pooled features."""

    classifier: nn.Linear

    def __init__(self, settings: Any, *, in_channels: int, n_classes: int) -> None:
        super().__init__()

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Return the pooled features, shape (batch, features)."""
        raise NotImplementedError

    def outputs(self, images_BCHW: Tensor) -> Output:
        """Return features and logits of one forward pass."""
        features_BD = self.features(images_BCHW)
        return Output(features_BD, self.classifier(features_BD))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the logits, shape (batch, classes)."""
        return self.outputs(images_BCHW).logits
