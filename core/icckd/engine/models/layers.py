"""Parts that several networks are made of.

Shape suffixes: B batch, C channels, H height, W width.
"""

from torch import Tensor, nn
from torch.nn import functional


class ConvNorm(nn.Module):
    """Convolution, padded so that stride 1 keeps the size, then batch norm; not activated."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=bias,
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the map before its activation."""
        normed_BCHW: Tensor = self.norm(self.conv(x_BCHW))
        return normed_BCHW


def pooled(map_BCHW: Tensor) -> Tensor:
    """Return the mean over all positions, shape (batch, channels)."""
    return map_BCHW.mean(dim=(2, 3))


def through_all_but_last(blocks: nn.ModuleList, x_BCHW: Tensor) -> Tensor:
    """Return what the last block receives when the output of each block is activated."""
    for block in list(blocks)[:-1]:
        x_BCHW = functional.relu(block(x_BCHW))
    return x_BCHW
