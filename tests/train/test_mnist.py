"""MNIST and FashionMNIST: IDX files, plain and compressed, whole or not, and their download."""

import gzip
import shutil
import subprocess
import sys
import threading
from functools import partial
from hashlib import md5
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchvision.datasets import MNIST, FashionMNIST

from icckd.errors import MachineError, SpecError
from icckd.run.prepare import make_plan
from icckd.study.load import parse
from icckd.train.data.download import fetch
from icckd.train.data.files import fingerprint
from icckd.train.datasets.mnist import PAIRS, FashionMnistData, MnistData, load_mnist

SIZES = {"train": 60, "test": 20}
FOLDERS = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}
FINE = MnistData(kind="mnist", validation=10)
FASHION = FashionMnistData(kind="fashion-mnist", validation=10)
COARSE = MnistData(kind="mnist", validation=10, labels="coarse")


def idx(values):
    header = bytes((0, 0, 8, values.ndim)) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    return header + values.tobytes()


def write(folder, *, compressed=False, seed=0):
    """Write both pairs of files; return the arrays by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(seed)
    arrays = {}
    for part, (images, labels) in PAIRS.items():
        n = SIZES[part]
        arrays[images] = drawn.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[labels] = np.arange(n, dtype=np.uint8) % 10
    for name, values in arrays.items():
        content = gzip.compress(idx(values), mtime=0) if compressed else idx(values)
        (folder / (f"{name}.gz" if compressed else name)).write_bytes(content)
    return arrays


@pytest.mark.parametrize("where", ["", "MNIST/raw"])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_images_are_those_of_the_files_and_validation_comes_from_training(
    tmp_path, where, compressed
):
    arrays = write(tmp_path / where, compressed=compressed)

    found = load_mnist(COARSE, tmp_path)

    assert (found.n_classes, found.in_channels) == (5, 1)
    test = arrays["t10k-images-idx3-ubyte"]
    assert np.array_equal(found.test.images[..., 0].numpy(), test)
    assert torch.equal(found.test.labels, found.test.subclasses // 2)
    assert [len(part.labels) for part in (found.train, found.validation, found.test)] == [
        50,
        10,
        20,
    ]
    together = torch.cat([found.train.images, found.validation.images])[..., 0].numpy()
    assert sorted(map(bytes, together)) == sorted(map(bytes, arrays["train-images-idx3-ubyte"]))


@pytest.mark.parametrize(
    ("data", "reader"),
    [(FINE, MNIST), (FASHION, FashionMNIST)],
)
def test_torchvision_reads_the_same_images_and_labels(tmp_path, data, reader):
    write(tmp_path / FOLDERS[data.kind])
    theirs = reader(str(tmp_path), train=False)

    found = load_mnist(data, tmp_path).test

    assert torch.equal(found.images[..., 0], theirs.data)
    assert torch.equal(found.labels, theirs.targets)
    assert torch.equal(found.superclasses, theirs.targets // 2)


def damaged(folder, name, change):
    """Change the bytes of a file, inside its compression if it has one."""
    file = folder / name
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(change(gzip.decompress(file.read_bytes())), mtime=0))
    else:
        file.write_bytes(change(file.read_bytes()))


IMAGES, LABELS = PAIRS["train"]
FAULTS = {
    "images cut": (IMAGES, lambda raw: raw[:-5], "truncated"),
    "images too long": (IMAGES, lambda raw: raw + b"x", "damaged"),
    "header cut": (IMAGES, lambda raw: raw[:9], "does not begin as an IDX file"),
    "another kind of file": (LABELS, lambda raw: b"GIF89a" + raw, "does not begin as an IDX file"),
    "floats": (IMAGES, lambda raw: raw[:2] + b"\x0d" + raw[3:], "does not begin as an IDX"),
    "labels of another set": (LABELS, lambda raw: idx(np.zeros(7, np.uint8)), "holds 7 labels"),
    "images of another size": (IMAGES, lambda raw: idx(np.zeros((60, 8, 8), np.uint8)), "8x8"),
    "no images at all": (LABELS, lambda raw: idx(np.zeros(0, np.uint8)), "holds 0 labels"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_damaged_or_does_not_fit_is_named_before_anything_trains(
    tmp_path, fault, compressed
):
    name, change, words = FAULTS[fault]
    write(tmp_path, compressed=compressed)
    name = f"{name}.gz" if compressed else name
    damaged(tmp_path, name, change)

    for ask in (partial(fingerprint, FINE, tmp_path), partial(load_mnist, FINE, tmp_path)):
        with pytest.raises(MachineError, match=words) as caught:
            ask()
        assert str(tmp_path / name) in caught.value.message
        assert caught.value.exit_code == 4


def test_a_compressed_file_that_was_cut_or_changed_is_named(tmp_path):
    write(tmp_path, compressed=True)
    file = tmp_path / f"{IMAGES}.gz"
    whole = file.read_bytes()
    for spoilt in (whole[: len(whole) // 2], b"", b"no gzip", whole[:500] + b"xx" + whole[502:]):
        file.write_bytes(spoilt)
        with pytest.raises(MachineError, match=r"damaged|truncated") as caught:
            fingerprint(FINE, tmp_path)
        assert str(file) in caught.value.message


def test_a_label_that_no_digit_has_is_refused(tmp_path):
    write(tmp_path)
    damaged(tmp_path, LABELS, lambda raw: raw[:-1] + b"\x0b")

    with pytest.raises(MachineError, match="holds the label 11"):
        load_mnist(FINE, tmp_path)


def test_files_that_are_missing_and_too_many_validation_images_are_refused(tmp_path):
    with pytest.raises(MachineError, match="train-images-idx3-ubyte does not exist") as caught:
        fingerprint(FINE, tmp_path)
    assert caught.value.hint == "run `icckd fetch mnist`"
    write(tmp_path)
    with pytest.raises(MachineError, match="leaves none of the 60 training images"):
        load_mnist(MnistData(kind="mnist", validation=60), tmp_path)
    with pytest.raises(ValidationError):
        MnistData(kind="mnist", validation=0)


def test_the_fingerprint_is_of_the_files_and_needs_neither_torch_nor_numpy(tmp_path):
    write(tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from icckd.train.data.files import fingerprint\n"
        "from icckd.train.datasets.mnist import MnistData\n"
        f"print(fingerprint(MnistData(kind='mnist'), Path({str(tmp_path)!r})))\n"
        "print({'torch', 'torchvision', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = fingerprint(COARSE, tmp_path)

    assert done.stdout.split("\n")[:2] == [ours, "set()"]
    damaged(tmp_path, IMAGES, lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]))
    assert fingerprint(COARSE, tmp_path) != ours


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *what):
        pass


@pytest.fixture
def server(tmp_path):
    """Serve a folder of this machine; yields its address and the folder."""
    served = tmp_path / "served"
    served.mkdir()
    handler = partial(Quiet, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/", served
        http.shutdown()


@pytest.mark.parametrize(("kind", "reader"), [("mnist", MNIST), ("fashion-mnist", FashionMNIST)])
def test_fetch_downloads_the_files_checks_them_and_does_so_once(
    tmp_path, server, monkeypatch, kind, reader
):
    address, served = server
    write(served, compressed=True)
    sums = [(file.name, md5(file.read_bytes()).hexdigest()) for file in sorted(served.iterdir())]
    monkeypatch.setattr(reader, "mirrors", [address])
    monkeypatch.setattr(reader, "resources", sums)
    root = tmp_path / "data"

    fetch(kind, root)
    settings = FINE if kind == "mnist" else FASHION
    assert len(load_mnist(settings, root).test.labels) == 20

    shutil.rmtree(served)
    fetch(kind, root)  # nothing is left to be downloaded, and nothing is asked for


def test_a_download_with_a_wrong_checksum_is_refused(tmp_path, server, monkeypatch):
    address, served = server
    write(served, compressed=True)
    monkeypatch.setattr(MNIST, "mirrors", [address])

    with pytest.raises(MachineError, match="could not be downloaded"):
        fetch("mnist", tmp_path / "data")


def test_a_smallest_effect_of_less_than_one_test_image_of_the_files_is_refused(tmp_path):
    write(tmp_path)
    text = """
        [study]
        name = "s"
        baseline = "full"
        seeds = 2
        family = ["fast"]
        smallest_effect = {effect}
        [data]
        kind = "mnist"
        validation = 10
        [teacher.training]
        batch_size = 20
        [student.training]
        batch_size = 20
        [[arm]]
        name = "full"
        [[arm]]
        name = "fast"
        set = {{ "teacher.training.lr" = 0.1 }}
    """
    one = 100 / SIZES["test"]
    for effect, fits in ((one * 1.01, True), (one * 0.99, False)):
        study = parse(text.format(effect=effect), where="s.toml")
        if fits:
            make_plan(study, device="cpu", root=tmp_path)
            continue
        with pytest.raises(SpecError, match="is less than one of the"):
            make_plan(study, device="cpu", root=tmp_path)
