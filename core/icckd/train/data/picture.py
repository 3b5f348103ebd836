"""One image file: the pixels that a viewer shows, and what an earlier icckd read otherwise.

Without torch. Viewers turn a photograph as its EXIF orientation says, show 16 bits of grey as 8,
and lay what is transparent on a background, here white.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from icckd.train.lazy import lazy_module, np

if TYPE_CHECKING:
    from PIL import Image
else:
    Image = lazy_module("PIL.Image")

READER = 2
"""Version of `as_seen`, raised whenever a file decodes to other pixels.

It stands in the fingerprint of images that earlier versions read otherwise, and of no others.
"""

ORIENTATION = 0x0112
WHITE = (255, 255, 255, 255)

_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""What shows an image upright, by its orientation."""

_UNREADABLE = (
    OSError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, EOFError,
    AttributeError, NotImplementedError, MemoryError, struct.error,
)  # fmt: skip
"""What Pillow raises for files that are damaged, each format in its own way.

NotImplementedError is what its readers of DDS and BLP raise for a kind that they do not know.
"""


class DamagedImageError(ValueError):
    """A file is not a whole image; the message says why in few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a file is.

    Attributes:
        digest: SHA-256 of its content, in hexadecimal.
        words: Its mode, and what is unusual about it; "" where it is damaged.
        size: Width and height as shown.
        is_read_anew: Whether an earlier version of icckd decoded it to other pixels.
        damage: Why it is not a whole image, "" if it is one.
    """

    digest: str
    words: str = ""
    size: tuple[int, int] = (0, 0)
    is_read_anew: bool = False
    damage: str = ""


def inspect(file: Path) -> Seen:
    """Return what a file is; it is decoded as a whole.

    Raises:
        OSError: It cannot be read at all.
    """
    content = file.read_bytes()
    digest = sha256(content).hexdigest()
    try:
        with _opened(BytesIO(content)) as image:
            words, is_read_anew = _unusual(image)
            size = as_seen(image).size
    except (DamagedImageError, *_UNREADABLE) as error:
        return Seen(digest=digest, damage=_reason(error))
    return Seen(digest=digest, words=words, size=size, is_read_anew=is_read_anew)


def pixels(file: Path, *, seen: bool) -> Any:
    """Return an image as a uint8 array of shape (height, width, 3).

    Args:
        file: The file.
        seen: Whether as a viewer shows it; else Pillow's plain conversion, as torchvision's.

    Raises:
        DamagedImageError: It is not a whole image.
        OSError: It cannot be read at all.
    """
    with file.open("rb") as content, _opened(content) as image:
        try:
            return np.array(as_seen(image) if seen else image.convert("RGB"))
        except _UNREADABLE as error:
            raise DamagedImageError(_reason(error)) from error


def as_seen(image: Any) -> Any:
    """Return an image of Pillow as a viewer shows it, in RGB, on white where it is transparent."""
    turn = _TURNS.get(_orientation(image))
    shown = _as_8_bits(image) if _is_deep(image) else image
    if _is_transparent(shown):
        shown = shown.convert("RGBA")
        white = Image.new("RGBA", shown.size, WHITE)
        shown = Image.alpha_composite(white, shown)
    shown = shown.convert("RGB")
    return shown if turn is None else shown.transpose(Image.Transpose[turn])


def _opened(content: IO[bytes]) -> Any:
    """Return the image in a stream, with all its pixels read.

    Raises:
        DamagedImageError: It is not a whole image.
    """
    try:
        image = Image.open(content)
        image.load()
    except (Image.DecompressionBombError, *_UNREADABLE) as error:
        raise DamagedImageError(_reason(error)) from error
    return image


def _reason(error: BaseException) -> str:
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image of a known format"
    if type(error).__name__ == "DecompressionBombError":
        return "too large: 179 million pixels or more"
    return str(error) or type(error).__name__


def _unusual(image: Any) -> tuple[str, bool]:
    """Return an image's mode with what is unusual about it, and whether that is read anew."""
    found = []
    if _is_deep(image):
        found.append("16-bit grey")
    if _is_transparent(image):
        found.append("transparent")
    if _orientation(image) in _TURNS:
        found.append("turned by EXIF")
    return ", ".join([image.mode, *found]), bool(found)


def _orientation(image: Any) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except _UNREADABLE:  # a damaged note beside pixels that are whole
        return 1


def _is_deep(image: Any) -> bool:
    return str(image.mode) == "I" or str(image.mode).startswith("I;16")


def _as_8_bits(image: Any) -> Any:
    """Return 16 bits of grey as 8: white is 65,535 before and 255 after."""
    levels = np.asarray(image).astype(np.int64).clip(0, 65_535)
    return Image.fromarray(((levels + 128) // 257).astype(np.uint8))


def _is_transparent(image: Any) -> bool:
    """Whether some pixel shows what lies behind it."""
    info: Mapping[str, Any] = image.info
    if "A" not in image.getbands() and "a" not in image.getbands() and "transparency" not in info:
        return False
    if _is_deep(image):
        return False
    lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
    return bool(lowest < WHITE[3])
