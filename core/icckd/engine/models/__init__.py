"""Models, and how one is built, stored and read back.

`MODELS` maps the `kind` of the settings to what builds a network.
"""

import json
from pathlib import Path

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from icckd.engine.models.base import Builder, Classifier, Maps, Output
from icckd.engine.models.cifar import build_cifar
from icckd.engine.models.cnn import Cnn
from icckd.engine.seeding import Key
from icckd.errors import StageError
from icckd.spec.models import Model, TorchvisionModel

__all__ = [
    "LAYOUT",
    "MODELS",
    "Classifier",
    "Maps",
    "Output",
    "build_model",
    "load_model",
    "save_model",
]

LAYOUT = {"cpu": torch.channels_last, "cuda": torch.contiguous_format}
"""Memory layout of images and filters on each device, a part of the numerics.

On a CPU channels-last makes a step of the default teacher a third shorter.
"""


def _torchvision(settings: TorchvisionModel, *, in_channels: int, n_classes: int) -> Classifier:
    """Return a network of torchvision, whose models take a worker a while to import."""
    from icckd.engine.models.imagenet import Torchvision

    return Torchvision(settings, in_channels=in_channels, n_classes=n_classes)


MODELS: dict[str, Builder] = {"cnn": Cnn, "cifar": build_cifar, "torchvision": _torchvision}


def build_model(
    settings: Model, *, in_channels: int, n_classes: int, key: Key, device: str
) -> Classifier:
    """Return a new model on the device, initialised from streams under `key`."""
    model = MODELS[settings.kind](settings, in_channels=in_channels, n_classes=n_classes)
    model.initialise(key)
    return model.to(device).to(memory_format=LAYOUT[device])


def save_model(
    model: Classifier, settings: Model, *, in_channels: int, n_classes: int, folder: Path
) -> None:
    """Write `model.safetensors` (weights) and `model.json` (what rebuilds the model).

    Raises:
        OSError: The disk refuses it; it may be tried again.
    """
    tensors = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    (folder / "model.safetensors").write_bytes(save(tensors))
    about = {
        "model": settings.model_dump(mode="json"),
        "in_channels": in_channels,
        "n_classes": n_classes,
    }
    (folder / "model.json").write_text(json.dumps(about, indent=2) + "\n")


def load_model(folder: Path, *, device: str) -> Classifier:
    """Return the model that `save_model` wrote, in evaluation mode.

    Raises:
        StageError: If a file is missing or does not fit the model.
    """
    try:
        about = json.loads((folder / "model.json").read_text())
        settings = TypeAdapter[Model](Model).validate_json(json.dumps(about["model"]))
        model = MODELS[settings.kind](
            settings, in_channels=about["in_channels"], n_classes=about["n_classes"]
        )
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise StageError(
            f"the model in {folder} cannot be read: {error}",
            hint="delete that artifact; the stage that makes it then runs again",
        ) from error
    return model.to(device).to(memory_format=LAYOUT[device]).eval()
