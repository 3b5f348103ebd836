"""A small convolutional network for images of at least 4x4 pixels."""

from torch import Tensor, nn
from torch.nn import functional

from icckd.engine.models.base import Classifier
from icckd.spec.method import CnnModel


class Block(nn.Module):
    """3x3 convolution without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the activations, same height and width."""
        return functional.relu(self.norm(self.conv(x_BCHW)), inplace=True)


class Cnn(Classifier):
    """Three blocks with 2x2 max-pooling between them, global average pooling, linear layer."""

    def __init__(self, settings: CnnModel, *, in_channels: int, n_classes: int) -> None:
        super().__init__(settings, in_channels=in_channels, n_classes=n_classes)
        first, second, third = settings.widths
        self.block1 = Block(in_channels, first)
        self.block2 = Block(first, second)
        self.block3 = Block(second, third)
        self.classifier = nn.Linear(third, n_classes)

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Return the pooled features, shape (batch, third width)."""
        x_BCHW = functional.max_pool2d(self.block1(images_BCHW), 2)
        x_BCHW = functional.max_pool2d(self.block2(x_BCHW), 2)
        pooled_BD: Tensor = self.block3(x_BCHW).mean(dim=(2, 3))
        return pooled_BD
