"""What a folder of images holds: classes and splits, what is left out and why, what is wrong."""

import os

import pytest

from icckd.train.data.inventory import take_inventory


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes files of nothing; only names count here."""
    root = tmp_path / "set"
    root.mkdir()

    def make(*names):
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if name.endswith("/") else path.touch()
        return root

    return make


def taken(root):
    return take_inventory(root, as_seen=True)


def test_classes_are_folders_with_images_in_order(folder):
    found = taken(folder("b/2.PNG", "b/10.webp", "a/1.jpg", "a/2.jpeg"))

    assert found.classes == ("a", "b")
    assert found.parts[""].names == ("a/1.jpg", "a/2.jpeg", "b/10.webp", "b/2.PNG")
    assert found.parts[""].labels == (0, 0, 1, 1)
    assert (found.left_out, found.problems, found.counts_anew) == ((), (), False)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["a/3.bmp", "b/4.BMP"], "2 .bmp files: a/3.bmp, b/4.BMP"),
        (["a/3.tif"], "1 .tif files"),
        (["a/README.txt"], "files of class a that are not images: README.txt"),
        (["owl.zip", "tit.tar"], "archives that are not unpacked: owl.zip, tit.tar"),
        (["stray.png", "scan.tiff"], "images that lie in no class: stray.png, scan.tiff"),
        (["a/more/3.png"], "sub-folders of class a: more"),
    ],
)
def test_what_is_not_read_is_named_and_nothing_else_changes(folder, more, said):
    before = taken(folder("a/1.png", "b/2.png"))
    found = taken(folder(*more))

    assert any(said in line for line in found.left_out), found.left_out
    assert (found.classes, found.parts) == (before.classes, before.parts)
    assert (found.problems, found.counts_anew) == ((), False)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["__MACOSX/a/._1.png"], "the folder __MACOSX, which an archive or system left"),
        (["@eaDir/1.png"], "the folder @eaDir"),
        (["a/._1.png"], "hidden files of class a: ._1.png"),
        (["owl/"], "the folder owl, which has no images and is not a class"),
        (["notes/a.txt"], "the folder notes, which has no images and is not a class"),
    ],
)
def test_what_once_counted_is_named_and_counts_anew(folder, more, said):
    found = taken(folder("a/1.png", "b/2.png", *more))

    assert any(said in line for line in found.left_out), found.left_out
    assert found.classes == ("a", "b")
    assert found.images == 2
    assert found.counts_anew


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["owl/1.tif", "owl/2.tif"], "class owl has no images that are read"),
        (
            ["birds/owl/1.png", "birds/tit/1.png"],
            "class birds has no images of its own: 2 lie in sub-folders of it (owl, tit)",
        ),
    ],
)
def test_a_class_that_would_be_lost_is_a_problem(folder, more, said):
    found = taken(folder("a/1.png", "b/2.png", *more))

    assert any(said in line for line in found.problems), found.problems


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_the_validation_folder_has_three_names(folder, name):
    found = taken(folder("train/a/1.png", "train/b/1.png", f"{name}/a/2.png", f"{name}/b/2.png"))

    assert list(found.parts) == ["train", name]
    assert found.classes == ("a", "b")
    assert not found.problems


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["val/a/1.png", "val/b/"], "val has no images of class b"),
        (["val/a/1.png"], "only one of train and val in "),
        (["val/a/1.png", "val/b/1.png", "valid/a/1.png"], "val and valid are both there"),
        (["testing/a/1.png", "testing/b/1.png"], "the names of splits are train, val (or valid"),
        (["dev/a/1.png"], "the folders dev, train have images in sub-folders alone"),
        (["val/", "test/a/1.png"], "only one of train and val in "),
    ],
)
def test_splits_that_do_not_go_together_are_a_problem(folder, names, said):
    found = taken(folder("train/a/1.png", "train/b/1.png", *names))

    assert any(said in line for line in found.problems), found.problems


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["train"], "there is a folder train, and none for val and test; if it holds all images"),
        (["val"], "there is a folder val, and none for train"),
        (["Train", "Test"], "the folders Test, Train have images in sub-folders alone"),
    ],
)
def test_splits_that_miss_others_or_have_other_names_are_one_problem(folder, names, said):
    found = taken(
        folder(*(f"{name}/{image}" for name in names for image in ("a/1.png", "b/1.png")))
    )

    (problem,) = found.problems
    assert said in problem
    assert found.left_out == ()


def test_a_class_that_is_empty_in_every_split_is_no_class(folder):
    names = [f"{part}/{name}" for part in ("train", "val") for name in ("a/1.png", "b/1.png", "c/")]
    found = taken(folder(*names))

    assert found.classes == ("a", "b")
    assert found.problems == ()
    assert "the folder c, which has no images and is not a class" in found.left_out


def test_a_link_to_a_folder_counts_and_cannot_lead_in_a_circle(folder):
    root = folder("a/1.png", "b/2.png")
    (root.parent / "outside.png").touch()
    (root / "misc").symlink_to("..")
    (root / "a" / "up").symlink_to(root)

    found = taken(root)

    assert found.classes == ("a", "b", "misc")
    assert "misc/outside.png" in found.parts[""].names


def test_names_that_are_not_utf_8_count_as_others(folder):
    root = folder("a/1.png", "b/2.png")
    (root / "a" / os.fsdecode(b"caf\xe9.png")).touch()

    assert taken(root).images == 3


def test_names_in_messages_hold_nothing_that_a_terminal_obeys(folder):
    root = folder("a/1.png", "b/2.png", "b/\x1b]0;x\x07.bmp", "b/\u202egpj.tif")
    (root / "b" / os.fsdecode(b"caf\xe9.gif")).touch()

    said = " ".join(taken(root).left_out)

    assert said.isprintable()
    assert r"caf\udce9.gif" in said
