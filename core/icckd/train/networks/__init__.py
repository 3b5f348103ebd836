"""Networks, a file for each family, and how one is built, stored and read back.

Every module here is a part.
"""

import json
from pathlib import Path

from pydantic import TypeAdapter

from icckd.errors import StageError
from icckd.study.network import MODELS, Model
from icckd.study.numerics import layout_of
from icckd.study.training import Precision
from icckd.train.lazy import torch
from icckd.train.networks.base import Classifier, Maps, Output
from icckd.train.seeding import Key

__all__ = [
    "Classifier",
    "Maps",
    "Output",
    "build_model",
    "load_model",
    "memory_format",
    "save_model",
]


def memory_format(device: str, precision: Precision = "fp32") -> "torch.memory_format":
    """Return the memory layout of images, maps and filters, a part of a stage's numerics."""
    is_last = layout_of(device, precision) == "channels-last"
    return torch.channels_last if is_last else torch.contiguous_format


def build_model(
    settings: Model,
    *,
    in_channels: int,
    n_classes: int,
    key: Key,
    device: str,
    precision: Precision = "fp32",
) -> Classifier:
    """Return a new model on the device, initialised from streams under `key`."""
    model: Classifier = MODELS[settings.kind](
        settings, in_channels=in_channels, n_classes=n_classes
    )
    model.initialise(key)
    return model.to(device).to(memory_format=memory_format(device, precision))


def save_model(
    model: Classifier, settings: Model, *, in_channels: int, n_classes: int, folder: Path
) -> None:
    """Write `model.safetensors` (weights) and `model.json` (what rebuilds the model).

    Raises:
        OSError: The disk refuses it; it may be tried again.
    """
    from safetensors.torch import save

    tensors = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    (folder / "model.safetensors").write_bytes(save(tensors))
    about = {
        "model": settings.model_dump(mode="json"),
        "in_channels": in_channels,
        "n_classes": n_classes,
    }
    (folder / "model.json").write_text(json.dumps(about, indent=2) + "\n")


def load_model(folder: Path, *, device: str, precision: Precision = "fp32") -> Classifier:
    """Return the model that `save_model` wrote, in evaluation mode.

    Raises:
        StageError: If a file is missing or does not fit the model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        about = json.loads((folder / "model.json").read_text())
        settings = TypeAdapter[Model](Model).validate_json(json.dumps(about["model"]))
        model: Classifier = MODELS[settings.kind](
            settings, in_channels=about["in_channels"], n_classes=about["n_classes"]
        )
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise StageError(
            f"the model in {folder} cannot be read: {error}",
            hint="delete that artifact; the stage that makes it then runs again",
        ) from error
    return model.to(device).to(memory_format=memory_format(device, precision)).eval()
