"""The contract of a model: what every network must give, whichever it is."""

from typing import get_args

import pytest
import torch

from icckd.study.data import ImageShape
from icckd.study.network import MODELS, network_shape
from icckd.study.training import Training
from icckd.testing import models
from icckd.testing.models import ModelCase
from icckd.train.networks import load_model
from icckd.train.networks.base import count_macs, count_parameters
from icckd.train.networks.cifar import CifarModel, CifarName, Resnet
from icckd.train.networks.cnn import CnnModel
from icckd.train.networks.torchvision import TorchvisionModel, TorchvisionName


def cifar(name):
    return CifarModel(kind="cifar", name=name)


def torchvision(name, **more):
    return TorchvisionModel(kind="torchvision", name=name, **more)


# One of each way to build and to walk through a network, as small as there is.
CONTRACT = [
    CnnModel(widths=(4, 6, 8)),
    *map(cifar, ["resnet8", "resnet8x4", "resnet50", "wrn-16-1", "wrn-16-2", "vgg8"]),
    *map(cifar, ["mobilenetv2", "shufflenetv1", "shufflenetv2"]),
    *map(torchvision, ["resnet18", "resnet50", "densenet121", "mobilenet_v2"]),
    *map(torchvision, ["shufflenet_v2_x0_5", "efficientnet_b0", "mobilenet_v3_small"]),
]
EVERY_NAME = [
    *map(cifar, get_args(CifarName)),
    *map(torchvision, get_args(TorchvisionName)),
]


IMAGE = ImageShape(channels=3, height=32, width=32)


def label(settings):
    return f"{settings.kind}-{getattr(settings, 'name', '')}"


def build(settings, *, classes=10, seed=0, device="cpu"):
    return ModelCase(settings, IMAGE, classes).build(seed).to(device)


def images_of(batch, height=32, width=32, seed=0):
    image = ImageShape(channels=3, height=height, width=width)
    return ModelCase(CONTRACT[0], image).images(batch, seed=seed)


def on_meta(settings, *, classes=10):
    with torch.device("meta"):
        return MODELS[settings.kind](settings, in_channels=3, n_classes=classes)


@pytest.fixture(scope="module", params=CONTRACT, ids=label)
def contract(request):
    """Build each network once, in evaluation mode; tests leave it so."""
    return ModelCase(request.param, IMAGE)


@pytest.fixture
def model(contract):
    return contract.model


@pytest.mark.parametrize("law", models.LAWS, ids=lambda law: law.__name__)
def test_it_keeps_the_laws_that_everybody_can_try(law, contract):
    law(contract)


def test_maps_before_their_activation_are_negative_somewhere(contract, model):
    with torch.no_grad():
        output = model.outputs(images_of(2))

    assert all((preact < 0).any() for preact in output.preacts)
    if contract.settings.kind != "torchvision":
        assert (output.features >= 0).all()


def test_the_memory_layout_changes_nothing_but_rounding(model):
    images = images_of(2, seed=2)
    with torch.no_grad():
        torch.testing.assert_close(model(images.contiguous()), model(images), rtol=1e-4, atol=1e-5)


def test_bfloat16_gives_nearly_the_same_logits(model):
    images = images_of(4, seed=3)
    with torch.no_grad():
        exact = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(images)

    assert rough.isfinite().all()
    assert (rough - exact).norm() < 0.05 * exact.norm()


def test_counting_leaves_the_model_as_it_was(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    one, three = count_macs(model, images_of(1)), count_macs(model, images_of(3))

    assert model.training
    model.eval()
    assert one == three > 0
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("settings", EVERY_NAME, ids=label)
def test_the_maps_of_every_network_are_foretold_at_every_size(settings):
    network = on_meta(settings)
    sizes = [(32, 32), (37, 71)] if settings.kind == "cifar" else [(67, 99)]

    for height, width in sizes:
        with torch.device("meta"):
            output = network.outputs(torch.empty(2, 3, height, width))
        shape = network_shape(settings, ImageShape(channels=3, height=height, width=width))
        foretold = [(s.channels, s.height, s.width) for s in shape.stages]
        assert [tuple(stage.shape[1:]) for stage in output.stages] == foretold
        assert output.features.shape[1] == shape.features


def test_names_are_those_that_the_engine_builds():
    from icckd.train.networks.cifar import CIFAR

    assert tuple(CIFAR) == get_args(CifarName)
    assert {settings.kind for settings in CONTRACT} == set(MODELS)


def test_a_stage_trains_a_network_and_records_its_size(run_teacher, run_student):
    brief = Training(epochs=1, batch_size=32)
    teacher = run_teacher(model=cifar("resnet8"), training=brief)
    student = run_student(teacher.folder, model=cifar("shufflenetv2"), training=brief)

    one_channel_less_two = 2 * 9 * 16
    assert teacher.values["teacher.parameters"] == 78_042 - 5 * 65 - one_channel_less_two
    assert student.values["student.parameters"] == 1_263_278 - 5 * 1025 - 2 * 24
    convs = 12_507_392 - 100 * 64 - one_channel_less_two * 32 * 32
    assert teacher.values["teacher.macs"] == convs / 16 + 5 * 64
    assert isinstance(load_model(teacher.folder, device="cpu"), Resnet)


def test_parameters_are_the_trainable_numbers():
    network = build(CnnModel(widths=(4, 6, 8)))

    conv = 9 * (3 * 4 + 4 * 6 + 6 * 8)
    assert count_parameters(network) == conv + 2 * (4 + 6 + 8) + 8 * 10 + 10
    image = torch.randn(1, 3, 8, 8)
    assert count_macs(network, image) == 9 * (3 * 4 * 64 + 4 * 6 * 16 + 6 * 8 * 4) + 8 * 10
