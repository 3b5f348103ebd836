"""The contract of a model: what every network must give, whichever it is."""

from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional

from icckd.study.data import ImageShape
from icckd.study.network import MODELS, network_shape
from icckd.study.training import Training
from icckd.train.networks import build_model, load_model, save_model
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


def label(settings):
    return f"{settings.kind}-{getattr(settings, 'name', '')}"


def build(settings, *, classes=10, seed=0, device="cpu"):
    return build_model(
        settings, in_channels=3, n_classes=classes, key=("test", seed), device=device
    )


def images_of(batch, height=32, width=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 3, height, width, generator=generator)
    return images.to(memory_format=torch.channels_last)


def on_meta(settings, *, classes=10):
    with torch.device("meta"):
        return MODELS[settings.kind](settings, in_channels=3, n_classes=classes)


@pytest.fixture(scope="module", params=CONTRACT, ids=label)
def model(request):
    """Build each network once; tests leave it in evaluation mode."""
    built = build(request.param).eval()
    built.settings = request.param
    return built


def test_maps_have_the_shapes_that_are_known_without_the_network(model):
    images = images_of(2)
    with torch.no_grad():
        output = model.outputs(images)

    shape = network_shape(model.settings, ImageShape(channels=3, height=32, width=32))
    expected = [(2, stage.channels, stage.height, stage.width) for stage in shape.stages]
    assert [tuple(stage.shape) for stage in output.stages] == expected
    assert [tuple(preact.shape) for preact in output.preacts] == expected
    assert output.features.shape == (2, shape.features) == (2, model.classifier.in_features)
    assert output.logits.shape == (2, 10)
    assert torch.equal(output.logits, model.classifier(output.features))
    assert torch.equal(output.logits, model(images))


def test_a_stage_is_the_relu_of_its_preact_or_has_no_activation(model):
    with torch.no_grad():
        output = model.outputs(images_of(2))

    for stage, preact in zip(output.stages, output.preacts, strict=True):
        assert torch.equal(stage, functional.relu(preact) if model.activated else preact)
        assert (preact < 0).any()
    if model.settings.kind != "torchvision":
        assert (output.features >= 0).all()


def test_an_image_gets_the_same_answer_alone_and_in_company(model):
    images = images_of(3, seed=1)
    with torch.no_grad():
        together, alone = model(images), model(images[1:2])

    torch.testing.assert_close(alone, together[1:2], rtol=1e-4, atol=1e-5)


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


def test_every_parameter_gets_a_finite_gradient(model):
    model.train()
    try:
        output = model.outputs(images_of(4))
        functional.cross_entropy(output.logits, torch.arange(4)).backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        missing = [n for n, g in gradients.items() if g is None or not g.isfinite().all()]
    finally:
        model.zero_grad()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
        model.eval()

    assert missing == []


def test_each_parameter_starts_from_a_stream_of_its_own(model):
    torch.manual_seed(99)
    other = build(model.settings, classes=7).state_dict()

    for name, value in model.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(value, other[name]), name


def test_a_stored_model_comes_back_with_the_same_bits(model, tmp_path):
    save_model(model, model.settings, in_channels=3, n_classes=10, folder=tmp_path)
    back = load_model(tmp_path, device="cpu")

    images = images_of(2)
    with torch.no_grad():
        assert torch.equal(back(images), model(images))
    assert back.state_dict().keys() == model.state_dict().keys()


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
