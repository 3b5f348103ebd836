"""What is refused because an image does not fit a network, before anything is built."""

import pytest
from pydantic import ValidationError

from icckd.study.data import ImageShape
from icckd.study.model import Method
from icckd.study.network import StageShape, image_shape, network_shape
from icckd.study.teacher import Teacher
from icckd.train.datasets.cifar import Cifar100Data
from icckd.train.datasets.digits import DigitsData
from icckd.train.networks.cifar import CifarModel
from icckd.train.networks.cnn import CnnModel
from icckd.train.networks.torchvision import TorchvisionModel


def square(pixels, channels=3):
    return ImageShape(channels=channels, height=pixels, width=pixels)


@pytest.mark.parametrize(
    ("name", "smallest"),
    [("resnet8", 4), ("wrn-40-2", 4), ("vgg8", 8), ("resnet50", 8), ("shufflenetv1", 8),
     ("shufflenetv2", 8), ("mobilenetv2", 16)],
)  # fmt: skip
def test_an_image_smaller_than_the_last_stride_is_refused(name, smallest):
    model = CifarModel(kind="cifar", name=name)
    last = network_shape(model, square(smallest)).stages[-1]

    assert (last.height, last.width) == (1, 1)
    with pytest.raises(ValueError, match=f"{name} needs images of at least {smallest}x{smallest}"):
        network_shape(model, ImageShape(channels=3, height=64, width=smallest - 1))


def test_a_large_image_is_pooled_once_more_by_vgg():
    vgg = CifarModel(kind="cifar", name="vgg13")

    assert network_shape(vgg, square(32)).stages[-2:] == (
        StageShape(channels=512, height=4, width=4),
        StageShape(channels=512, height=4, width=4),
    )
    assert network_shape(vgg, square(64)).stages[-2:] == (
        StageShape(channels=512, height=8, width=8),
        StageShape(channels=512, height=4, width=4),
    )


def test_a_network_without_maps_says_so():
    model = TorchvisionModel(kind="torchvision", name="efficientnet_b0")

    assert network_shape(model, square(224)).stages == ()
    with pytest.raises(ValueError, match="at least 32x32"):
        network_shape(model, square(31))


def test_a_network_of_torchvision_takes_colour_images_alone():
    model = TorchvisionModel(kind="torchvision", name="resnet18")

    with pytest.raises(ValueError, match="images of 3 channels, not 1"):
        network_shape(model, square(224, channels=1))


def test_a_method_is_refused_when_its_images_are_too_small_for_a_network():
    teacher = Teacher(model=CifarModel(kind="cifar", name="mobilenetv2"))

    with pytest.raises(ValidationError, match=r"teacher\.model: mobilenetv2 needs .* \(digits\)"):
        Method(data=DigitsData(), teacher=teacher)
    assert Method(data=Cifar100Data(kind="cifar100"), teacher=teacher).teacher == teacher


def test_images_are_those_of_the_data():
    assert image_shape(DigitsData()) == square(8, channels=1)
    assert image_shape(Cifar100Data(kind="cifar100")) == square(32)
    assert network_shape(CnnModel(), square(8, channels=1)).stages == (
        StageShape(channels=16, height=8, width=8),
        StageShape(channels=32, height=4, width=4),
        StageShape(channels=64, height=2, width=2),
    )
