"""A folder as storage: what is made once stays, whoever comes second."""

import re
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.configuration import StorageSettings
from icckd.errors import MachineError
from icckd.storage.base import Entry, StorageError, TakenError
from icckd.storage.folder import FolderStorage
from icckd.storage.opening import open_storage, try_storage

NAMES = st.text(alphabet="ab-.0", min_size=1, max_size=3).filter(lambda name: name[0] != ".")
KEYS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@pytest.fixture
def storage(tmp_path):
    return FolderStorage(tmp_path)


def test_what_is_made_once_is_refused_to_others_and_fine_to_make_again(storage):
    storage.create("a/b", b"first")
    storage.create("a/b", b"first")  # an answer that was lost is asked for again

    with pytest.raises(TakenError):
        storage.create("a/b", b"second")

    assert storage.get("a/b") == b"first"


def test_of_many_who_make_one_key_at_the_same_moment_one_succeeds(storage):
    def make(number):
        try:
            storage.create("one", b"%d" % number)
        except TakenError:
            return None
        return number

    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            [winner] = [n for n in pool.map(make, range(8)) if n is not None]
        assert storage.get("one") == b"%d" % winner
        storage.delete("one")


@settings(max_examples=40)
@given(keys=st.sets(KEYS, max_size=12), after=KEYS)
def test_a_listing_has_every_key_below_a_folder_in_order_and_those_after_one(
    tmp_path_factory, keys, after
):
    storage = FolderStorage(tmp_path_factory.mktemp("listed"))
    made = set()
    for key in sorted(keys):  # a name is a file or a folder
        if not any(key.startswith(f"{other}/") for other in made):
            storage.put(f"top/{key}", b"12")
            made.add(key)
    storage.put("topmost", b"not below")

    wanted = sorted(f"top/{key}" for key in made)
    assert storage.list("top") == [Entry(key, 2) for key in wanted]
    assert [e.key for e in storage.list("top", f"top/{after}")] == [
        key for key in wanted if key > f"top/{after}"
    ]


def test_what_a_dead_process_left_half_written_is_no_object(storage, tmp_path):
    storage.put("a/b", b"whole")
    (tmp_path / "a" / ".aside-0").write_bytes(b"ha")

    assert [entry.key for entry in storage.list("a")] == ["a/b"]


def test_files_come_back_as_they_were_put(storage, tmp_path):
    (tmp_path / "big").write_bytes(bytes(range(256)) * 8192)
    storage.put_file("blobs/big", tmp_path / "big")

    assert storage.get_file("blobs/big", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "big").read_bytes()
    assert storage.size("blobs/big") == 256 * 8192
    assert not storage.get_file("blobs/none", tmp_path / "none")
    assert (storage.get("none"), storage.size("none")) == (None, None)


def test_storage_that_keeps_its_promise_is_tried_and_nothing_is_left_of_that(storage, tmp_path):
    try_storage(storage)

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


class Overwriting(FolderStorage):
    """As `rclone serve s3`: a condition is taken and not looked at."""

    def create(self, key, data):
        self.put(key, data)


def test_storage_that_overwrites_is_refused_with_the_reason(tmp_path):
    with pytest.raises(StorageError, match="overwrites an object that is to be made once"):
        try_storage(Overwriting(tmp_path))


def test_a_folder_that_is_not_mounted_is_an_error_and_is_not_made(tmp_path):
    named = StorageSettings(url=f"file://{tmp_path}/mnt")

    with pytest.raises(MachineError, match="no such folder"):
        open_storage(named)

    assert not (tmp_path / "mnt").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "s3://"},
        {"url": "file://host/folder"},
        {"url": "gs://bucket"},
        {"url": "s3://key:secret@bucket/x"},
        {"url": "s3://bucket", "endpoint": "http://key:secret@host"},
        {"url": "s3://bucket", "endpoint": "host:9000"},
        {"url": "s3://bucket", "seconds": 0.0},
        {"url": "s3://bucket", "seconds": 10.0, "takeover_seconds": 5.0},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ValueError, match=r"wanted|belong"):
        StorageSettings(**wrong)


def test_the_page_tells_of_every_setting_with_its_default():
    page = (Path(__file__).parents[2] / "docs" / "storage.md").read_text()
    [block] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| ([^|]+) \|$", page, re.MULTILINE))

    assert StorageSettings(**tomllib.loads(block)["storage"]).url.startswith("s3://")
    assert set(rows) == {each.name for each in fields(StorageSettings)}
    usual = StorageSettings()
    assert (float(rows["seconds"]), float(rows["takeover_seconds"])) == (
        usual.seconds, usual.takeover_seconds,
    )  # fmt: skip
