"""Wide residual networks, activated before the convolutions, without dropout.

Zagoruyko and Komodakis 2016, arXiv 1605.07146.

Shape suffixes: B batch, C channels, H height, W width.
"""

from torch import Tensor, nn
from torch.nn import functional

from icckd.engine.models.base import Classifier, Maps
from icckd.engine.models.layers import ConvNorm, pooled
from icckd.engine.seeding import Start


class Unit(nn.Module):
    """Two 3x3 convolutions of the activated input beside a shortcut, and the norm that follows.

    The norm belongs to the next unit of the paper, or ends the network. Its ReLU is what the next
    unit's convolutions see, so it is kept here, where the map of a stage is complete.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels, 3, stride=stride)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.projection = (
            None
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, sum_BCHW: Tensor, active_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum, and what its norm makes of it, before the activation.

        Args:
            sum_BCHW: The sum that the unit before returned.
            active_BCHW: ReLU of the norm of it.
        """
        inner_BCHW = functional.relu(self.first(active_BCHW))
        shortcut_BCHW = sum_BCHW if self.projection is None else self.projection(active_BCHW)
        sum_BCHW = shortcut_BCHW + self.second(inner_BCHW)
        return sum_BCHW, self.norm(sum_BCHW)


class WideResnet(Classifier):
    """WRN-depth-width: three stages of (depth - 4) / 6 units."""

    start = Start(conv="fan-out", linear_bias="zero")

    def __init__(self, depth: int, width: int, *, in_channels: int, n_classes: int) -> None:
        super().__init__()
        self.stem = ConvNorm(in_channels, 16, 3)
        self.stages = nn.ModuleList()
        before = 16
        for number in range(3):
            out_channels = 16 * 2**number * width
            first = Unit(before, out_channels, stride=1 if number == 0 else 2)
            rest = (Unit(out_channels, out_channels, stride=1) for _ in range((depth - 4) // 6 - 1))
            self.stages.append(nn.ModuleList([first, *rest]))
            before = out_channels
        self.classifier = nn.Linear(before, n_classes)

    def maps(self, images_BCHW: Tensor) -> Maps:
        """Return the pooled features, and each stage's map.

        A stage's preact is the norm of its last sum, its map the ReLU of that: what the next
        stage's convolutions, or the pooling, see.
        """
        sum_BCHW = self.stem.conv(images_BCHW)
        active_BCHW = functional.relu(self.stem.norm(sum_BCHW))
        stages, preacts = [], []
        for units in self.stages:
            assert isinstance(units, nn.ModuleList)
            for unit in units:
                sum_BCHW, preact_BCHW = unit(sum_BCHW, active_BCHW)
                active_BCHW = functional.relu(preact_BCHW)
            preacts.append(preact_BCHW)
            stages.append(active_BCHW)
        return Maps(pooled(active_BCHW), tuple(stages), tuple(preacts))
