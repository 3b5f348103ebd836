"""Sets with a file for each image: layouts, splits, streaming, fingerprints."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from zlib import crc32

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from icckd.errors import DataError, MachineError, StageError
from icckd.study.data import DATASETS, Augmentation, ResizedCrop
from icckd.study.training import Training
from icckd.train.data import files as fingerprints
from icckd.train.data.decode import FileImages, middle_of
from icckd.train.data.files import cache_folder, fingerprint, survey
from icckd.train.data.splits import Normaliser, Split, pixel_statistics
from icckd.train.data.stream import TrainStream
from icckd.train.data.views import Crops, draw_box
from icckd.train.datasets.folders import ImageFolderData, ImagenetData, TinyImagenetData
from icckd.train.seeding import generator

SIZE = 12
RESIZED = Augmentation(resized_crop=ResizedCrop(), flip=True)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def picture(number, height=20, width=16):
    stream = torch.Generator().manual_seed(number)
    coarse = torch.randint(0, 256, (3, 4, 4), generator=stream, dtype=torch.uint8)
    return reference.resize(coarse, [height, width], antialias=True)


def write(image, file):
    reference.to_pil_image(image).save(file)


def fill(folder, classes, n, suffix="jpg"):
    """Write `n` pictures for each class; no two are equal."""
    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(n):
            image = picture(
                crc32(f"{folder.name} {index} {number}".encode()), width=16 + number % 9
            )
            write(image, folder / name / f"{number:03}.{suffix}")


def folder_data(**settings):
    return ImageFolderData(kind="image-folder", folder="birds", size=SIZE, **settings)


@pytest.fixture
def birds(tmp_path):
    fill(tmp_path / "birds", ["auk", "jay", "owl"], 20)
    return tmp_path


def load(data, root):
    return DATASETS[data.kind](data, root)


def pixels(split):
    return torch.cat(list(split.chunks(7)))


def epoch(split, augment, *, views=2, epoch=1, batch_size=8, key=("teacher", 0)):
    stream = TrainStream(
        split, Normaliser(split), augment, batch_size=batch_size, views=views, key=key
    )
    return list(stream.epoch(epoch))


def test_classes_are_those_of_torchvisions_image_folder(birds):
    theirs = ImageFolder(str(birds / "birds"))
    splits = load(folder_data(), birds)
    parts = (splits.train, splits.validation, splits.test)

    assert splits.n_classes == len(theirs.classes) == 3
    assert [len(part.labels) for part in parts] == [42, 6, 12]
    assert all(part.labels.bincount().tolist() == [len(part.labels) // 3] * 3 for part in parts)
    ours = sorted(tuple(row.flatten().tolist()) for part in parts for row in pixels(part))
    whole = [
        middle_of(reference.pil_to_tensor(theirs.loader(path)), SIZE, SIZE).flatten().tolist()
        for path, _ in theirs.samples
    ]
    assert ours == sorted(map(tuple, whole))


def test_a_class_keeps_its_images_together_with_its_label(birds):
    folder = birds / "birds" / "owl"
    for file in folder.iterdir():
        write(torch.full((3, 20, 20), 250, dtype=torch.uint8), file)

    splits = load(folder_data(), birds)

    for part in (splits.train, splits.validation, splits.test):
        bright = pixels(part).float().mean((1, 2, 3)) > 245
        assert torch.equal(bright, part.labels == 2)


@pytest.mark.parametrize(
    ("given_parts", "sizes"),
    [
        (("train", "val"), [54, 6, 60]),
        (("train", "test"), [54, 6, 60]),
        (("train", "val", "test"), [60, 60, 60]),
    ],
)
def test_sub_folders_that_are_splits_are_kept_as_they_are(tmp_path, given_parts, sizes):
    for part in given_parts:
        fill(tmp_path / "birds" / part, ["auk", "jay"], 30)

    splits = load(folder_data(), tmp_path)

    assert [len(p.labels) for p in (splits.train, splits.validation, splits.test)] == sizes


def test_splits_of_other_classes_are_refused(tmp_path):
    fill(tmp_path / "birds" / "train", ["auk", "jay"], 12)
    fill(tmp_path / "birds" / "val", ["auk", "owl"], 12)

    with pytest.raises(MachineError, match=r"only one of train and val .* has class 'jay'"):
        load(folder_data(), tmp_path)


@pytest.mark.parametrize(
    ("classes", "said"), [([], "no sub-folder with images"), (["auk"], "of one class")]
)
def test_a_folder_without_classes_is_refused_and_the_layout_is_named(tmp_path, classes, said):
    (tmp_path / "birds").mkdir()
    fill(tmp_path / "birds", classes, 30)

    with pytest.raises(MachineError, match=said) as caught:
        load(folder_data(), tmp_path)
    assert "a sub-folder of images for each class" in caught.value.hint


@pytest.mark.parametrize("name", ["../birds", "/birds", "a/../b", ".hidden", ""])
def test_a_folder_outside_the_data_sets_cannot_be_named(name):
    with pytest.raises(ValueError, match="folder"):
        ImageFolderData(kind="image-folder", folder=name)


@pytest.mark.parametrize(
    "augment",
    [
        Augmentation(),
        Augmentation(padding=2, flip=True),
        Augmentation(padding=1, rotation=20.0, flip=True),
    ],
)
def test_a_streamed_folder_gives_the_bits_of_a_resident_one(birds, augment):
    resident, streamed = (
        load(folder_data(augment=augment, resident_bytes=limit), birds) for limit in (1 << 30, 0)
    )

    assert isinstance(resident.train.images, torch.Tensor)
    assert isinstance(streamed.train.images, FileImages)
    for part in ("train", "validation", "test"):
        assert torch.equal(pixels(getattr(resident, part)), pixels(getattr(streamed, part)))
    pairs = zip(epoch(resident.train, augment), epoch(streamed.train, augment), strict=True)
    for ours, theirs in pairs:
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.ids, theirs.ids)
        assert torch.equal(ours.labels, theirs.labels)
        assert ours.largest_class == theirs.largest_class


@pytest.mark.parametrize("augment", [Augmentation(padding=2, flip=True), RESIZED])
def test_the_number_of_loaders_does_not_change_a_bit(birds, augment, monkeypatch):
    shown = []
    for loaders in (1, 3):
        monkeypatch.setattr("icckd.train.data.decode.available_cpus", lambda n=loaders: n)
        split = load(folder_data(augment=augment, resident_bytes=0), birds).train
        shown.append(torch.cat([batch.images for batch in epoch(split, augment)]))

    assert torch.equal(*shown)


def test_resized_crops_depend_on_seed_view_epoch_and_image_alone(birds):
    split = load(folder_data(augment=RESIZED), birds).train
    first = {
        int(sample): image
        for batch in epoch(split, RESIZED, batch_size=8)
        for sample, image in zip(batch.ids, batch.images, strict=False)
    }
    other_batches = epoch(split, RESIZED, batch_size=5, views=1)
    later, seeded = epoch(split, RESIZED, epoch=2), epoch(split, RESIZED, key=("teacher", 1))

    shared = 0
    for batch in other_batches:
        for sample, image in zip(batch.ids.tolist(), batch.images, strict=True):
            if sample in first:
                assert torch.equal(image, first[sample])
                shared += 1
    assert shared > 20
    for batches in (later, seeded):
        same = [
            torch.equal(image, first[int(sample)])
            for batch in batches
            for sample, image in zip(batch.ids, batch.images, strict=False)
            if int(sample) in first
        ]
        assert not any(same)


def test_the_two_views_of_a_resized_crop_differ(birds):
    split = load(folder_data(augment=RESIZED), birds).train
    batch = epoch(split, RESIZED)[0]
    first, second = batch.images.chunk(2)

    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_resized_crop_is_a_box_of_its_image_resized_and_mirrored_or_not(birds):
    split = load(folder_data(augment=RESIZED), birds).train
    normalise = Normaliser(split)
    for batch in epoch(split, RESIZED, views=1):
        for sample, image in zip(batch.ids.tolist(), batch.images, strict=True):
            stream = generator(("teacher", 0, "view1.box", 1, sample))
            whole = split.images.original(sample)
            box = draw_box(*whole.shape[1:], ResizedCrop(), stream)
            cut = reference.resized_crop(whole, *box, [SIZE, SIZE], antialias=True)
            shown = normalise(cut.permute(1, 2, 0)[None])[0]
            assert torch.equal(image, shown) or torch.equal(image, shown.flip(2))


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.05, 1), st.floats(1, 3), st.integers(0))
def test_a_box_lies_in_the_image_with_its_area_and_aspect(height, width, smallest, aspect, seed):
    crop = ResizedCrop(smallest=smallest, aspect=aspect)
    box = draw_box(height, width, crop, torch.Generator().manual_seed(seed % 2**31))

    assert min(box.top, box.left) >= 0
    assert min(box.height, box.width) >= 1
    assert box.top + box.height <= height
    assert box.left + box.width <= width
    assert (box.width - 0.5) / (box.height + 0.5) <= aspect
    assert (box.height - 0.5) / (box.width + 0.5) <= aspect


def test_boxes_are_distributed_as_those_of_torchvision():
    image, crop = torch.zeros(3, 60, 80, dtype=torch.uint8), ResizedCrop()
    streams = (generator(("box", number)) for number in range(3000))
    ours = torch.tensor([draw_box(60, 80, crop, stream) for stream in streams])
    torch.manual_seed(0)
    get = RandomResizedCrop.get_params
    theirs = torch.tensor([get(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)])

    for column in range(4):
        for share in (0.1, 0.25, 0.5, 0.75, 0.9):
            mine, reference_value = (
                torch.quantile(boxes[:, column].double(), share) for boxes in (ours, theirs)
            )
            assert abs(mine - reference_value) <= 3


def test_a_damaged_image_is_named_with_what_to_do(birds):
    file = birds / "birds" / "jay" / "003.jpg"
    file.write_bytes(b"no image")

    with pytest.raises(MachineError, match=r"jay/003\.jpg cannot be read") as caught:
        load(folder_data(), birds)
    assert "whole copy" in caught.value.hint


def test_grey_and_png_images_become_rgb(tmp_path):
    fill(tmp_path / "birds", ["auk", "jay"], 12, "png")
    grey = picture(1)[:1]
    write(grey, tmp_path / "birds" / "auk" / "grey.JPEG")

    splits = load(folder_data(), tmp_path)

    assert splits.in_channels == 3
    assert sum(len(p.labels) for p in (splits.train, splits.validation, splits.test)) == 25


def test_whole_images_are_resized_by_the_shorter_side_and_cut_in_the_middle():
    image = picture(3, 40, 30)
    resized = reference.resize(image, [12, 9], antialias=True)
    expected = reference.resize(image, [16, 12], antialias=True)[:, 2:14].permute(1, 2, 0)

    assert torch.equal(middle_of(image, 12, 12), expected)
    assert torch.equal(middle_of(resized, 9, 5), resized[:, 3:8, 2:7].permute(1, 2, 0))


def test_a_turn_is_torchvisions_rotation_to_the_nearest_pixel():
    image = picture(5, 21, 21)
    augment = Augmentation(rotation=90.0)
    crops = Crops(augment, 21, 21, torch.device("cpu"))
    flat = crops.pixels(image.permute(1, 2, 0)[None])
    corner, unmirrored = torch.tensor([0]), torch.tensor([0])
    for degrees in (-90, -17, 0, 8, 33, 90):
        turned = crops(flat, corner, unmirrored, torch.tensor([degrees * torch.pi / 180]))[0]
        theirs = reference.rotate(image, degrees, InterpolationMode.NEAREST).permute(1, 2, 0)
        assert (turned == theirs).float().mean() > 0.99, degrees


def test_a_turn_by_nothing_gives_the_crop_that_is_not_turned():
    images = torch.stack([picture(n, 9, 9) for n in range(6)]).permute(0, 2, 3, 1)
    plain, turning = (
        Crops(Augmentation(padding=2, flip=True, rotation=rotation), 9, 9, torch.device("cpu"))
        for rotation in (0.0, 30.0)
    )
    corner, mirror = plain.draw(6, ("a",), 1, 1)
    drawn = turning.draw(6, ("a",), 1, 1)
    base = torch.arange(6)

    shown = turning(turning.pixels(images), base * turning.area + drawn[0], mirror, torch.zeros(6))

    assert torch.equal(drawn[1], mirror)
    assert drawn[2].abs().max() <= torch.pi / 6
    assert torch.equal(shown, plain(plain.pixels(images), base * plain.area + corner, mirror))


def test_statistics_of_a_folder_come_from_evenly_spaced_images(birds, monkeypatch):
    monkeypatch.setattr("icckd.train.datasets.folders.SAMPLED", 10)
    train = load(folder_data(), birds).train
    rows = torch.arange(10) * 42 // 10

    assert train.statistics == pixel_statistics(train.take(rows))
    exact = train.images.double().flatten(0, 2)
    sample = Split(images=train.images, labels=train.labels, subclasses=None)
    assert pixel_statistics(sample).mean == pytest.approx(exact.mean(0).tolist())
    assert pixel_statistics(sample).std == pytest.approx(exact.std(0, unbiased=False).tolist())


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Tiny ImageNet's layout with 2 classes of 30 images, and 12 images in `val`."""
    root = tmp_path / "tiny-imagenet-200"
    rows = []
    for index, name in enumerate(("n01", "n02")):
        fill(root / "train" / name, ["images"], 30)
        for file in (root / "train" / name / "images").iterdir():
            write(picture(int(file.stem) + 100 * index, 64, 64), file)
    (root / "val" / "images").mkdir(parents=True)
    for number in range(12):
        name = f"val_{number}.JPEG"
        write(picture(900 + number, 64, 64), root / "val" / "images" / name)
        rows.append(f"{name}\t{('n02', 'n01')[number % 2]}\t0\t0\t62\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    counts = {"train": 60, "val": 12}
    monkeypatch.setattr("icckd.train.datasets.folders.TINY_IMAGENET_COUNTS", counts)
    return root


def tiny_data(**settings):
    return TinyImagenetData(kind="tiny-imagenet", validation=10, **settings)


def test_tiny_imagenet_is_read_from_its_own_layout(tiny):
    splits = load(tiny_data(), tiny.parent)

    assert splits.train.images.shape == (50, 64, 64, 3)
    assert len(splits.validation.labels) == 10
    assert splits.n_classes == 2
    names = sorted(f"val_{n}.JPEG" for n in range(12))
    labels = [int(name[4:-5]) % 2 == 0 for name in names]
    assert splits.test.labels.tolist() == [int(label) for label in labels]
    near = splits.test.images[1].permute(2, 0, 1).float() - picture(901, 64, 64)
    assert near.abs().mean() < 8
    assert TinyImagenetData(kind="tiny-imagenet").augment == Augmentation(rotation=20.0, flip=True)


def test_an_incomplete_tiny_imagenet_says_what_is_missing(tiny):
    next((tiny / "train" / "n02" / "images").iterdir()).unlink()
    with pytest.raises(MachineError, match="holds 59 images, not 60") as caught:
        load(tiny_data(), tiny.parent)
    assert "icckd fetch tiny-imagenet" in caught.value.hint

    (tiny / "val" / "val_annotations.txt").write_text("x\ty\n")
    with pytest.raises(MachineError, match="holds 59 images"):
        load(tiny_data(), tiny.parent)
    shutil.rmtree(tiny / "val")
    with pytest.raises(MachineError, match="val_annotations"):
        load(tiny_data(), tiny.parent)


def test_imagenet_is_streamed_and_keeps_its_official_normalisation(tmp_path, monkeypatch):
    counts = {"train": 40, "val": 10}
    monkeypatch.setattr("icckd.train.datasets.folders.IMAGENET_COUNTS", counts)
    fill(tmp_path / "imagenet" / "train", ["n01", "n02"], 20)
    fill(tmp_path / "imagenet" / "val", ["n01", "n02"], 5)
    data = ImagenetData(kind="imagenet", validation=10, size=32)

    splits = load(data, tmp_path)

    assert isinstance(splits.train.images, FileImages)
    assert splits.train.statistics.mean == (0.485 * 255, 0.456 * 255, 0.406 * 255)
    assert [len(p.labels) for p in (splits.train, splits.validation, splits.test)] == [30, 10, 10]
    name = splits.test.images.original(0)
    assert torch.equal(splits.test.images[:1][0], middle_of(name, 37, 32))
    batch = epoch(splits.train, data.augment)[0]
    assert batch.images.shape == (16, 3, 32, 32)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MachineError, match="not 1281167") as caught:
        load(data, tmp_path)
    assert "fetch" not in caught.value.hint


def settled(folder):
    """Make all files look old enough to be remembered."""
    for file in folder.rglob("*"):
        os.utime(file, ns=(10**18, 10**18))


def test_unchanged_folders_are_not_read_again(birds, monkeypatch):
    settled(birds / "birds")
    before = fingerprint(folder_data(), birds)
    read = []
    original = fingerprints.inspect

    def counted(file):
        read.append(file.name)
        return original(file)

    monkeypatch.setattr(fingerprints, "inspect", counted)
    assert fingerprint(folder_data(split_seed=5), birds) == before
    assert read == []
    file = birds / "birds" / "jay" / "002.jpg"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    assert fingerprint(folder_data(), birds) != before
    assert len(read) == 20  # the folder of one class
    shutil.rmtree(cache_folder())
    content[-3] ^= 1
    file.write_bytes(content)
    assert fingerprint(folder_data(), birds) == before


def test_files_that_just_changed_are_not_remembered(birds, monkeypatch):
    before = fingerprint(folder_data(), birds)
    files = sorted((birds / "birds" / "owl").iterdir())
    content = bytearray(files[0].read_bytes())
    content[-3] ^= 1
    about = files[0].stat()
    with files[0].open("r+b") as file:
        file.write(content)
    os.utime(files[0], ns=(about.st_atime_ns, about.st_mtime_ns))

    assert fingerprint(folder_data(), birds) != before


def fingerprint_of_version_1(folder):
    """The rule of the first fingerprints: each sub-folder's name and the digest of its files."""
    total = sha256()
    for here in sorted(folder.iterdir()):
        lines = sha256()
        for file in sorted(here.iterdir()):
            content = sha256(file.read_bytes()).hexdigest()
            lines.update(f"{file.name} {file.stat().st_size} {content}\n".encode())
        total.update(f"{here.name} {lines.hexdigest()}\n".encode())
    return total.hexdigest()


def test_a_folder_of_which_all_is_read_as_ever_keeps_its_fingerprint(birds):
    write(picture(1)[:1], birds / "birds" / "owl" / "grey.png")
    Image.new("RGBA", (9, 9), (1, 2, 3, 255)).save(birds / "birds" / "owl" / "opaque.png")
    Image.new("CMYK", (9, 9)).save(birds / "birds" / "owl" / "ink.jpg")

    assert fingerprint(folder_data(), birds) == fingerprint_of_version_1(birds / "birds")


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return Image.new("RGB", (9, 7)), {"exif": exif}


@pytest.mark.parametrize(
    "made",
    [
        lambda: (Image.new("I;16", (9, 9), 9000), {}),
        lambda: (Image.new("RGBA", (9, 9), (1, 2, 3, 4)), {}),
        lambda: (Image.new("P", (9, 9)), {"transparency": 0}),
        turned,
    ],
)
def test_a_file_that_is_read_anew_changes_the_fingerprint_of_its_folder(birds, made):
    image, how = made()
    image.save(birds / "birds" / "owl" / "new.png", **how)

    assert fingerprint(folder_data(), birds) != fingerprint_of_version_1(birds / "birds")


def test_a_folder_whose_classes_count_anew_has_another_fingerprint(birds):
    before = fingerprint(folder_data(), birds)
    (birds / "birds" / "empty").mkdir()

    assert fingerprint(folder_data(), birds) != before
    assert load(folder_data(), birds).n_classes == 3


@pytest.mark.parametrize("name", ["README.txt", "owl/notes.txt", "owl/scan.bmp", "owl/more/1.png"])
def test_what_no_stage_reads_changes_no_fingerprint(birds, name):
    before = fingerprint(folder_data(), birds)
    (birds / "birds" / name).parent.mkdir(exist_ok=True)
    (birds / "birds" / name).write_text("nothing that is read")

    assert fingerprint(folder_data(), birds) == before


def test_an_image_behind_a_link_that_leads_up_counts(birds):
    (birds / "birds" / "misc").symlink_to("..")
    write(picture(1), birds / "000.png")
    before = fingerprint(folder_data(), birds)
    write(picture(2), birds / "001.png")

    assert fingerprint(folder_data(), birds) != before
    assert load(folder_data(), birds).n_classes == 4


def test_a_name_that_is_not_utf_8_is_fingerprinted_and_read(birds):
    file = birds / "birds" / "jay" / "003.jpg"
    os.rename(os.fsencode(file), os.fsencode(file.with_name("caf")) + b"\xe9.jpg")

    assert len(fingerprint(folder_data(), birds)) == 64
    assert load(folder_data(), birds).n_classes == 3


def test_all_damaged_images_are_named_at_once(birds):
    for name in ("jay/003.jpg", "owl/001.jpg", "auk/007.jpg"):
        (birds / "birds" / name).write_bytes(b"<html>")

    with pytest.raises(DataError) as refused:
        survey(folder_data(), birds).require_sound()

    for name in ("jay/003.jpg", "owl/001.jpg", "auk/007.jpg"):
        assert name in refused.value.message
    assert "whole copies" in refused.value.hint


def test_images_are_trained_on_as_a_viewer_shows_them(tmp_path):
    fill(tmp_path / "birds", ["auk", "jay"], 12, "png")
    for file in (tmp_path / "birds" / "jay").iterdir():
        Image.new("I;16", (20, 20), 45000).save(file)

    splits = load(folder_data(), tmp_path)

    for part in (splits.train, splits.validation, splits.test):
        assert (pixels(part)[part.labels == 1] == 175).all()


@pytest.mark.parametrize("change", ["rename", "move", "remove", "add"])
def test_names_classes_and_files_count_in_a_fingerprint(birds, change):
    before = fingerprint(folder_data(), birds)
    file = birds / "birds" / "jay" / "002.jpg"
    if change == "rename":
        file.rename(file.with_name("x.jpg"))
    elif change == "move":
        file.rename(birds / "birds" / "owl" / "x.jpg")
    elif change == "remove":
        file.unlink()
    else:
        shutil.copy(file, file.with_name("x.jpg"))

    assert fingerprint(folder_data(), birds) != before


def test_a_fingerprint_follows_the_content_wherever_it_lies(birds):
    before = fingerprint(folder_data(), birds)
    (birds / "birds").rename(birds / "vogels")
    (birds / "vogels" / ".hidden").mkdir()
    (birds / "vogels" / "owl" / "notes.md").write_text("not an image")
    moved = ImageFolderData(kind="image-folder", folder="vogels")

    assert fingerprint(moved, birds) == before


@pytest.mark.parametrize("damage", ["{", "[1]", None])
def test_a_cache_that_is_damaged_or_cannot_be_written_costs_time_alone(birds, damage):
    settled(birds / "birds")
    before = fingerprint(folder_data(), birds)
    (file,) = cache_folder().iterdir()
    if damage is None:
        shutil.rmtree(cache_folder())
        cache_folder().parent.mkdir(exist_ok=True)
        cache_folder().write_text("a file where a folder should be")
    else:
        file.write_text(damage)

    assert fingerprint(folder_data(), birds) == before


def test_many_readers_of_one_cache_agree(birds):
    settled(birds / "birds")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fingerprint(folder_data(), birds), range(8)))

    assert len(set(found)) == 1


def test_stages_train_on_a_streamed_folder_as_on_a_resident_one(tmp_path, run_teacher, run_student):
    fill(tmp_path / "birds", ["auk", "jay", "owl"], 30)
    ends = []
    for limit in (1 << 30, 0):
        data = folder_data(augment=Augmentation(padding=1, flip=True), resident_bytes=limit)
        teacher = run_teacher(data=data, training=Training(epochs=2, batch_size=16))
        student = run_student(teacher.folder, data=data, training=Training(epochs=1, batch_size=16))
        ends.append((teacher.weights, student.weights, teacher.values["teacher.nll"]))

    assert ends[0] == ends[1]


def test_a_batch_that_no_set_of_images_fills_is_refused(tmp_path, run_teacher):
    fill(tmp_path / "birds", ["auk", "jay"], 30)

    with pytest.raises(StageError, match="a batch of 64 images is more than the 42"):
        run_teacher(data=folder_data(), training=Training(epochs=1))


def test_linked_folders_count_as_if_they_lay_there_and_circles_end(birds):
    before = fingerprint(folder_data(), birds)
    (birds / "birds" / "owl").rename(birds / "elsewhere")
    (birds / "birds" / "owl").symlink_to(birds / "elsewhere")
    (birds / "birds" / "jay" / "up").symlink_to(birds / "birds")

    assert fingerprint(folder_data(), birds) == before
    assert load(folder_data(), birds).n_classes == 3
    next((birds / "elsewhere").iterdir()).unlink()
    assert fingerprint(folder_data(), birds) != before


def test_a_folder_without_images_is_missing_data(tmp_path):
    (tmp_path / "birds" / "auk").mkdir(parents=True)

    with pytest.raises(MachineError, match="there are no images"):
        fingerprint(folder_data(), tmp_path)
