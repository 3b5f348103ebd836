"""Networks of one shape computed together: their channels side by side, their parameters as rows.

What one network computes has the same bits whatever its place, its mates and their number, as long
as that number is a multiple of `icckd.study.packing.unit_of`. Every operation here was chosen for
that, and tests/train/test_pack_bits.py holds all of them to it: a mean over positions or over the
first dimension adds up in an order that depends on the number of columns.

Shape suffixes: R replicas, V rows of a step (views * batch), N images, K channels of one replica, X
channels of all replicas (R * K), H height, W width, C classes, D features, P parameters of one
replica, O and I filters and channels of one replica's convolution.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from icckd.train.metrics.base import Seen
from icckd.train.networks.cnn import Cnn

T = TypeVar("T")

BLOCKS = ("block1", "block2", "block3")
MOMENTUM, EPSILON = 0.1, 1e-5
"""Of torch's batch norm."""

IMAGES_AT_ONCE, IMAGES_AT_ONCE_ON_A_GPU = 64, 512
"""Images of one forward pass in evaluation: all their maps are to stay in a CPU's cache."""


def images_at_once(device: str) -> int:
    """Return how many images are evaluated together."""
    return IMAGES_AT_ONCE if device == "cpu" else IMAGES_AT_ONCE_ON_A_GPU


def nll(log_p_RBC: Tensor, labels_RB: Tensor) -> Tensor:
    """Return the negative log-likelihood of each label, shape (R, B).

    The label's entry is added to zeros: the gradient of looking it up would be sorted on a GPU.
    """
    classes_C = torch.arange(log_p_RBC.shape[2], device=labels_RB.device)
    return -torch.where(labels_RB[:, :, None] == classes_C, log_p_RBC, 0.0).sum(2)


def filled(members: Sequence[T], unit: int) -> list[T]:
    """Return members and as many copies of the first as make their number a multiple of a unit."""
    return [*members, *[members[0]] * (-len(members) % unit)]


class Place(NamedTuple):
    """Where a parameter lies in the row of its network."""

    first: int
    last: int
    shape: torch.Size


class Rows:
    """Parameters of networks of one shape: a row for each, and the layers' tensors made of them.

    Filters stand in a row as they lie in memory, channels last.

    Attributes:
        flat: All parameters, float, shape (replicas, parameters), contiguous.
        layers: What layers compute with, by the parameter's name; leaves that require gradients.
            Filters are (replicas * filters, channels, height, width), vectors of a norm
            (replicas * channels), parameters of the classifier have the replicas first.
    """

    def __init__(self, models: Sequence[Cnn]) -> None:
        named = [dict(model.named_parameters()) for model in models]
        self._count = len(models)
        self.places: dict[str, Place] = {}
        end = 0
        for name, parameter in named[0].items():
            self.places[name] = Place(end, end + parameter.numel(), parameter.shape)
            end += parameter.numel()
        self.flat = torch.stack([self.row_of(parameters) for parameters in named])
        self.layers = {name: self._layer(name) for name in self.places}
        self._views = [self._replicas_first(name) for name in self.places]
        self._columns = [self._column(self.flat, name) for name in self.places]
        self.write()

    def row_of(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return tensors of the parameters' names and shapes as one row, shape (parameters)."""
        return torch.cat([_in_memory(parameters[name].detach()) for name in self.places])

    def of_row(self, row_P: Tensor) -> dict[str, Tensor]:
        """Return a row as tensors of the parameters' names and shapes."""
        return {name: _as_parameter(row_P, place) for name, place in self.places.items()}

    def gradients(self, total: Tensor, *, allow_unused: bool = False) -> Tensor:
        """Return the gradient of a scalar by all parameters, shape (replicas, parameters)."""
        found = torch.autograd.grad(total, list(self.layers.values()), allow_unused=allow_unused)
        return self.joined(found)

    def joined(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return tensors like the layers' as rows, shape (replicas, parameters)."""
        rows = [
            (each.permute(0, 2, 3, 1) if each.ndim == 4 else each).reshape(self._count, -1)
            for each in tensors
        ]
        return torch.cat(rows, dim=1)

    @torch.no_grad()
    def write(self) -> None:
        """Give the layers what the rows hold."""
        torch._foreach_copy_(self._views, self._columns)

    def _layer(self, name: str) -> Tensor:
        shape = self.places[name].shape
        joined = not name.startswith("classifier.")
        size = (self._count * shape[0], *shape[1:]) if joined else (self._count, *shape)
        layout = torch.channels_last if len(size) == 4 else torch.contiguous_format
        made = torch.empty(
            size, memory_format=layout, dtype=self.flat.dtype, device=self.flat.device
        )
        return made.requires_grad_()

    def _replicas_first(self, name: str) -> Tensor:
        """Return a layer's tensor with the replicas as a dimension of their own."""
        layer = self.layers[name].detach()
        if name.startswith("classifier."):
            return layer
        return layer.view(self._count, -1, *layer.shape[1:])

    def _column(self, flat_RP: Tensor, name: str) -> Tensor:
        place = self.places[name]
        column = flat_RP[:, place.first : place.last]
        if len(place.shape) != 4:
            return column.view(self._count, *place.shape)
        o, i, h, w = place.shape
        return column.view(self._count, o, h, w, i).permute(0, 1, 4, 2, 3)


def _in_memory(value: Tensor) -> Tensor:
    return (value.permute(0, 2, 3, 1) if value.ndim == 4 else value).flatten()


def _as_parameter(row_P: Tensor, place: Place) -> Tensor:
    part = row_P[place.first : place.last]
    if len(place.shape) != 4:
        return part.view(place.shape)
    o, i, h, w = place.shape
    return part.view(o, h, w, i).permute(0, 3, 1, 2)


class PackedCnn:
    """The networks `cnn` of one shape.

    Args:
        models: Where the networks start, on the CPU.

    Attributes:
        rows: Their parameters.
        statistics: Running statistics of the norms by name, shape (replicas * channels).
    """

    def __init__(self, models: Sequence[Cnn]) -> None:
        self.replicas = len(models)
        self.n_features = models[0].classifier.in_features
        self.rows = Rows(models)
        buffers = [dict(model.named_buffers()) for model in models]
        self.statistics = {
            name: torch.cat([each[name] for each in buffers])
            for name in buffers[0]
            if name.endswith(("running_mean", "running_var"))
        }

    @torch.no_grad()
    def store(self, replica: int, model: Cnn, *, batches: int) -> None:
        """Write one network into a model.

        Args:
            replica: Its number.
            model: Receives parameters and buffers.
            batches: Batches that its norms have seen.
        """
        found = self.rows.of_row(self.rows.flat[replica])
        for name, parameter in model.named_parameters():
            parameter.copy_(found[name])
        for name, buffer in model.named_buffers():
            if name in self.statistics:
                buffer.copy_(self.statistics[name].view(self.replicas, -1)[replica])
            else:
                buffer.fill_(batches)

    def features(self, images_VXHW: Tensor, *, moving: bool = True) -> Tensor:
        """Return the pooled features in training, shape (replicas, rows, features), contiguous.

        Args:
            images_VXHW: Of each replica its own views, channels last.
            moving: Whether the running statistics of the norms move.
        """
        return self._through(images_VXHW, training=True, moving=moving)

    def _through(
        self, x_VXHW: Tensor, *, training: bool, moving: bool = True, shared: bool = False
    ) -> Tensor:
        """Return the pooled features of images that are each replica's own, or shared by all."""
        for block in BLOCKS:
            groups = 1 if shared and block == BLOCKS[0] else self.replicas
            filters = self.rows.layers[f"{block}.conv.weight"]
            x_VXHW = functional.conv2d(x_VXHW, filters, padding=1, groups=groups)
            x_VXHW = self._normed(x_VXHW, block, training=training, moving=moving)
            if block != BLOCKS[-1]:  # before the rectifier, which then has a quarter to do: the
                x_VXHW = functional.max_pool2d(x_VXHW, 2)  # same values, and the same gradients
            x_VXHW = functional.relu(x_VXHW, inplace=True)
        return self._pooled(x_VXHW)

    def _normed(self, x_VXHW: Tensor, block: str, *, training: bool, moving: bool) -> Tensor:
        layers, kept = self.rows.layers, self.statistics
        return functional.batch_norm(
            x_VXHW,
            kept[f"{block}.norm.running_mean"] if moving else None,
            kept[f"{block}.norm.running_var"] if moving else None,
            layers[f"{block}.norm.weight"],
            layers[f"{block}.norm.bias"],
            training,
            MOMENTUM,
            EPSILON,
        )

    def _pooled(self, x_VXHW: Tensor) -> Tensor:
        size = (x_VXHW.shape[2], x_VXHW.shape[3])
        # Channels are moved last, so that the gradient comes as the maps lie: where it lies
        # otherwise, its kernel on a CPU takes fifteen times as long.
        pooled_V11X = functional.avg_pool2d(x_VXHW, size).permute(0, 2, 3, 1)
        return pooled_V11X.reshape(len(x_VXHW), self.replicas, -1).transpose(0, 1).contiguous()

    def logits(self, features_RVD: Tensor) -> Tensor:
        """Return the logits, shape (replicas, rows, classes)."""
        weight_RCD, bias_RC = (
            self.rows.layers[f"classifier.{part}"] for part in ("weight", "bias")
        )
        return torch.baddbmm(bias_RC[:, None], features_RVD, weight_RCD.mT)

    @torch.no_grad()
    def evaluate(self, images_BXHW: Tensor, *, shared: bool) -> Seen:
        """Return features [R, B, D] and logits [R, B, C] in evaluation mode.

        Args:
            images_BXHW: Of each replica its own images, or the same for all.
            shared: Whether they are the same.
        """
        features_RBD = self._through(images_BXHW, training=False, shared=shared)
        return Seen(features_RBD, self.logits(features_RBD))

    def see(self, images: Iterable[Tensor]) -> Seen:
        """Return `evaluate` of all images together, given some at a time, the same for all."""
        shown = [self.evaluate(images_BKHW, shared=True) for images_BKHW in images]
        features, logits = zip(*shown, strict=True)
        return Seen(torch.cat(features, dim=1), torch.cat(logits, dim=1))
