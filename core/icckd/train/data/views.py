"""Random views of training images: which pixels of an image a network sees at a step.

What is drawn for an image depends on the stream's key, the view, the epoch and the image's row,
never on which other images are drawn or on who decodes them.

Shape suffixes: N images, B batch, V views, S steps, H height, W width, K channels, P pixels.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional

from icckd.study.data import Augmentation, ResizedCrop
from icckd.train.data.decode import FileImages, Job, resize
from icckd.train.data.splits import Images
from icckd.train.seeding import Key, generator

Normalise = Callable[[Tensor], Tensor]
TRIES = 10
"""Boxes drawn until one lies within the image."""


class Shown(NamedTuple):
    """Normalised views of one step, (views * batch, K, H, W), view 1 first.

    `codes` tell equal views, int64 [views * batch]; None where the views have no end.
    """

    images: Tensor
    codes: Tensor | None = None


class Views(Protocol):
    """Shows training images; resident and streamed sets each have a form of their own."""

    def of(self, order_SB: Tensor, epoch: int) -> Iterator[Shown]:
        """Yield the views of each step."""


def make_views(
    images: Images, normalise: Normalise, augment: Augmentation, *, views: int, key: Key
) -> Views:
    """Return the form that fits the images and the augmentation."""
    if isinstance(images, Tensor):
        return ResidentViews(images, normalise, augment, views=views, key=key)
    if augment.resized_crop != "off":
        return BoxedViews(images, normalise, augment, augment.resized_crop, views=views, key=key)
    return DecodedViews(images, normalise, augment, views=views, key=key)


class Crops:
    """Random crops of images of one size, by one gather of pixels.

    Images are padded with zeros; a crop starts at a random pixel, its columns run backwards where
    it is mirrored, and its pixels are looked up in the turned image where it is turned.
    """

    def __init__(
        self, augment: Augmentation, height: int, width: int, device: torch.device
    ) -> None:
        self._augment, self._height, self._width = augment, height, width
        self._pad = max(augment.padding, 1) if augment.rotation else augment.padding
        self._columns = width + 2 * self._pad
        self.area = self._columns * (height + 2 * self._pad)
        self._column_W = torch.arange(width, device=device)
        self._row_H = torch.arange(height, device=device)
        offset_HW = (self._row_H * self._columns)[:, None] + self._column_W
        self._offset_2HW = torch.stack([offset_HW, offset_HW.flip(1)])

    def pixels(self, images_NHWK: Tensor) -> Tensor:
        """Return the padded images as a list of pixels, `area` for each, shape (P, K)."""
        pad = self._pad
        padded = functional.pad(images_NHWK, (0, 0, pad, pad, pad, pad))
        return padded.reshape(-1, images_NHWK.shape[3])

    def draw(self, n: int, key: Key, view: int, epoch: int) -> tuple[Tensor, ...]:
        """Return of each image the crop's first pixel, 1 where mirrored, and the turn if any."""
        crop = generator((*key, f"view{view}.crop", epoch))
        crop_N2 = torch.randint(2 * self._augment.padding + 1, (n, 2), generator=crop)
        corner_N = crop_N2[:, 0] * self._columns + crop_N2[:, 1]
        mirror_N = draw_mirrors(self._augment, n, key, view, epoch)
        if not self._augment.rotation:
            return corner_N, mirror_N
        turn = generator((*key, f"view{view}.turn", epoch))
        share_N = 2 * torch.rand(n, generator=turn) - 1
        return corner_N, mirror_N, math.radians(self._augment.rotation) * share_N

    def corners(self) -> Tensor | None:
        """Return the first pixels that a crop can have, or None where images are turned too."""
        if self._augment.rotation:
            return None
        shift = torch.arange(2 * self._augment.padding + 1)
        return (shift[:, None] * self._columns + shift).flatten()

    def __call__(
        self, pixels_PK: Tensor, start_B: Tensor, mirror_B: Tensor, turn_B: Tensor | None = None
    ) -> Tensor:
        """Return the crops, shape (batch, H, W, K); `start_B` are positions in the pixels."""
        return looked_up(pixels_PK, self.places(start_B, mirror_B, turn_B))

    def places(self, start_B: Tensor, mirror_B: Tensor, turn_B: Tensor | None = None) -> Tensor:
        """Return where in the pixels those of the crops are, int64, shape (batch, H, W)."""
        if turn_B is None:
            return start_B[:, None, None] + self._offset_2HW[mirror_B]
        return self._turned(start_B, mirror_B, turn_B)

    def _turned(self, start_B: Tensor, mirror_B: Tensor, turn_B: Tensor) -> Tensor:
        """Return the nearest pixel of each pixel of the turned crop; outside lies pixel 0, zero.

        The turn is about the middle of the image, before it is padded and cropped.
        """
        middle_row, middle_column = (self._height - 1) / 2, (self._width - 1) / 2
        corner_B = start_B % self.area
        column_BW = torch.where(mirror_B[:, None] == 1, self._column_W.flip(0), self._column_W)
        shift = self._augment.padding
        y_BH = self._row_H + (corner_B // self._columns)[:, None] - shift
        x_BW = column_BW + (corner_B % self._columns)[:, None] - shift
        inside_BHW = self._inside(y_BH[:, :, None], x_BW[:, None, :])
        y_BH1, x_B1W = (y_BH - middle_row)[:, :, None], (x_BW - middle_column)[:, None, :]
        sin_B11, cos_B11 = turn_B.sin()[:, None, None], turn_B.cos()[:, None, None]
        row_BHW = (sin_B11 * x_B1W + cos_B11 * y_BH1 + middle_row).round().long()
        column_BHW = (cos_B11 * x_B1W - sin_B11 * y_BH1 + middle_column).round().long()
        inside_BHW &= self._inside(row_BHW, column_BHW)
        place_BHW = (row_BHW + self._pad) * self._columns + column_BHW + self._pad
        base_B11 = (start_B - corner_B)[:, None, None]
        return base_B11 + torch.where(inside_BHW, place_BHW, 0)

    def _inside(self, row: Tensor, column: Tensor) -> Tensor:
        return (row >= 0) & (row < self._height) & (column >= 0) & (column < self._width)


def looked_up(pixels_PK: Tensor, places: Tensor) -> Tensor:
    """Return the pixels at some places, of their shape with the channels last.

    Rows are selected, which takes half the time of indexing by a tensor; numbers, of images with
    one channel, a ninth.
    """
    channels = pixels_PK.shape[1]
    listed = pixels_PK.view(-1) if channels == 1 else pixels_PK
    return listed.index_select(0, places.flatten()).view(*places.shape, channels)


def draw_mirrors(augment: Augmentation, n: int, key: Key, view: int, epoch: int) -> Tensor:
    """Return 1 for each image that is mirrored, 0 for the others."""
    coin = generator((*key, f"view{view}.flip", epoch))
    return torch.randint(2, (n,), generator=coin) * augment.flip


class ResidentViews:
    """Views of images that lie on the device."""

    def __init__(
        self, images: Tensor, normalise: Normalise, augment: Augmentation, *, views: int, key: Key
    ) -> None:
        self._normalise, self._key = normalise, key
        self._views = range(1, views + 1)
        self._n, self._device, self._augment = len(images), images.device, augment
        self._crops = Crops(augment, images.shape[1], images.shape[2], images.device)
        self._pixels_PK = self._crops.pixels(images)

    def all_codes(self) -> Tensor | None:
        """Return the code of every view that can be drawn, None if their number is not finite.

        A code is twice the first pixel of the crop, plus 1 where it is mirrored.
        """
        corner_X = self._crops.corners()
        if corner_X is None:
            return None
        start_NX = torch.arange(self._n)[:, None] * self._crops.area + corner_X
        mirrors = torch.arange(1 + self._augment.flip)
        return (2 * start_NX[:, :, None] + mirrors).flatten().to(self._device)

    def show(self, codes_B: Tensor) -> Tensor:
        """Return the normalised views that the codes name, (batch, K, H, W)."""
        return self._normalise(self._crops(self._pixels_PK, codes_B // 2, codes_B % 2))

    def of(self, order_SB: Tensor, epoch: int) -> Iterator[Shown]:
        """Yield the views of each step; what is drawn goes to the device once an epoch."""
        parts = [part_SX.to(self._device) for part_SX in self.drawn(order_SB, epoch)]
        codes_SX = 2 * parts[0] + parts[1]
        for step in range(len(order_SB)):
            crops = self._crops(self._pixels_PK, *(part[step] for part in parts))
            codes_X = None if self._augment.rotation else codes_SX[step]
            yield Shown(self._normalise(crops), codes_X)

    def drawn(self, order_SB: Tensor, epoch: int) -> list[Tensor]:
        """Return what is drawn for the views of each step, on the host.

        That is the crop's first pixel, 1 where it is mirrored, and the turn if any, each of shape
        (steps, views * batch), view 1 first.
        """
        base_N = torch.arange(self._n) * self._crops.area
        drawn = [self._crops.draw(self._n, self._key, view, epoch) for view in self._views]
        drawn = [(base_N + corner_N, *rest) for corner_N, *rest in drawn]
        return [
            torch.stack([of_view[order_SB] for of_view in part], dim=1).flatten(1)
            for part in zip(*drawn, strict=True)
        ]

    def pixels(self, *parts_XR: Tensor) -> Tensor:
        """Return the pixels of views, (X, height, width, R, K), from what was drawn for them."""
        shape = parts_XR[0].shape
        place_BHW = self._crops.places(*(part.flatten() for part in parts_XR))
        place_XHWR = place_BHW.view(*shape, *place_BHW.shape[1:]).permute(0, 2, 3, 1)
        return looked_up(self._pixels_PK, place_XHWR.contiguous())


class DecodedViews:
    """The views that `ResidentViews` gives, bit by bit, of images decoded at each step."""

    def __init__(
        self,
        images: FileImages,
        normalise: Normalise,
        augment: Augmentation,
        *,
        views: int,
        key: Key,
    ) -> None:
        self._images, self._normalise, self._key = images, normalise, key
        self._views = range(1, views + 1)
        self._crops = Crops(augment, images.shape[1], images.shape[2], images.device)

    def of(self, order_SB: Tensor, epoch: int) -> Iterator[Shown]:
        """Yield the views of each step; threads decode a few steps ahead."""
        n = self._images.shape[0]
        drawn = [self._crops.draw(n, self._key, view, epoch) for view in self._views]
        base_B = torch.arange(order_SB.shape[1]) * self._crops.area
        jobs = ([self._images.job(row) for row in rows] for rows in order_SB.tolist())
        for order_B, decoded in zip(order_SB, self._images.in_order(jobs), strict=True):
            pixels_PK = self._crops.pixels(self._images.to_device(torch.stack(decoded)))
            of_step = [
                (base_B + corner_N[order_B], *(part[order_B] for part in rest))
                for corner_N, *rest in drawn
            ]
            parts = (torch.cat(part).to(pixels_PK.device) for part in zip(*of_step, strict=True))
            yield Shown(self._normalise(self._crops(pixels_PK, *parts)))


class Box(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


class BoxedViews:
    """Random boxes of images of any size, resized to one size, cut while decoding."""

    def __init__(
        self,
        images: FileImages,
        normalise: Normalise,
        augment: Augmentation,
        crop: ResizedCrop,
        *,
        views: int,
        key: Key,
    ) -> None:
        self._images, self._normalise, self._augment = images, normalise, augment
        self._crop, self._key = crop, key
        self._views = range(1, views + 1)

    def of(self, order_SB: Tensor, epoch: int) -> Iterator[Shown]:
        """Yield the views of each step; threads decode a few steps ahead."""
        n = self._images.shape[0]
        mirrors = [draw_mirrors(self._augment, n, self._key, v, epoch) for v in self._views]
        jobs = ([self._job(row, epoch) for row in rows] for rows in order_SB.tolist())
        for order_B, cut in zip(order_SB, self._images.in_order(jobs), strict=True):
            shown_VBHWK = self._images.to_device(torch.stack(cut, dim=1))
            mirror_VB = torch.stack([mirror_N[order_B] for mirror_N in mirrors])
            mirror_VB111 = mirror_VB.to(shown_VBHWK.device).bool()[:, :, None, None, None]
            shown_VBHWK = torch.where(mirror_VB111, shown_VBHWK.flip(3), shown_VBHWK)
            yield Shown(self._normalise(shown_VBHWK.flatten(0, 1)))

    def _job(self, row: int, epoch: int) -> Job:
        size = self._images.shape[1]

        def cut() -> Tensor:
            image_KHW = self._images.original(row)
            shown = []
            for view in self._views:
                stream = generator((*self._key, f"view{view}.box", epoch, row))
                box = draw_box(image_KHW.shape[1], image_KHW.shape[2], self._crop, stream)
                inner = image_KHW[:, box.top :, box.left :][:, : box.height, : box.width]
                shown.append(resize(inner, size, size).permute(1, 2, 0))
            return torch.stack(shown)

        return cut


def draw_box(height: int, width: int, crop: ResizedCrop, stream: Generator) -> Box:
    """Return a random box: area uniform, aspect ratio uniform in its logarithm.

    Where no box of ten fits, it is the largest box in the middle whose aspect is allowed.
    """
    for _ in range(TRIES):
        area, lean, down, right = torch.rand(4, generator=stream, dtype=torch.float64).tolist()
        pixels = height * width * (crop.smallest + area * (1 - crop.smallest))
        aspect = crop.aspect ** (2 * lean - 1)
        box_width, box_height = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(down * (height - box_height + 1))
            return Box(top, int(right * (width - box_width + 1)), box_height, box_width)
    box_width = max(1, min(width, round(height * crop.aspect)))
    box_height = max(1, min(height, round(width * crop.aspect)))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)
