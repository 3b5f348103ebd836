"""Parameters and multiply-adds of every network against published figures."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from torchvision import models

from icckd.study.network import MODELS
from icckd.train.networks.base import count_macs, count_parameters
from icckd.train.networks.cifar import CifarModel, CifarName
from icckd.train.networks.torchvision import TorchvisionModel, TorchvisionName
from tests.support.lanes import slow_but

# Measured on RepDistiller's and mdistiller's own models at 3x32x32 (identical where both have one):
# parameters for 100 and for 10 classes, millions of multiply-adds for 100 classes.
REFERENCE = {
    "resnet8": (83_892, 78_042, 12.51),
    "resnet14": (181_108, 175_258, 26.66),
    "resnet20": (278_324, 272_474, 40.82),
    "resnet32": (472_756, 466_906, 69.13),
    "resnet44": (667_188, 661_338, 97.44),
    "resnet56": (861_620, 855_770, 125.75),
    "resnet110": (1_736_564, 1_730_714, 253.16),
    "resnet8x4": (1_233_540, 1_210_410, 177.07),
    "resnet32x4": (7_433_860, 7_410_730, 1083.04),
    "wrn-16-1": (180_916, 175_066, 26.66),
    "wrn-16-2": (703_284, 691_674, 101.12),
    "wrn-40-1": (569_780, 563_930, 83.29),
    "wrn-40-2": (2_255_156, 2_243_546, 327.61),
    "vgg8": (3_965_028, 3_918_858, 96.19),
    "vgg11": (9_277_284, 9_231_114, 209.44),
    "vgg13": (9_462_180, 9_416_010, 284.94),
    "vgg16": (14_774_436, 14_728_266, 398.18),
    "vgg19": (20_086_692, 20_040_522, 511.43),
    "resnet50": (23_705_252, 23_520_842, 1298.01),
    "resnet18": (11_220_132, None, 555.47),
    "mobilenetv2": (812_836, 697_546, 6.52),
    "shufflenetv1": (949_258, 862_768, 38.69),
    "shufflenetv2": (1_355_528, 1_263_278, 44.50),
}

# Why torchvision's other classifiers are left out.
LEFT_OUT = {
    "transformers": {"maxvit_t", "swin_b", "swin_s", "swin_t", "swin_v2_b", "swin_v2_s",
                     "swin_v2_t", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32"},
    "layer norm and scales have no start of ours": {"convnext_base", "convnext_large",
                                                    "convnext_small", "convnext_tiny"},
    "auxiliary classifiers": {"googlenet", "inception_v3"},
    "no linear layer on pooled features": {"squeezenet1_0", "squeezenet1_1"},
    "in no study we know": {"alexnet", "efficientnet_v2_l", "efficientnet_v2_m",
                         "efficientnet_v2_s",
                         "mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3",
                         "regnet_x_16gf", "regnet_x_1_6gf", "regnet_x_32gf", "regnet_x_3_2gf",
                         "regnet_x_400mf", "regnet_x_800mf", "regnet_x_8gf", "regnet_y_128gf",
                         "regnet_y_16gf", "regnet_y_1_6gf", "regnet_y_32gf", "regnet_y_3_2gf",
                         "regnet_y_400mf", "regnet_y_800mf", "regnet_y_8gf"},
}  # fmt: skip

# One network of each family whose multiply-adds are counted: a forward pass even without numbers
# takes a while. EfficientNet's are stated at a size of its own for each.
FORWARDED = {"densenet121", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "resnet50",
             "resnext50_32x4d", "shufflenet_v2_x0_5", "vgg11_bn"}  # fmt: skip


def on_meta(settings, classes):
    with torch.device("meta"):
        return MODELS[settings.kind](settings, in_channels=3, n_classes=classes)


def macs_at(network, pixels):
    with torch.device("meta"):
        return count_macs(network, torch.empty(1, 3, pixels, pixels))


def test_every_cifar_network_has_a_reference():
    assert set(REFERENCE) == set(get_args(CifarName))


@pytest.mark.parametrize("name", REFERENCE)
def test_a_cifar_network_has_the_parameters_and_multiply_adds_of_the_field(name):
    hundred, ten, macs = REFERENCE[name]
    settings = CifarModel(kind="cifar", name=name)
    networks = {classes: on_meta(settings, classes) for classes in (10, 100, 200)}
    counts = {classes: count_parameters(network) for classes, network in networks.items()}
    of_a_class = networks[100].classifier.in_features + 1

    assert counts[100] == hundred
    assert counts[10] == hundred - 90 * of_a_class
    assert ten in (counts[10], None)
    assert counts[200] == hundred + 100 * of_a_class
    at_32, head = macs_at(networks[100], 32), networks[100].classifier.weight.numel()
    assert round(at_32 / 1e6, 2) == macs
    if not name.startswith("vgg"):  # which pools once more
        assert macs_at(networks[100], 64) == 4 * (at_32 - head) + head


def test_the_documentation_states_the_same_sizes():
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    rows = [[c.strip() for c in row.split("|")] for row in page.splitlines() if "MACs" not in row]
    stated = {row[1].strip("`"): row[4:7] for row in rows if len(row) == 9}

    for name, (hundred, ten, macs) in REFERENCE.items():
        assert stated[name][0] == f"{hundred:,}"
        assert ten is None or stated[name][1] == f"{ten:,}"
        assert float(stated[name][2]) == macs


@pytest.mark.parametrize("name", slow_but(get_args(TorchvisionName), "resnet18", "mobilenet_v2"))
def test_a_network_of_torchvision_has_the_size_that_torchvision_states(name):
    stated = models.get_model_weights(name).DEFAULT.meta
    network = on_meta(TorchvisionModel(kind="torchvision", name=name), 1000)

    assert count_parameters(network) == stated["num_params"]
    if name in FORWARDED:
        assert macs_at(network, 224) / 1e9 == pytest.approx(stated["_ops"], abs=0.01)


def test_supported_names_are_torchvisions_less_those_left_out_for_a_reason():
    offered = set(models.list_models(module=models))
    left_out = set().union(*LEFT_OUT.values())

    assert set(get_args(TorchvisionName)) == offered - left_out
    assert left_out <= offered
