"""Images that stay in their files and are decoded when asked for.

Shape suffixes: N images, B batch, H height, W width, K channels.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from icckd.errors import MachineError
from icckd.resources import available_cpus
from icckd.train.data.picture import DamagedImageError, pixels
from icckd.train.lazy import Tensor, functional, torch

MOST_LOADERS = 16
IMAGES_AHEAD = 512
CHANNELS = 3

Job = Callable[[], Tensor]


class FileImages:
    """RGB images of one size, read from files by threads.

    With `as_seen` an image is decoded as a viewer shows it, else as its colours are stored. It is
    resized so that its shorter side has `shorter` pixels, and its middle is cut out.
    What an image looks like depends on its file alone, never on the number of threads.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        *,
        size: int,
        shorter: int,
        as_seen: bool = False,
        device: "str | torch.device" = "cpu",
        loaders: int | None = None,
    ) -> None:
        self._root, self._names = root, list(names)
        self._shorter, self._as_seen = shorter, as_seen
        self._loaders = loaders or min(MOST_LOADERS, available_cpus())
        self.device = torch.device(device)
        self.shape = (len(self._names), size, size, CHANNELS)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Return some images on the device, uint8, shape (rows, size, size, 3)."""
        chosen = torch.arange(len(self._names))[rows.cpu() if isinstance(rows, Tensor) else rows]
        decoded = torch.empty((len(chosen), *self.shape[1:]), dtype=torch.uint8)
        jobs = ([self.job(row)] for row in chosen.tolist())
        for place, (image,) in enumerate(self.in_order(jobs)):
            decoded[place] = image
        return decoded.to(self.device)

    def take(self, rows: Tensor) -> "FileImages":
        """Return the chosen images, in the order of `rows`, without reading them."""
        return self._like([self._names[row] for row in rows.tolist()], self.device)

    def to(self, device: str) -> "FileImages":
        """Return the same images, decoded to a device."""
        return self._like(self._names, device)

    def chunks(self, size: int) -> Iterator[Tensor]:
        """Yield all images in order, `size` at a time, on the device."""
        rows = torch.split(torch.arange(len(self._names)), size)
        jobs = ([self.job(row) for row in chunk.tolist()] for chunk in rows)
        for images in self.in_order(jobs):
            yield self.to_device(torch.stack(images))

    def job(self, row: int) -> Job:
        """Return what decodes one image: uint8, shape (size, size, 3)."""

        def decode() -> Tensor:
            return middle_of(self.original(row), self._shorter, self.shape[1])

        return decode

    def original(self, row: int) -> Tensor:
        """Return an image as its file has it, uint8, shape (3, height, width).

        Raises:
            MachineError: If it cannot be read or decoded.
        """
        file = self._root / self._names[row]
        try:
            pixels_HWK = pixels(file, seen=self._as_seen)
        except (OSError, DamagedImageError) as error:
            raise MachineError(
                f"the image {file} cannot be read: {error}",
                hint="put a whole copy of the file there, or remove it from the set",
            ) from error
        return torch.from_numpy(pixels_HWK).permute(2, 0, 1)

    def in_order(self, batches: Iterable[Sequence[Job]]) -> Iterator[list[Tensor]]:
        """Yield the results of each batch of jobs, done ahead of time by threads.

        About `IMAGES_AHEAD` jobs are under way, at least one batch.
        """
        pool = ThreadPoolExecutor(self._loaders, thread_name_prefix="decode")
        waiting: deque[list[Future[Tensor]]] = deque()
        try:
            for jobs in batches:
                waiting.append([pool.submit(job) for job in jobs])
                if len(waiting) * len(jobs) > IMAGES_AHEAD:
                    yield [done.result() for done in waiting.popleft()]
            while waiting:
                yield [done.result() for done in waiting.popleft()]
        finally:
            pool.shutdown(cancel_futures=True)

    def to_device(self, decoded: Tensor) -> Tensor:
        """Return decoded images on the device; a GPU copies them while it computes."""
        if self.device.type == "cuda":
            decoded = decoded.pin_memory()
        return decoded.to(self.device, non_blocking=True)

    def _like(self, names: Sequence[str], device: Any) -> "FileImages":
        return FileImages(
            self._root,
            names,
            size=self.shape[1],
            shorter=self._shorter,
            as_seen=self._as_seen,
            device=device,
            loaders=self._loaders,
        )


def middle_of(image_KHW: Tensor, shorter: int, size: int) -> Tensor:
    """Return the middle square of an image resized to a shorter side, shape (size, size, 3)."""
    height, width = image_KHW.shape[1:]
    scale = shorter / min(height, width)
    new = (max(shorter, round(height * scale)), max(shorter, round(width * scale)))
    resized_KHW = resize(image_KHW, *new)
    top, left = (new[0] - size) // 2, (new[1] - size) // 2
    return resized_KHW[:, top : top + size, left : left + size].permute(1, 2, 0).contiguous()


def resize(image_KHW: Tensor, height: int, width: int) -> Tensor:
    """Return an image resized with antialiased bilinear interpolation, uint8."""
    if image_KHW.shape[1:] == (height, width):
        return image_KHW
    return functional.interpolate(
        image_KHW[None], (height, width), mode="bilinear", antialias=True
    )[0]
