"""How networks start: the distributions of their families, torchvision's walk, given weights."""

import hashlib

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from icckd.errors import MachineError, StageError
from icckd.study.network import MODELS, WeightsFile
from icckd.train.networks import build_model
from icckd.train.networks.cifar import CifarModel
from icckd.train.networks.cnn import CnnModel
from icckd.train.networks.torchvision import TorchvisionModel
from tests.support.lanes import slow_but

LARGE = 4000
"""Numbers from which on a deviation is estimated to a few percent."""


def build(settings, *, classes=10):
    return build_model(settings, in_channels=3, n_classes=classes, key=("start",), device="cpu")


def torchvision(name, **more):
    return TorchvisionModel(kind="torchvision", name=name, **more)


def fan_out(conv):
    return (2 / (conv.out_channels * conv.weight[0, 0].numel())) ** 0.5


def torch_default(layer):
    return (3 * layer.weight[0].numel()) ** -0.5


@pytest.mark.parametrize(
    ("name", "conv", "linear", "zero_bias"),
    [
        ("resnet8x4", fan_out, torch_default, False),
        ("wrn-16-2", fan_out, torch_default, True),
        ("vgg8", fan_out, lambda layer: 0.01, True),
        ("mobilenetv2", fan_out, lambda layer: 0.01, True),
        ("shufflenetv1", torch_default, torch_default, False),
        ("shufflenetv2", torch_default, torch_default, False),
    ],
)
def test_each_cifar_family_starts_as_the_field_starts_it(name, conv, linear, zero_bias):
    network = build(CifarModel(kind="cifar", name=name), classes=100)

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > LARGE:
            assert layer.weight.std().item() == pytest.approx(conv(layer), rel=0.06)
            assert layer.weight.mean().abs() < 0.1 * conv(layer)
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            assert not layer.bias.any()
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert not layer.bias.any()
    head = network.classifier
    assert head.weight.std().item() == pytest.approx(linear(head), rel=0.06)
    assert bool((head.bias == 0).all()) == zero_bias


@pytest.mark.parametrize(
    "name",
    ["densenet121", "efficientnet_b0", "mobilenet_v2", "mobilenet_v3_small", "resnet18",
     "resnext50_32x4d", "shufflenet_v2_x0_5"],
)  # fmt: skip
def test_a_network_of_torchvision_starts_as_torchvision_starts_it(name):
    ours = build(torchvision(name), classes=100)
    torch.manual_seed(0)
    theirs = models.get_model(name, weights=None, num_classes=100)
    mine = dict(ours.net.named_parameters())
    head = {f"{ours._classifier_name}.{p}": v for p, v in ours.classifier.named_parameters()}

    assert (mine | head).keys() == dict(theirs.named_parameters()).keys()
    for parameter, value in theirs.named_parameters():
        own = (mine | head)[parameter]
        assert own.shape == value.shape
        if value.numel() > LARGE:
            assert own.std().item() == pytest.approx(value.std().item(), rel=0.08), parameter
        elif value.unique().numel() == 1:
            assert torch.equal(own, value), parameter


@pytest.mark.parametrize(
    "name",
    slow_but(["densenet121", "mobilenet_v2", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5",
              "vgg11_bn"], "mobilenet_v2", "resnet18"),
)  # fmt: skip
def test_the_walk_through_a_network_computes_what_torchvision_computes(name):
    ours = MODELS["torchvision"](torchvision(name), in_channels=3, n_classes=10).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        walked = ours(images)
        ours.net.set_submodule(ours._classifier_name, ours.classifier)

        assert torch.equal(walked, ours.net(images))


def given_by(network):
    """Return a network's weights under torchvision's names."""
    head = network._classifier_name
    return {
        name.removeprefix("net.") if name.startswith("net.") else name.replace("classifier", head):
        value
        for name, value in network.state_dict().items()
    }  # fmt: skip


@pytest.fixture
def weights(tmp_path):
    """Write some weights of torchvision's smallest network for 10 classes."""
    network = models.get_model("shufflenet_v2_x0_5", weights=None, num_classes=10)
    file = tmp_path / "shufflenet.safetensors"
    save_file(network.state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return network, WeightsFile(file=str(file), sha256=digest)


def test_given_weights_are_where_a_network_starts(weights):
    network, given = weights
    ours = build(torchvision("shufflenet_v2_x0_5", weights=given))

    assert all(torch.equal(v, network.state_dict()[n]) for n, v in given_by(ours).items())


def test_a_classifier_for_other_classes_starts_anew(weights):
    network, given = weights
    ours = build(torchvision("shufflenet_v2_x0_5", weights=given), classes=7)
    without = build(torchvision("shufflenet_v2_x0_5"), classes=7)

    assert torch.equal(ours.net.conv1[0].weight, network.conv1[0].weight)
    assert torch.equal(ours.classifier.weight, without.classifier.weight)


def test_weights_that_changed_are_refused_with_their_digest(weights):
    _, given = weights
    other = WeightsFile(file=given.file, sha256="0" * 64)

    with pytest.raises(MachineError, match=given.sha256):
        build(torchvision("shufflenet_v2_x0_5", weights=other))


def test_weights_of_another_network_are_refused(weights):
    _, given = weights

    with pytest.raises(StageError, match="do not fit"):
        build(torchvision("resnet18", weights=given))


def test_a_pickle_is_no_weights_file(tmp_path):
    file = tmp_path / "resnet18.pth"
    torch.save({}, file)
    given = WeightsFile(file=str(file), sha256=hashlib.sha256(file.read_bytes()).hexdigest())

    with pytest.raises(StageError, match="are no safetensors file"):
        build(torchvision("resnet18", weights=given))


def test_the_small_network_starts_with_the_bits_of_code_epoch_2():
    state = build(CnnModel(), classes=5).state_dict()
    digest = hashlib.sha256(b"".join(v.numpy().tobytes() for v in state.values())).hexdigest()

    assert digest == "066e8a03c39336f5f60286ba89ac815bb407a34057aac57e0abe91d0e4889584"
