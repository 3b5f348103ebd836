"""The networks of timm (Wightman 2019, https://github.com/huggingface/pytorch-image-models).

Nothing is downloaded: a network starts from its seed by timm's own rules, or from a file of
weights. Dropout and stochastic depth are off: their randomness would have no stream of its own.

Shape suffixes: B batch, C channels, D features, H height, W width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from icckd.errors import StageError
from icckd.extras import require
from icckd.study.data import ImageShape
from icckd.study.network import Model, NetworkShape, StageShape, WeightsFile, model
from icckd.study.settings import Off
from icckd.train.data.files import read_weights
from icckd.train.lazy import Tensor, lazy_module, nn, no_grad, torch
from icckd.train.networks.base import Classifier, Maps
from icckd.train.seeding import Key, generator, initialise
from icckd.train.weights import Wanted, compare, shapes_of

require("timm", "timm")
timm: Any = lazy_module("timm")  # it imports torch

STEMS = ("act1", "bn1", "conv1", "conv_stem", "relu", "stem")
"""How timm calls the modules before the first stage; their maps are of no stage."""
CLASSES = 10
"""Classes of a network that is built for its shape alone."""


class TimmModel(Model):
    """A network of timm, without dropout and stochastic depth."""

    about = "timm's networks, over a thousand"

    kind: Literal["timm"]
    name: str = Field(
        pattern=r"^[a-z0-9][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)?$",
        max_length=100,
        description="as timm.list_models() has it",
    )
    image_size: int | Off = Field(
        default="off", description="side of the images, for networks of a fixed size"
    )
    weights: WeightsFile | Off = "off"

    @property
    def weights_file(self) -> WeightsFile | Off:
        """Weights that the network starts from."""
        return self.weights

    def shape(self, image: ImageShape) -> NetworkShape:
        """Return what the network gives for an image, found without computing anything.

        Raises:
            ValueError: timm has no such network, or it takes no such images.
        """
        try:
            with torch.device("meta"):
                output = (
                    Timm(self, in_channels=image.channels, n_classes=CLASSES)
                    .eval()
                    .maps(torch.empty(1, image.channels, image.height, image.width))
                )
        except StageError as error:
            raise ValueError(error.message) from error
        except (AssertionError, RuntimeError, ValueError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            size = f"{image.channels}x{image.height}x{image.width}"
            raise ValueError(
                f"{self.name} of timm takes no images of {size} ({first}); a network of a fixed"
                " size is built for another one by image_size"
            ) from error
        return NetworkShape(
            features=output.features.shape[1],
            stages=tuple(
                StageShape(channels=m.shape[1], height=m.shape[2], width=m.shape[3])
                for m in output.stages
            ),
        )


@model(TimmModel)
class Timm(Classifier):
    """One of timm's networks; its last linear layer is the classifier.

    Stages are the last map of each resolution, without the stem. timm tells no map before its last
    activation, so that a stage and its preact are the same map.

    Raises:
        StageError: timm has no such network, or it ends in no linear layer.
    """

    activated = False

    def __init__(self, settings: TimmModel, *, in_channels: int, n_classes: int) -> None:
        super().__init__()
        self._settings, self._in_channels = settings, in_channels
        self.net: Any = _built(settings, in_channels)
        head = self.net.get_classifier()
        names = [name for name, module in self.net.named_modules() if module is head]
        if not isinstance(head, nn.Linear) or not names:
            raise StageError(
                f"{settings.name} of timm does not end in one linear layer",
                hint="take a network that does, such as resnet10t",
            )
        self._head = names[0]
        self.classifier = nn.Linear(head.in_features, n_classes, bias=head.bias is not None)
        self.net.set_submodule(self._head, nn.Identity())
        told: Sequence[Mapping[str, Any]] = list(getattr(self.net, "feature_info", ()))
        self._stems = [str(each.get("module", "")).split(".")[0] in STEMS for each in told]
        self._tells_maps = hasattr(self.net, "forward_intermediates")

    def maps(self, images_BCHW: Tensor) -> Maps:
        """Return the pooled features, and a map of each stage where timm gives maps."""
        if not self._tells_maps:
            return Maps(self.net(images_BCHW), (), ())
        last, found = self.net.forward_intermediates(images_BCHW, output_fmt="NCHW")
        stages = self._stages(found)
        return Maps(self.net.forward_head(last), stages, stages)

    def _stages(self, found: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the last map of each resolution, without those of the stem."""
        stems = self._stems if len(self._stems) == len(found) else [False] * len(found)
        by_size = {
            tuple(map_BCHW.shape[2:]): map_BCHW
            for map_BCHW, is_stem in zip(found, stems, strict=True)
            if not is_stem
        }
        return tuple(by_size.values())

    @no_grad
    def initialise(self, key: Key) -> None:
        """Set everything from streams under `key` by timm's rules, then what the file holds.

        The classifier of the file is taken if it has as many classes, and starts anew otherwise.

        Raises:
            MachineError: The file is missing or has another digest.
            StageError: It is not a safetensors file, or holds the weights of another network.
        """
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(generator((*key, "net")).get_state())
            started = _built(self._settings, self._in_channels)
        started.set_submodule(self._head, nn.Identity())
        self.net.load_state_dict(started.state_dict())
        initialise(self.classifier, (*key, "classifier"), self.start)
        if self._settings.weights != "off":
            self._take(self._settings.weights)

    def _take(self, weights: WeightsFile) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            given = load(read_weights(weights))
        except SafetensorError as error:
            raise StageError(
                f"the weights {weights.file} are no safetensors file: {error}",
                hint="timm's models on the Hub have a model.safetensors",
            ) from error
        head = f"{self._head}."
        own = {
            f"{head}{name.removeprefix('classifier.')}"
            if name.startswith("classifier.")
            else name.removeprefix("net."): value
            for name, value in self.state_dict().items()
        }
        heads = frozenset(name for name in own if name.startswith(head))
        fit = compare(
            shapes_of(given),
            Wanted(name=self._settings.name, shapes=shapes_of(own), head=self._head),
        )
        if fit.missing or fit.extra or fit.differing:
            raise StageError(
                f"the weights {weights.file} do not fit {self._settings.name}: {fit.text()}",
                hint="name the network of the file, with image_size and channels as it was trained",
            )
        anew = {name for name in heads if name not in given or given[name].shape != own[name].shape}
        taken = {**own, **given} | {name: own[name] for name in (heads if anew else ())}
        self.load_state_dict(
            {
                f"classifier.{name.removeprefix(head)}"
                if name.startswith(head)
                else f"net.{name}": value
                for name, value in taken.items()
            }
        )


def _built(settings: TimmModel, in_channels: int) -> Any:
    """Return the network as timm builds it, with what draws numbers in training switched off."""
    name = settings.name
    if not timm.is_model(name):
        import difflib

        close = difflib.get_close_matches(name, timm.list_models(), n=1)
        raise StageError(
            f"timm has no network {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
            hint="timm.list_models() names all",
        )
    size = {} if settings.image_size == "off" else {"img_size": settings.image_size}
    try:
        net = timm.create_model(
            name, pretrained=False, num_classes=CLASSES, in_chans=in_channels, **size
        )
    except TypeError as error:
        raise StageError(
            f"{name} of timm cannot be built: {error}", hint="leave image_size out"
        ) from error
    for module in net.modules():
        for rate in ("p", "drop_prob", "drop_rate"):
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
    return net
