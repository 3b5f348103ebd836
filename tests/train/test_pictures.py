"""One image file is decoded to the pixels that a viewer shows."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icckd.train.data.picture import DamagedImageError, inspect, pixels

RED, WHITE = (255, 0, 0), (255, 255, 255)


def stored(folder, image, name="a.png", **how):
    path = folder / name
    image.save(path, **how)
    return path


def shown(path):
    return pixels(path, seen=True)


def two_by_three():
    """An image in which no pixel equals another: 3 wide, 2 high."""
    return Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 13)


@pytest.mark.parametrize(
    ("level", "expected"), [(0, 0), (128, 0), (129, 1), (257, 1), (32896, 128), (65535, 255)]
)
def test_16_bits_of_grey_are_shown_as_8(tmp_path, level, expected):
    path = stored(tmp_path, Image.fromarray(np.full((2, 2), level, dtype=np.uint16)))

    assert np.array_equal(shown(path), np.full((2, 2, 3), expected))
    assert inspect(path).is_read_anew
    assert "16-bit grey" in inspect(path).words


TURNED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_an_image_is_shown_as_its_exif_orientation_says(tmp_path, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = stored(tmp_path, two_by_three(), name, exif=exif)
    as_stored = pixels(path, seen=False)

    assert np.array_equal(shown(path), TURNED[orientation](as_stored))
    assert inspect(path).is_read_anew == (orientation > 1)
    assert inspect(path).size == ((3, 2) if orientation < 5 else (2, 3))


def test_what_is_transparent_is_laid_on_white(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, *RED])
    palette.putdata([0, 1])
    half = Image.fromarray(np.array([[[0, 0, 0, 0], [*RED, 255]]], dtype=np.uint8), "RGBA")
    grey = Image.fromarray(np.array([[[0, 0], [100, 255]]], dtype=np.uint8), "LA")

    keyed = {"transparency": 0}
    assert shown(stored(tmp_path, palette, **keyed)).tolist() == [[[*WHITE], [*RED]]]
    assert shown(stored(tmp_path, half)).tolist() == [[[*WHITE], [*RED]]]
    assert shown(stored(tmp_path, half, "a.webp", lossless=True)).tolist() == [[[*WHITE], [*RED]]]
    assert shown(stored(tmp_path, grey)).tolist() == [[[*WHITE], [100, 100, 100]]]
    assert shown(stored(tmp_path, Image.new("L", (1, 1), 7), transparency=7)).tolist() == [
        [[255] * 3]
    ]
    assert "transparent" in inspect(stored(tmp_path, half)).words


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1"])
def test_an_opaque_image_of_8_bits_is_read_as_it_ever_was(tmp_path, mode):
    path = stored(tmp_path, two_by_three().convert(mode))

    assert np.array_equal(shown(path), pixels(path, seen=False))
    assert not inspect(path).is_read_anew
    assert inspect(path).words == mode


@pytest.mark.parametrize(
    ("ink", "colour"), [((0, 255, 255, 0), RED), ((0, 0, 0, 0), WHITE), ((0, 0, 0, 255), (0, 0, 0))]
)
def test_cmyk_is_shown_in_its_colours(tmp_path, ink, colour):
    path = stored(tmp_path, Image.new("CMYK", (8, 8), ink), "a.jpg", quality=95)

    assert np.abs(shown(path).astype(int) - colour).max() <= 3
    assert inspect(path).words == "CMYK"


def jpeg(side=64):
    stream = np.random.default_rng(0)
    content = io.BytesIO()
    Image.fromarray(stream.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(content, "jpeg")
    return content.getvalue()


def with_spoiled_pixels():
    content = io.BytesIO()
    two_by_three().save(content, "png")
    whole = bytearray(content.getvalue())
    at = whole.index(b"IDAT") + 8
    whole[at] ^= 0xFF
    return bytes(whole)


def png_of_400_million_pixels():
    content = io.BytesIO()
    two_by_three().save(content, "png")
    whole = bytearray(content.getvalue())
    whole[16:24] = struct.pack(">II", 20_000, 20_000)
    whole[29:33] = struct.pack(">I", zlib.crc32(whole[12:29]))
    return bytes(whole)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404</html>",
        jpeg()[:900],
        with_spoiled_pixels(),
        b"\x89PNG\r\n\x1a\n",
        zlib.compress(b"x"),
        png_of_400_million_pixels(),
    ],
)
def test_what_is_no_whole_image_is_damaged_with_a_reason(tmp_path, content):
    path = Path(tmp_path / "a.jpg")
    path.write_bytes(content)

    assert inspect(path).damage
    with pytest.raises(DamagedImageError, match=r"\w"):
        pixels(path, seen=True)
