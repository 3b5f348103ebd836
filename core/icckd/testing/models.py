"""Laws of models.

Shape suffixes: B batch, C channels, H height, W width.
"""

import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from icckd.study.data import ImageShape
from icckd.study.network import Model
from icckd.testing.laws import (
    Law,
    NotTriedError,
    all_finite,
    bits,
    differing,
    no_shared_draws,
    process_streams,
    require,
    starts_from_its_key,
)
from icckd.train.lazy import Tensor, functional, nn, torch
from icckd.train.networks import build_model, load_model, memory_format, save_model
from icckd.train.networks.base import Classifier, Output

SHAPES = (
    ImageShape(channels=1, height=8, width=8),
    ImageShape(channels=3, height=32, width=32),
    ImageShape(channels=3, height=64, width=64),
    ImageShape(channels=1, height=28, width=28),
    ImageShape(channels=3, height=224, width=224),
)
"""Images on which a model is tried: the first of these that it takes."""


@dataclass(frozen=True)
class ModelCase:
    """A model with settings.

    Attributes:
        settings: Its settings.
        image: The shape of the images that it is tried on.
        classes: Classes that it tells apart.
    """

    settings: Model
    image: ImageShape
    classes: int = 10

    @cached_property
    def model(self) -> Classifier:
        """The network under the key of seed 0, in evaluation mode; laws leave it so."""
        return self.build().eval()

    def build(self, seed: int = 0, *, classes: int | None = None) -> Classifier:
        """Return the network, made anew under the key of a seed."""
        return build_model(
            self.settings,
            in_channels=self.image.channels,
            n_classes=classes or self.classes,
            key=("test", seed),
            device="cpu",
        )

    def images(self, batch: int, *, seed: int = 0, image: ImageShape | None = None) -> Tensor:
        """Return drawn images, float32 [B, C, H, W], in the layout that training shows."""
        shape = image or self.image
        size = (batch, shape.channels, shape.height, shape.width)
        drawn_BCHW = torch.randn(size, generator=torch.Generator().manual_seed(seed))
        return drawn_BCHW.to(memory_format=memory_format("cpu"))

    def output(self, images_BCHW: Tensor) -> Output:
        """Return what the network gives in evaluation mode, without gradient."""
        with torch.no_grad():
            return self.model.outputs(images_BCHW)


def image_for(settings: Model, shapes: tuple[ImageShape, ...] = SHAPES) -> ImageShape:
    """Return the first of these shapes that a model takes.

    Raises:
        NotTriedError: It takes none of them.
    """
    refused = []
    for shape in shapes:
        try:
            settings.shape(shape)
        except ValueError as error:
            refused.append(str(error))
        else:
            return shape
    raise NotTriedError(f"it takes none of the images tried: {refused[0]}")


def its_shape_is_what_the_network_gives(case: ModelCase) -> None:
    """Its shape, told without building it, is what the network gives.

    Also of images twice as large, where it takes them.
    """
    larger = replace(case.image, height=2 * case.image.height, width=2 * case.image.width)
    for image in (case.image, larger):
        try:
            told = case.settings.shape(image)
        except ValueError:
            require(image is larger, "it refuses the images that it is tried on")
            continue
        output = case.output(case.images(2, image=image))
        maps = [(2, stage.channels, stage.height, stage.width) for stage in told.stages]
        for what, found in (("stages", output.stages), ("preacts", output.preacts)):
            seen = [tuple(each.shape) for each in found]
            require(seen == maps, f"shape tells {what} of {maps}, the network gives {seen}")
        wide = tuple(output.features.shape)
        require(
            wide == (2, told.features),
            f"shape tells {told.features} features, the network gives {wide}",
        )


def its_classifier_gives_the_logits(case: ModelCase) -> None:
    """Its classifier, one linear layer, gives the logits from the features."""
    model, images_BCHW = case.model, case.images(2)
    output = case.output(images_BCHW)
    head = model.classifier
    require(isinstance(head, nn.Linear), f"classifier is a {type(head).__name__}, not nn.Linear")
    require(
        tuple(output.logits.shape) == (2, case.classes),
        f"for {case.classes} classes and 2 images the logits are {tuple(output.logits.shape)}",
    )
    with torch.no_grad():
        require(
            head.in_features == output.features.shape[1]
            and torch.equal(output.logits, head(output.features)),
            "the logits are not classifier(features)",
        )
        require(torch.equal(output.logits, model(images_BCHW)), "forward gives other logits")


def each_stage_is_its_activated_preact(case: ModelCase) -> None:
    """Each stage is the ReLU of its preact, or the same map where `activated` is False."""
    output = case.output(case.images(2))
    for number, (stage, preact) in enumerate(
        zip(output.stages, output.preacts, strict=True), start=1
    ):
        expected = functional.relu(preact) if case.model.activated else preact
        require(
            torch.equal(stage, expected),
            f"stage {number} is not {'the ReLU of its preact' if case.model.activated else ''}"
            f"{'' if case.model.activated else 'its preact, as activated = False says'}",
        )


def its_parameters_start_from_its_key(case: ModelCase) -> None:
    """Its parameters start from its key alone: no other stream, no process decides them."""
    starts_from_its_key(case.build)


def other_classes_start_nothing_else_otherwise(case: ModelCase) -> None:
    """Other classes start nothing but the classifier otherwise: streams are by name."""
    head = {"classifier.weight", "classifier.bias"}
    some = {n: v for n, v in bits(case.build()).items() if n not in head}
    others = bits(case.build(classes=case.classes + 2))
    odd = differing(some, {n: v for n, v in others.items() if n not in head})
    require(not odd, f"{odd} start otherwise for {case.classes + 2} classes")


def gradients_reach_every_parameter(case: ModelCase) -> None:
    """Finite gradients reach every parameter."""
    model = case.build().train()
    output = model.outputs(case.images(4))
    labels_B = torch.arange(4) % case.classes
    torch.autograd.backward(functional.cross_entropy(output.logits, labels_B))
    all_finite({name: p.grad for name, p in model.named_parameters()}, "gradient")


def training_draws_from_no_shared_stream(case: ModelCase) -> None:
    """A step of training draws no number from a generator that the process shares.

    Dropout does; leave it out, or draw its mask from `generator(key)`.
    """
    model, images_BCHW = case.build().train(), case.images(4)
    with process_streams(1), no_shared_draws():
        torch.autograd.backward(model.outputs(images_BCHW).logits.sum())


def evaluation_repeats_and_changes_nothing(case: ModelCase) -> None:
    """In evaluation mode the same images give the same bits, and the network stays as it is."""
    before = bits(case.model)
    with process_streams(1):
        first = case.output(case.images(3)).logits
    with process_streams(2):
        second = case.output(case.images(3)).logits
    require(torch.equal(first, second), "the same images give other logits the second time")
    odd = differing(before, bits(case.model))
    require(not odd, f"{odd} change in evaluation mode")


def an_image_alone_gets_the_same_answer(case: ModelCase) -> None:
    """In evaluation mode an image alone gets the answer that it gets in company."""
    images_BCHW = case.images(3, seed=1)
    together, alone = case.output(images_BCHW).logits, case.output(images_BCHW[1:2]).logits
    require(
        torch.allclose(alone, together[1:2], rtol=1e-4, atol=1e-5),
        f"an image's logits differ by {(alone - together[1:2]).abs().max():.2g} in company",
    )


def it_comes_back_as_it_was_stored(case: ModelCase) -> None:
    """Stored and read back it gives the same bits: all that it keeps is in its state_dict."""
    model = case.build()
    model.train().outputs(case.images(4, seed=2))  # running statistics are no longer the first
    model.eval()
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        told = {"in_channels": case.image.channels, "n_classes": case.classes}
        save_model(model, case.settings, **told, folder=Path(name))
        back = load_model(Path(name), device="cpu")
        images_BCHW = case.images(2)
        require(torch.equal(back(images_BCHW), model(images_BCHW)), "it gives other logits then")


LAWS: tuple[Law, ...] = (
    its_shape_is_what_the_network_gives,
    its_classifier_gives_the_logits,
    each_stage_is_its_activated_preact,
    its_parameters_start_from_its_key,
    other_classes_start_nothing_else_otherwise,
    gradients_reach_every_parameter,
    training_draws_from_no_shared_stream,
    evaluation_repeats_and_changes_nothing,
    an_image_alone_gets_the_same_answer,
    it_comes_back_as_it_was_stored,
)
