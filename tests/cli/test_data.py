"""Data sets as a user meets them: absent, synthetic, and what a plan can say."""

import os
import shutil

import pytest
from PIL import Image

SYNTHETIC = """
[study]
name = "drawn"
baseline = "full"
metrics = ["student.agreement", "teacher.subclass_linear_soft"]
seeds = { count = 1 }
[data]
kind = "synthetic"
train = 64
[teacher.training]
epochs = 1
[student.training]
epochs = 1
[[arm]]
name = "full"
"""


def test_a_study_is_planned_without_its_data_and_is_not_run(desk):
    planned = desk.run("plan", "small.toml", "data.kind=cifar100").stdout
    refused = desk.run("run", "small.toml", "data.kind=cifar100", code=4)

    line = next(line for line in planned.splitlines() if line.startswith("data not here"))
    assert "icckd fetch cifar100" in line
    assert "no stage on them counts as complete" in line
    assert "2 arms x 2 seeds = 4 trials" in planned
    assert "to train: 8 stages" in planned
    assert "icckd fetch cifar100" in refused.stderr
    assert not desk.state.exists()


def test_a_plan_that_has_its_data_says_nothing_about_absence(desk):
    assert "data not here" not in desk.run("plan", "small.toml").stdout


@pytest.mark.slow
def test_synthetic_data_are_named_so_wherever_their_results_are_shown(desk):
    desk.write(SYNTHETIC, "drawn.toml")
    shown = {
        "plan": desk.run("plan", "drawn.toml").stdout,
        "run": desk.train("run", "drawn.toml").stdout,
        **{
            " ".join(verb): desk.run(*verb).stdout
            for verb in (
                ("report",),
                ("report", "--format", "md"),
                ("report", "--format", "json"),
                ("report", "--format", "html"),
                ("report", "--format", "latex"),
                ("status",),
                ("ls",),
            )
        },
    }

    assert [verb for verb, text in shown.items() if "synthetic" not in text] == []


def test_real_data_are_not_called_synthetic(finished):
    for verb in (("plan", "small.toml"), ("report",), ("status",), ("ls",)):
        assert "synthetic" not in finished.run(*verb).stdout


@pytest.mark.parametrize("name", ["imagenet", "image-folder"])
def test_a_set_that_is_not_downloaded_says_where_to_put_it(desk, name):
    assert "ICCKD_DATA_DIR" in desk.run("fetch", name, code=2).stderr


FOLDER = """
[study]
name = "pictures"
baseline = "full"
seeds = { count = 1 }
[data]
kind = "image-folder"
folder = "set"
size = 8
[teacher]
model = { kind = "cnn", widths = [4, 4, 4] }
[teacher.training]
epochs = 1
batch_size = 8
[student]
model = { kind = "cnn", widths = [4, 4, 4] }
[student.training]
epochs = 1
batch_size = 8
[[arm]]
name = "full"
"""


@pytest.fixture
def pictures(desk, monkeypatch):
    """A desk with a folder of 40 pictures of two classes, and a study of it."""
    desk.write(FOLDER, "pictures.toml")
    desk.environment = {
        "ICCKD_DATA_DIR": str(desk.folder / "data"),
        "XDG_CACHE_HOME": str(desk.folder / "cache"),
    }
    for number, name in enumerate(("cat", "dog")):
        (desk.folder / "data" / "set" / name).mkdir(parents=True)
        for shade in range(20):
            image = Image.new("RGB", (8, 8), (40 + 100 * number, shade, shade))
            image.save(desk.folder / "data" / "set" / name / f"{shade}.png")
    return desk


def test_a_plan_says_how_many_images_are_read_and_what_is_not(pictures):
    folder = pictures.folder / "data" / "set"
    (folder / "cat" / "scan.bmp").write_bytes(b"BM")
    (folder / "owl").mkdir()

    planned = pictures.run("plan", "pictures.toml").stdout

    assert "images: 40 images, 2 classes in" in planned
    assert "the test set has 8 images" in planned
    assert "not read: 1 .bmp files: cat/scan.bmp" in planned
    assert "not read: the folder owl, which has no images and is not a class" in planned


@pytest.mark.slow
def test_a_note_beside_the_images_trains_nothing_again_and_a_new_class_does(pictures):
    pictures.train("run", "pictures.toml")
    (pictures.folder / "data" / "set" / "README.txt").write_text("licence: see the web page")
    assert "to train: 0 stages" in pictures.run("plan", "pictures.toml").stdout

    (pictures.folder / "data" / "set" / "owl").mkdir()
    planned = pictures.run("plan", "pictures.toml").stdout
    assert "to train: 2 stages" in planned
    assert "owl" in planned


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_damaged_images_are_all_named_before_anything_trains(pictures, verb):
    for name in ("cat/3.png", "dog/7.png"):
        (pictures.folder / "data" / "set" / name).write_bytes(b"")

    refused = pictures.run(verb, "pictures.toml", code=4).stderr

    assert "cat/3.png: " in refused
    assert "dog/7.png: " in refused
    assert not pictures.state.exists()


@pytest.mark.parametrize("what", ["data/set", "pictures.toml"])
def test_data_check_shows_what_a_folder_or_a_study_holds(pictures, what):
    if what == "data/set":
        what = str(pictures.folder / what)
    folder = pictures.folder / "data" / "set"
    Image.new("I;16", (9, 12), 9000).save(folder / "dog" / "deep.png")
    (folder / "cat" / os.fsdecode(b"caf\xe9.png")).write_bytes((folder / "cat/1.png").read_bytes())

    said = pictures.run("data", "check", what).stdout

    for text in (
        "42 images, 2 classes", "cat 21, dog 21", "sizes: 8x8 to 9x12",
        "mode RGB: 41", "mode I;16, 16-bit grey: 1",
    ):  # fmt: skip
        assert text in said
    (folder / "dog" / "bad.jpg").write_bytes(b"<html>")
    checked = pictures.run("data", "check", what, code=4)
    assert "problem: dog/bad.jpg: not an image of a known format" in checked.stdout


def test_data_check_of_what_is_not_there_says_so(desk):
    assert "there is no" in desk.run("data", "check", "nowhere", code=2).stderr


def test_one_class_is_refused_by_the_plan_with_what_was_found(pictures):
    shutil.rmtree(pictures.folder / "data" / "set" / "dog")

    refused = pictures.run("plan", "pictures.toml", code=4).stderr

    assert "20 images of one class (cat); a study needs at least 2 classes" in refused


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_smallest_effect_of_less_than_one_test_image_of_a_folder_is_refused(pictures, verb):
    study = FOLDER.replace("[study]", '[study]\nfamily = ["fast"]\nsmallest_effect = 12.4')
    pictures.write(study + '[[arm]]\nname = "fast"\nset = { "teacher.training.lr" = 0.1 }\n',
                   "pictures.toml")  # fmt: skip

    refused = pictures.run(verb, "pictures.toml", code=3).stderr

    assert "less than one of the 8 test images (12.5 points)" in refused
    assert not pictures.state.exists()
    pictures.run("plan", "pictures.toml", "study.smallest_effect=12.5")


def test_a_folder_valid_is_the_test_set_as_val_is(pictures):
    folder = pictures.folder / "data" / "set"
    shutil.copytree(folder, pictures.folder / "data" / "parts" / "train")
    shutil.copytree(folder, pictures.folder / "data" / "parts" / "valid")

    planned = pictures.run("plan", "pictures.toml", "data.folder=parts").stdout

    assert "images: 80 images, 2 classes in" in planned
    assert "not read" not in planned
