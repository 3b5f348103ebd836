"""VGG with batch norm (Simonyan and Zisserman 2015, arXiv 1409.1556) for CIFAR: one linear layer.

Shape suffixes: B batch, C channels, H height, W width.
"""

from torch import Tensor, nn
from torch.nn import functional

from icckd.engine.models.base import Classifier, Maps
from icckd.engine.models.layers import ConvNorm, pooled, through_all_but_last
from icckd.engine.seeding import Start
from icckd.spec.shapes import POOL_FOUR_TIMES

WIDTHS = (64, 128, 256, 512, 512)


class Vgg(Classifier):
    """Five blocks of 3x3 convolutions with bias; 2x2 max-pooling before blocks 2, 3 and 4.

    Large images are pooled before block 5 too. The first block is the stem, the others are the
    stages.
    """

    start = Start(conv="fan-out", linear="normal", linear_bias="zero")

    def __init__(self, convs: tuple[int, ...], *, in_channels: int, n_classes: int) -> None:
        """Build the network.

        Args:
            convs: Convolutions of each block.
            in_channels: Channels of an image.
            n_classes: Outputs.
        """
        super().__init__()
        self.blocks = nn.ModuleList()
        before = in_channels
        for count, width in zip(convs, WIDTHS, strict=True):
            layers = nn.ModuleList()
            for _ in range(count):
                layers.append(ConvNorm(before, width, 3, bias=True))
                before = width
            self.blocks.append(layers)
        self.classifier = nn.Linear(before, n_classes)

    def maps(self, images_BCHW: Tensor) -> Maps:
        """Return the pooled features, and the maps of blocks 2 to 5."""
        pools = 4 if min(images_BCHW.shape[2:]) >= POOL_FOUR_TIMES else 3
        x_BCHW = images_BCHW
        stages, preacts = [], []
        for number, layers in enumerate(self.blocks):
            assert isinstance(layers, nn.ModuleList)
            if 0 < number <= pools:
                x_BCHW = functional.max_pool2d(x_BCHW, 2)
            preact_BCHW = layers[-1](through_all_but_last(layers, x_BCHW))
            x_BCHW = functional.relu(preact_BCHW)
            preacts.append(preact_BCHW)
            stages.append(x_BCHW)
        return Maps(pooled(x_BCHW), tuple(stages[1:]), tuple(preacts[1:]))
