"""What a trained model shows on fixed images, without augmentation.

Shape suffixes: N evaluated images, C classes, D features.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from icckd.engine.data.splits import Split
from icckd.engine.data.stream import Normaliser
from icckd.engine.models import Classifier

IMAGES_AT_ONCE = 256
SOFT_TEMPERATURE = 4.0


class Seen(NamedTuple):
    """Features [N, D] and logits [N, C] of all images of a split."""

    features: Tensor
    logits: Tensor


@torch.no_grad()
def predict(model: Classifier, split: Split, normalise: Normaliser) -> Seen:
    """Return features and logits of all images, in evaluation mode; the mode is put back."""
    was_training = model.training
    model.eval()
    features, logits = [], []
    for images in split.chunks(IMAGES_AT_ONCE):
        output = model.outputs(normalise(images))
        features.append(output.features)
        logits.append(output.logits)
    model.train(was_training)
    return Seen(torch.cat(features), torch.cat(logits))


def top1(logits_NC: Tensor, labels_N: Tensor) -> float:
    """Return the accuracy in percent."""
    return 100.0 * (logits_NC.argmax(dim=1) == labels_N).double().mean().item()


def soft_probabilities(logits_NC: Tensor) -> Tensor:
    """Return probabilities at T = 4, what a student by distillation sees."""
    return (logits_NC / SOFT_TEMPERATURE).softmax(dim=1)
