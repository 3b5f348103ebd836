"""Data sets: reading, splitting, fingerprints and downloads."""

import pickle
import subprocess
import sys
import zipfile
from hashlib import md5

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits as sklearn_digits
from torchvision.datasets import CIFAR10, CIFAR100

from icckd.errors import MachineError, UsageError
from icckd.study.data import DATASETS
from icckd.train.data.download import fetch
from icckd.train.data.files import fingerprint
from icckd.train.data.splits import divide
from icckd.train.datasets.cifar import CIFAR_FILES, CIFAR_FOLDER, Cifar10Data, Cifar100Data
from icckd.train.datasets.digits import DigitsData

TRAIN, TEST = 200, 100


def write_entry(file, labels, rng):
    file.parent.mkdir(exist_ok=True)
    pixels = rng.integers(0, 256, (len(next(iter(labels.values()))), 3072), dtype=np.uint8)
    file.write_bytes(pickle.dumps({"data": pixels, **labels}, protocol=2))
    return pixels


def use_written_checksums(monkeypatch, reader, root):
    def listed(names):
        folder = root / reader.base_folder
        return [[name, md5((folder / name).read_bytes()).hexdigest()] for name in names]

    monkeypatch.setattr(reader, "train_list", listed([name for name, _ in reader.train_list]))
    monkeypatch.setattr(reader, "test_list", listed([name for name, _ in reader.test_list]))
    meta = reader.meta | {"md5": listed([reader.meta["filename"]])[0][1]}
    monkeypatch.setattr(reader, "meta", meta)


@pytest.fixture
def cifar100(tmp_path, monkeypatch):
    """A small CIFAR-100 whose fine label decides the coarse one; returns the training pixels."""
    rng, folder = np.random.default_rng(0), tmp_path / CIFAR100.base_folder
    pixels = {}
    for name, n in (("train", TRAIN), ("test", TEST)):
        fine = [i % 100 for i in range(n)]
        labels = {"fine_labels": fine, "coarse_labels": [label // 5 for label in fine]}
        pixels[name] = write_entry(folder / name, labels, rng)
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["x"] * 100}))
    use_written_checksums(monkeypatch, CIFAR100, tmp_path)
    return pixels


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    rng, folder = np.random.default_rng(1), tmp_path / CIFAR10.base_folder
    for name, _ in [*CIFAR10.train_list, *CIFAR10.test_list]:
        write_entry(folder / name, {"labels": [i % 10 for i in range(40)]}, rng)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["x"] * 10}))
    use_written_checksums(monkeypatch, CIFAR10, tmp_path)


def test_digits_are_those_of_scikit_learn(tmp_path):
    splits = DATASETS["digits"](DigitsData(labels="fine"), tmp_path)
    whole, digits = sklearn_digits(return_X_y=True)
    ours = torch.cat([p.images for p in (splits.train, splits.validation, splits.test)])
    labels = torch.cat([p.labels for p in (splits.train, splits.validation, splits.test)])

    def rows(pixels, labels):
        return sorted(map(tuple, np.column_stack([pixels, labels]).astype(int).tolist()))

    assert splits.train.images.dtype == torch.uint8
    assert (splits.n_classes, splits.in_channels) == (10, 1)
    assert rows(ours.flatten(1).numpy(), labels.numpy()) == rows(whole, digits)


def test_coarse_digits_hide_the_digit_as_sub_class(tmp_path):
    splits = DATASETS["digits"](DigitsData(), tmp_path)

    assert [len(p.labels) for p in (splits.train, splits.validation, splits.test)] == [
        450,
        347,
        1000,
    ]
    assert splits.n_classes == 5
    assert torch.equal(splits.train.labels, splits.train.subclasses // 2)
    assert splits.train.superclasses is None


def test_fine_digits_keep_the_coarse_label_as_super_class(tmp_path):
    splits = DATASETS["digits"](DigitsData(labels="fine"), tmp_path)

    for part in (splits.train, splits.validation, splits.test):
        assert torch.equal(part.superclasses, part.labels // 2)
        assert part.subclasses is None


def test_the_split_depends_on_its_seed_alone(tmp_path):
    def first(**settings):
        return DATASETS["digits"](DigitsData(**settings), tmp_path).train.images

    assert torch.equal(first(), first(labels="fine"))
    assert torch.equal(first(), first(validation=100))
    assert not torch.equal(first(), first(split_seed=1))


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    share=st.floats(0.1, 0.6),
    seed=st.integers(0, 99),
)
def test_parts_are_disjoint_complete_and_stratified(counts, share, seed):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    size = max(1, int(share * len(labels)))

    first, rest = divide(labels, (size,), seed)

    assert len(first) == size
    assert sorted([*first.tolist(), *rest.tolist()]) == list(range(len(labels)))
    for label, count in enumerate(counts):
        held = int((labels[first] == label).sum())
        assert abs(held - count * size / len(labels)) <= 1


def test_cifar100_comes_from_torchvisions_reader(cifar100, tmp_path):
    splits = DATASETS["cifar100"](Cifar100Data(kind="cifar100", validation=50), tmp_path)

    assert (splits.n_classes, splits.in_channels) == (100, 3)
    assert [len(p.labels) for p in (splits.train, splits.validation, splits.test)] == [150, 50, 100]
    assert splits.train.subclasses is None
    assert torch.equal(splits.train.superclasses, splits.train.labels // 5)
    first = torch.from_numpy(cifar100["test"][0].reshape(3, 32, 32))
    assert torch.equal(splits.test.images[0].permute(2, 0, 1), first)


def test_coarse_cifar100_reads_coarse_labels_and_keeps_the_fine_ones(cifar100, tmp_path):
    data = Cifar100Data(kind="cifar100", labels="coarse", validation=100)
    splits = DATASETS["cifar100"](data, tmp_path)

    assert splits.n_classes == 20
    for part in (splits.train, splits.validation, splits.test):
        assert torch.equal(part.labels, part.subclasses // 5)
    assert splits.validation.subclasses.bincount().tolist() == [1] * 100


def test_cifar10_holds_validation_images_out_of_the_training_files(cifar10, tmp_path):
    splits = DATASETS["cifar10"](Cifar10Data(kind="cifar10", validation=50), tmp_path)

    assert [len(p.labels) for p in (splits.train, splits.validation, splits.test)] == [150, 50, 40]
    assert splits.validation.labels.bincount().tolist() == [5] * 10


def test_a_file_that_would_run_code_is_refused(cifar100, tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            return print, ("ran",)

    from icckd.train.datasets.cifar import _coarse_labels

    file = tmp_path / "evil"
    file.write_bytes(pickle.dumps({"coarse_labels": Evil()}))

    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print"):
        _coarse_labels(file)


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
def test_a_missing_data_set_says_how_to_get_it(kind, tmp_path):
    data = {"cifar10": Cifar10Data, "cifar100": Cifar100Data}[kind](kind=kind)

    for read in (DATASETS[kind], fingerprint):
        with pytest.raises(MachineError) as caught:
            read(data, tmp_path)
        assert f"icckd fetch {kind}" in caught.value.hint


def test_a_damaged_data_set_is_refused(cifar100, tmp_path):
    (tmp_path / "cifar-100-python" / "train").write_bytes(b"x")

    with pytest.raises(MachineError, match="cifar100"):
        DATASETS["cifar100"](Cifar100Data(kind="cifar100"), tmp_path)


def test_the_fingerprint_changes_with_a_byte_and_not_with_settings(cifar100, tmp_path):
    before = fingerprint(Cifar100Data(kind="cifar100"), tmp_path)
    other = fingerprint(Cifar100Data(kind="cifar100", labels="coarse", split_seed=3), tmp_path)
    file = tmp_path / "cifar-100-python" / "test"
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)

    assert before == other
    assert fingerprint(Cifar100Data(kind="cifar100"), tmp_path) != before
    assert len(before) == 64


def test_the_fingerprint_covers_the_files_that_torchvision_reads():
    for kind, reader in (("cifar10", CIFAR10), ("cifar100", CIFAR100)):
        names = [name for name, _ in [*reader.train_list, *reader.test_list]]
        assert CIFAR_FILES[kind] == (*names, reader.meta["filename"])
        assert CIFAR_FOLDER[kind] == reader.base_folder


def test_fingerprints_need_neither_torch_nor_scikit_learn(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "import icckd.train.contract, icckd.train.contract\n"
        "from icckd.train.data.files import fingerprint\n"
        "from icckd.train.datasets.digits import DigitsData\n"
        "print(fingerprint(DigitsData(), Path('.')))\n"
        "assert not {'torch', 'torchvision', 'sklearn', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.stderr == ""
    assert done.stdout.strip() == fingerprint(DigitsData(), tmp_path)


def test_fetch_leaves_a_complete_data_set_alone_and_knows_its_names(cifar100, tmp_path):
    fetch("cifar100", tmp_path)
    fetch("digits", tmp_path)

    with pytest.raises(UsageError, match="cifar11") as caught:
        fetch("cifar11", tmp_path)
    assert caught.value.hint == (
        "data sets: digits, cifar10, cifar100, tiny-imagenet, mnist, fashion-mnist"
    )


@pytest.mark.parametrize(("kind", "hint"), [("imagenet", "train and val"), ("synthetic", "run")])
def test_what_icckd_does_not_download_is_refused_with_what_to_do(kind, hint, tmp_path):
    with pytest.raises(UsageError) as caught:
        fetch(kind, tmp_path)

    assert hint in caught.value.hint


def write_tiny_imagenet(file):
    """Write an archive with 1 class of 2 images and 1 validation image."""
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("train/n01/images/a.JPEG", "train/n01/images/b.JPEG", "val/images/c.JPEG"):
            archive.writestr(f"tiny-imagenet-200/{name}", b"x")
        archive.writestr("tiny-imagenet-200/val/val_annotations.txt", "c.JPEG\tn01\t0\t0\t9\t9\n")
    return md5(file.read_bytes()).hexdigest()


def test_tiny_imagenet_is_unpacked_if_its_checksum_is_right_and_left_alone_if_complete(
    tmp_path, monkeypatch
):
    archive = tmp_path / "tiny-imagenet-200.zip"
    checksum = write_tiny_imagenet(archive)
    counts = {"train": 2, "val": 1}
    monkeypatch.setattr("icckd.train.datasets.folders.TINY_IMAGENET_COUNTS", counts)
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", refuse_to_download)

    with pytest.raises(MachineError, match="no route to host"):
        fetch("tiny-imagenet", tmp_path)
    monkeypatch.setattr("icckd.train.datasets.folders.TINY_IMAGENET_MD5", checksum)
    fetch("tiny-imagenet", tmp_path)
    archive.unlink()
    fetch("tiny-imagenet", tmp_path)

    assert (tmp_path / "tiny-imagenet-200" / "train" / "n01" / "images" / "a.JPEG").is_file()
    (tmp_path / "tiny-imagenet-200" / "val" / "images" / "c.JPEG").unlink()
    with pytest.raises(MachineError, match="no route to host"):
        fetch("tiny-imagenet", tmp_path)


def refuse_to_download(*arguments, **named):
    raise OSError("no route to host")


def test_a_failed_download_is_an_error_of_the_machine(tmp_path, monkeypatch):
    def fail(self):
        raise OSError("no route to host")

    monkeypatch.setattr(CIFAR10, "download", fail)

    with pytest.raises(MachineError, match="no route to host"):
        fetch("cifar10", tmp_path)
