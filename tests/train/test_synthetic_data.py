"""Synthetic images: their formula, their hidden sub-classes, and that a model can find them."""

import pytest
import torch
from pydantic import ValidationError

from icckd.study.data import DATASETS, class_count, has_subclasses
from icckd.train.data.files import fingerprint
from icckd.train.datasets.synthetic import SyntheticData


def data(**settings):
    return SyntheticData(kind="synthetic", **settings)


def load(tmp_path, **settings):
    return DATASETS["synthetic"](data(**settings), tmp_path)


def test_sizes_labels_and_sub_classes_are_as_declared(tmp_path):
    splits = load(tmp_path, classes=3, subclasses=4, size=9, train=120, validation=60, test=24)

    assert [len(p.labels) for p in (splits.train, splits.validation, splits.test)] == [120, 60, 24]
    for part in (splits.train, splits.validation, splits.test):
        assert part.images.shape == (len(part.labels), 9, 9, 1)
        assert torch.equal(part.labels, part.subclasses // 4)
        assert part.subclasses.bincount().tolist() == [len(part.labels) // 12] * 12
    assert splits.n_classes == class_count(data(classes=3)) == 3


def test_without_noise_images_of_a_sub_class_are_equal_and_others_differ(tmp_path):
    train = load(tmp_path, classes=3, subclasses=2, noise=0.0, train=60).train
    kinds = {tuple(image.flatten().tolist()) for image in train.images}
    pairs = {
        (int(s), tuple(i.flatten().tolist()))
        for s, i in zip(train.subclasses, train.images, strict=True)
    }

    assert len(kinds) == len(pairs) == 6


def test_a_pattern_has_the_contrast_and_noise_the_deviation_that_is_declared(tmp_path):
    quiet = load(tmp_path, noise=0.0, classes=50, subclasses=20, train=1000, size=16).train
    noisy = load(tmp_path, noise=0.5, classes=50, subclasses=20, train=1000, size=16).train
    pixels = quiet.images.double()
    noise = noisy.images.double() - pixels
    inside = (pixels > 80) & (pixels < 180)

    # Two patterns of deviation 1 each, 32 grey levels a unit.
    assert float((pixels - 128).square().mean().sqrt()) == pytest.approx(32 * 2**0.5, rel=0.05)
    assert float(noise[inside].std()) == pytest.approx(16, rel=0.02)


def test_the_images_follow_from_the_generator_seed_and_differ_between_splits(tmp_path):
    first, again, other = (load(tmp_path, generator_seed=seed) for seed in (0, 0, 1))

    assert torch.equal(first.train.images, again.train.images)
    assert not torch.equal(first.train.images, other.train.images)
    assert not torch.equal(first.train.images[:200], first.validation.images)
    longer = load(tmp_path, validation=300)
    assert torch.equal(first.train.images, longer.train.images)


def test_one_sub_class_a_class_hides_nothing(tmp_path):
    assert load(tmp_path, subclasses=1).train.subclasses is None
    assert not has_subclasses(data(subclasses=1))
    assert has_subclasses(data())


def test_they_need_no_files(tmp_path):
    assert fingerprint(data(), tmp_path / "none") == fingerprint(data(noise=2.0), tmp_path)


def test_a_resized_crop_is_for_sets_of_files():
    with pytest.raises(ValidationError, match="image-folder and imagenet"):
        data(augment={"resized_crop": {}})


def test_stages_train_on_them_and_find_the_sub_classes(run_teacher, run_student):
    small = data(classes=6, train=240, validation=60, test=120, noise=0.3)
    teacher = run_teacher(data=small)
    student = run_student(teacher.folder, data=small)

    assert teacher.values["teacher.top1"] > 100 / 6 * 2
    assert teacher.values["teacher.subclass_features"] > 70
    assert 0 <= teacher.values["teacher.top1"] <= teacher.values["teacher.top5"] <= 100
    assert student.values["student.teacher_kl"] > 0
    assert 0 <= student.values["student.agreement"] <= 100
