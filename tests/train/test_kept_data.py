"""A process reads a small data set once, and again as soon as anything of it is another."""

from dataclasses import fields
from hashlib import sha256

import pytest
import torch

from icckd.study.data import DATASETS
from icckd.train.contract import JobContext
from icckd.train.data import dataset as kept
from icckd.train.data import files
from icckd.train.data.dataset import load_dataset
from icckd.train.datasets import digits
from icckd.train.datasets.digits import DigitsData
from tests.train.conftest import TINY


@pytest.fixture
def loads(monkeypatch):
    """The data sets that were read, one after the other; nothing is kept from earlier tests."""
    read, build = [], DATASETS["digits"]
    loaders = {"digits": lambda data, root: (read.append(data), build(data, root))[1]}
    monkeypatch.setattr(kept, "DATASETS", loaders)
    monkeypatch.setattr(kept, "_KEPT", kept._Kept())
    return read


@pytest.fixture
def place(tmp_path):
    return JobContext(device="cpu", data_root=tmp_path, artifact_folder=tmp_path)


def test_stages_on_the_same_images_read_them_once(loads, place):
    for _ in range(3):
        load_dataset(TINY, place)

    assert loads == [TINY]


def test_other_settings_are_read_anew_and_only_the_last_ones_are_kept(loads, place):
    fine = DigitsData(train=170, validation=40, labels="fine")
    for data in (TINY, fine, fine, TINY):
        load_dataset(data, place)

    assert loads == [TINY, fine, TINY]


def test_a_file_that_changed_is_read_anew(loads, place, monkeypatch, tmp_path):
    copy = tmp_path / "digits.csv.gz"
    copy.write_bytes(digits.digits_file().read_bytes())
    monkeypatch.setattr(digits, "digits_file", lambda: copy)
    load_dataset(TINY, place)
    copy.write_bytes(copy.read_bytes() + b"\0" * 8)  # what follows a gzip stream is padding

    load_dataset(TINY, place)

    assert loads == [TINY, TINY]


def test_more_bytes_than_are_kept_are_read_for_every_stage(loads, place, monkeypatch):
    monkeypatch.setattr(kept, "LARGEST_KEPT", 1_000)

    for _ in range(2):
        load_dataset(TINY, place)

    assert loads == [TINY, TINY]


def test_training_writes_to_no_split_that_is_kept(loads, place, run_teacher, run_student):
    def digest():
        found = kept._KEPT.splits(TINY, place.data_root)
        return [
            sha256(value.contiguous().numpy().tobytes()).hexdigest()
            for split in (found.train, found.validation, found.test)
            for value in (getattr(split, each.name) for each in fields(split))
            if isinstance(value, torch.Tensor)
        ]

    before = digest()
    teacher = run_teacher()
    run_student(teacher.folder)

    assert digest() == before
    assert loads == [TINY]


def test_a_raw_file_is_hashed_once_while_it_stays_as_it_is(tmp_path, monkeypatch):
    hashed, content = [], files._content
    monkeypatch.setattr(files, "_content", lambda file: (hashed.append(file), content(file))[1])
    monkeypatch.setattr(files, "SETTLED_NS", -(10**12))  # as if it had been written long ago
    file = tmp_path / "images.bin"
    file.write_bytes(b"one")
    first = [files._raw_content(file) for _ in range(3)]
    file.write_bytes(b"other")

    assert len(set(first)) == 1
    assert files._raw_content(file) != first[0]
    assert hashed == [file, file]


def test_a_file_written_a_moment_ago_is_hashed_each_time(tmp_path, monkeypatch):
    """Within a tick of the clock it can change, and nothing else of it."""
    hashed, content = [], files._content
    monkeypatch.setattr(files, "_content", lambda file: (hashed.append(file), content(file))[1])
    file = tmp_path / "images.bin"
    file.write_bytes(b"one")

    for _ in range(2):
        files._raw_content(file)

    assert hashed == [file, file]
