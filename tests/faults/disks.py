"""Small disks for tests: made, mounted and taken away again; only root can do that."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest


@cache
def why_not() -> str:
    """Return why nothing can be mounted here, or "" when it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True
        )
        if done.returncode != 0:
            return f"mounting is not allowed here: {done.stderr.decode().strip()}"
        subprocess.run(["umount", folder], check=True)
    return ""


@contextlib.contextmanager
def tmpfs(place: Path, *, megabytes: int) -> Iterator[Path]:
    """Mount a disk in memory; skip the test where that is not allowed."""
    if why_not():
        pytest.skip(why_not())
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        _unmount(place)


def make_image(image: Path, *, megabytes: int) -> None:
    """Make an empty ext4 file system in a file; skip the test where it could not be mounted."""
    if why_not():
        pytest.skip(why_not())
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)
        with mounted(image, image.with_name(f"{image.name}.try")):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"an ext4 image cannot be mounted here: {error}")


@contextlib.contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """Mount an ext4 image; its journal is replayed when it was cut off."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True, capture_output=True)
    try:
        yield place
    finally:
        _unmount(place)


def _unmount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", place], check=True)
