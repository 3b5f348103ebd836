"""Hugging Face data sets of images in a local folder: read back as they were written."""

import io
import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyarrow", reason="the extra huggingface is not installed")

from tests.support.plugins.running import Desk, laws_broken, python

pytestmark = pytest.mark.slow
NAMES = ["cat", "dog", "emu"]
STUDY = """
plugins = ["huggingface"]
[study]
name = "of-hub"
baseline = "kd"
seeds = 1
[data]
kind = "hf-images"
folder = "mine"
size = 12
[teacher]
training = { epochs = 2, batch_size = 20 }
[student]
training = { epochs = 2, batch_size = 20 }
[[arm]]
name = "kd"
"""
READ = """
import json, sys
from pathlib import Path
from icckd.extras.hf_images import HfImagesData, load_hf_images
data = HfImagesData(kind="hf-images", folder="mine", **json.loads(sys.argv[2]))
splits = load_hf_images(data, Path(sys.argv[1]))
counts = data.counts_in(Path(sys.argv[1]))
parts = {name: getattr(splits, name) for name in ("train", "validation", "test")}
assert all(len(p.labels) == getattr(counts, name) for name, p in parts.items()), counts
told = {n: [p.images.tolist(), p.labels.tolist()] for n, p in parts.items()}
print(json.dumps({"classes": splits.n_classes, **told}))
"""


def pictures(seed, size, *, side=12):
    """Images, uint8 [N, H, W, 3], and classes that they show."""
    drawn = np.random.default_rng(seed)
    labels = np.arange(size) % 3
    images = drawn.integers(0, 80, (size, side, side, 3)) + 80 * labels[:, None, None, None]
    return images.astype(np.uint8), labels.tolist()


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write_parquet(file, images, labels, *, features=True):
    """Write a file as the Hub keeps them: bytes of images, classes by number, their names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [{"bytes": png(image), "path": None} for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"picture": pa.array(cells, kind), "label": pa.array(labels, pa.int64())})
    told = {"picture": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
    if features:
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": told}})}
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)


def read(root, **settings):
    done = python("-c", READ, str(root), json.dumps({"size": 12, **settings}))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def hub(tmp_path):
    """A folder of Parquet files in two shards, and a test set."""
    folder = tmp_path / "data" / "mine" / "data"
    images, labels = pictures(0, 60)
    for shard, rows in enumerate((slice(0, 30), slice(30, 60))):
        name = f"train-0000{shard}-of-00002.parquet"
        write_parquet(folder / name, images[rows], labels[rows])
    write_parquet(folder / "test-00000-of-00001.parquet", *pictures(1, 30))
    return tmp_path


def test_parquet_files_of_the_hub_are_read_back_pixel_by_pixel(hub):
    images, labels = pictures(0, 60)
    found = read(hub / "data")

    assert found["classes"] == 3
    assert found["test"] == [pictures(1, 30)[0].tolist(), pictures(1, 30)[1]]
    held, kept = found["validation"][0], found["train"][0]
    assert len(held) == 6
    assert sorted(held + kept) == sorted(images.tolist())
    by_image = {json.dumps(i): n for i, n in zip(images.tolist(), labels, strict=True)}
    for part in ("train", "validation"):
        assert [by_image[json.dumps(i)] for i in found[part][0]] == found[part][1]


def test_a_data_set_that_datasets_wrote_is_read_back_pixel_by_pixel(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    )
    written = {}
    for number, name in enumerate(("train", "validation", "test")):
        images, labels = pictures(number, 30)
        cells = {"image": [Image.fromarray(image) for image in images], "label": labels}
        written[name] = datasets.Dataset.from_dict(cells, features=features)
    datasets.DatasetDict(written).save_to_disk(str(tmp_path / "mine"))

    found = read(tmp_path)
    for number, name in enumerate(written):
        images, labels = pictures(number, 30)
        assert found[name] == [images.tolist(), labels]


def test_images_of_other_sizes_are_resized_and_made_grey(tmp_path):
    folder = tmp_path / "mine"
    write_parquet(folder / "train" / "0000.parquet", *pictures(0, 30, side=20))
    write_parquet(folder / "test" / "0000.parquet", *pictures(1, 30, side=9))
    found = np.array(read(tmp_path, channels=1)["test"][0])

    assert found.shape == (30, 12, 12, 1)


def test_columns_without_features_are_named_and_their_labels_are_classes(tmp_path):
    folder = tmp_path / "mine"
    for number, name in enumerate(("train", "test")):
        images, labels = pictures(number, 30)
        write_parquet(folder / f"{name}.parquet", images, [5 + n for n in labels], features=False)

    assert set(read(tmp_path, label="label")["train"][1]) == {0, 1, 2}


def test_a_study_is_planned_trained_and_told_of_an_edited_file(hub):
    desk = Desk(hub)
    planned = desk.study("plan", STUDY)
    done = desk.study("run", STUDY, "-j", "1")
    write_parquet(hub / "data/mine/data/test-00000-of-00001.parquet", *pictures(2, 30))
    again = desk.study("plan", STUDY)

    assert planned.returncode == 0, planned.stderr
    assert "data set hf-images" in planned.stdout
    assert "changed source" not in planned.stdout
    assert done.returncode == 0, done.stderr
    assert "0 already complete" in again.stdout, again.stdout


def test_it_keeps_the_laws_of_data_sets(hub):
    settings = ("--settings", "data set hf-images", '{ folder = "mine", size = 12 }')
    done = python("-m", "icckd.testing", "huggingface", *settings,
                  ICCKD_DATA_DIR=str(hub / "data"))  # fmt: skip

    assert laws_broken(done) == []


@pytest.mark.parametrize(
    ("changed", "said", "code"),
    [
        ('test_split = "held"', "has no split 'held' (splits: test, train)", 4),
        ('folder = "absent"', "has no split 'train' (splits: none)", 4),
        ('folder = "../mine"', "wanted a folder inside ICCKD_DATA_DIR", 3),
    ],
)
def test_what_is_not_there_is_one_clear_error(hub, changed, said, code):
    key = changed.split()[0]
    lines = [line for line in STUDY.splitlines() if not line.startswith(f"{key} =")]
    text = "\n".join(lines).replace('kind = "hf-images"', f'kind = "hf-images"\n{changed}')
    done = Desk(hub).study("run", text)

    assert done.returncode == code, done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_kind_of_an_extra_that_no_plugin_line_names_is_hinted_at(tmp_path):
    without = STUDY.replace('plugins = ["huggingface"]', "")
    other = Desk(tmp_path).study("plan", without)
    timm = Desk(tmp_path).study("plan", without.replace("hf-images", "timm"))

    assert other.returncode == timm.returncode == 3
    assert 'plug-ins bring more, as in plugins = ["huggingface"]' in other.stderr
    assert 'write plugins = ["timm"] above the first table' in timm.stderr


def test_a_missing_library_is_one_error_that_names_the_extra(tmp_path):
    code = """
import importlib.util, sys
from pathlib import Path
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "timm" else found(name, *more)
from icckd.testing.__main__ import main
sys.exit(main(["timm"]))
"""
    done = python("-c", code, cwd=tmp_path)

    assert done.returncode == 3, done.stderr
    assert "parts of the plug-in 'timm' need timm, which is not installed" in done.stderr
    assert "pip install 'icckd[timm]'" in done.stderr
