"""Every source of randomness has its own stream (design law 2)."""

import json
from hashlib import blake2b, shake_128

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.errors import MachineError
from icckd.study.data import Augmentation
from icckd.train.data.splits import Normaliser, Split
from icckd.train.data.stream import TrainStream
from icckd.train.data.views import Crops
from icckd.train.networks import build_model
from icckd.train.networks.cnn import CnnModel
from icckd.train.seeding import _fresh_state, generator, initialise


def images(n=23, size=5, channels=2):
    pixels = torch.arange(n * size * size * channels) % 251
    return Split(
        images=pixels.to(torch.uint8).view(n, size, size, channels),
        labels=torch.arange(n) % 3,
        subclasses=None,
    )


def stream(*, key=("teacher", 0), views=2, padding=1, flip=True, batch_size=5):
    split = images()
    augment = Augmentation(padding=padding, flip=flip)
    normalise = Normaliser(split)
    return TrainStream(split, normalise, augment, batch_size=batch_size, views=views, key=key)


def drawn(*, padding=1, flip=True, rotation=0.0):
    augment = Augmentation(padding=padding, flip=flip, rotation=rotation)
    return Crops(augment, 5, 5, torch.device("cpu")).draw(23, ("teacher", 0), 1, 4)


def view(batches, number):
    size = len(batches[0].labels)
    return torch.cat([b.images[(number - 1) * size : number * size] for b in batches])


def ids(batches):
    return torch.cat([batch.ids for batch in batches])


def test_a_stream_depends_on_every_part_of_its_key_and_on_nothing_else():
    def draw(*key):
        return torch.rand(4, generator=generator(key)).tolist()

    first = draw("teacher", 1, "order", 2)
    torch.manual_seed(5)
    others = [("teacher", 1, "order", 3), ("teacher", 2, "order", 2), ("student", 1, "order", 2)]

    assert draw("teacher", 1, "order", 2) == first
    assert draw("a", 12) != draw("a1", 2)
    assert all(draw(*key) != first for key in others)


def test_keys_whose_digests_agree_in_32_bits_give_other_draws():
    """A seed of 32 bits, all that `manual_seed` takes, made the first pair's streams equal."""

    def key(seed):
        return ("teacher", seed, "order", 1)

    def short(seed):
        return blake2b(json.dumps(key(seed)).encode(), digest_size=4).digest()

    def first_word(seed):
        return shake_128(json.dumps(key(seed)).encode()).digest(4)

    assert short(14221) == short(26011)
    assert first_word(8965) == first_word(59023)
    for one, other in [(14221, 26011), (8965, 59023), (7, 7 + 2**32)]:
        orders = [torch.randperm(500, generator=generator(key(seed))) for seed in (one, other)]
        same = int((orders[0] == orders[1]).sum())
        assert same < 10, (one, other)


@pytest.mark.slow
def test_a_hundred_thousand_streams_begin_differently():
    """They would collide about once each time if their states held 32 bits."""
    begun = {
        torch.randint(2**62, (1,), generator=generator(("t", i))).item() for i in range(100_000)
    }

    assert len(begun) == 100_000


def test_streams_are_uniform_normal_and_independent_of_each_other():
    values = torch.stack([torch.rand(64, generator=generator(("t", i))) for i in range(4000)])
    normal = torch.stack([torch.randn(64, generator=generator(("t", i))) for i in range(4000)])

    assert abs(values.mean() - 0.5) < 5 * 12**-0.5 / 506
    assert abs(normal.mean()) < 5 / 506
    assert abs(normal.var() - 1) < 5 * 2**0.5 / 506
    between = torch.corrcoef(normal.T)[~torch.eye(64, dtype=torch.bool)]
    neighbours = torch.corrcoef(torch.stack([normal[:-1, 0], normal[1:, 0]]))[0, 1]
    assert between.abs().max() < 6 * 4000**-0.5
    assert abs(neighbours) < 5 * 4000**-0.5


def test_a_torch_that_keeps_its_generators_state_otherwise_is_refused(monkeypatch):
    monkeypatch.setattr("icckd.train.seeding._FIRST_WORD", 4)
    _fresh_state.cache_clear()

    with pytest.raises(MachineError, match="keeps the state of its random generator in another"):
        generator(("a",))


def test_view_1_and_the_order_are_the_same_with_one_and_two_views():
    one, two = list(stream(views=1).epoch(3)), list(stream(views=2).epoch(3))

    assert torch.equal(ids(one), ids(two))
    assert torch.equal(view(one, 1), view(two, 1))
    assert not torch.equal(view(two, 1), view(two, 2))


def test_the_order_does_not_depend_on_the_augmentation():
    orders = [
        ids(list(stream(padding=padding, flip=flip).epoch(1)))
        for padding in (0, 2)
        for flip in (False, True)
    ]

    assert all(torch.equal(order, orders[0]) for order in orders)


def test_flips_do_not_shift_the_crops_and_crops_do_not_shift_the_flips():
    plain = drawn(flip=False)
    flipped = drawn(flip=True)
    wider = drawn(flip=True, padding=2)

    assert torch.equal(plain[0], flipped[0])
    assert torch.equal(flipped[1], wider[1])


def test_epochs_differ_and_an_epoch_can_be_drawn_without_those_before_it():
    used, fresh = stream(), stream()
    batches = [list(used.epoch(epoch)) for epoch in (1, 2)]

    assert not torch.equal(ids(batches[0]), ids(batches[1]))
    assert torch.equal(view(batches[1], 2), view(list(fresh.epoch(2)), 2))


def test_replicates_and_seeds_of_a_student_have_their_own_order():
    keys = [("student", 0, 0), ("student", 0, 1), ("student", 1, 0)]
    orders = [tuple(ids(list(stream(key=key, views=1).epoch(1))).tolist()) for key in keys]

    assert len(set(orders)) == 3


@settings(max_examples=25, deadline=None)
@given(padding=st.integers(0, 2), flip=st.booleans(), epoch=st.integers(1, 50))
def test_a_view_is_a_zero_padded_crop_of_its_own_image_mirrored_or_not(padding, flip, epoch):
    split = images()
    normalise = Normaliser(split)
    for batch in stream(padding=padding, flip=flip).epoch(epoch):
        for sample, shown in zip(batch.ids.repeat(2), batch.images, strict=True):
            wide = torch.zeros(5 + 2 * padding, 5 + 2 * padding, 2, dtype=torch.uint8)
            wide[padding : padding + 5, padding : padding + 5] = split.images[sample]
            crops = [
                wide[top : top + 5, left : left + 5]
                for top in range(2 * padding + 1)
                for left in range(2 * padding + 1)
            ]
            crops += [crop.flip(1) for crop in crops] if flip else []
            assert any(torch.equal(shown, normalise(crop[None])[0]) for crop in crops)


def test_batches_carry_labels_and_the_size_of_the_largest_class_and_drop_the_rest():
    batches = list(stream(batch_size=5).epoch(1))

    assert len(batches) == 4
    assert len(set(ids(batches).tolist())) == 20
    for batch in batches:
        assert torch.equal(batch.labels, images().labels[batch.ids])
        assert batch.largest_class == batch.labels.bincount().max()


def test_training_images_have_mean_0_and_deviation_1_per_channel():
    split = images()
    shown = Normaliser(split)(split.images)

    torch.testing.assert_close(shown.mean((0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(shown.std((0, 2, 3), unbiased=False), torch.ones(2))


def test_a_weight_depends_on_its_name_and_not_on_other_layers():
    def build(widths, key=("teacher", 0, "init")):
        settings = CnnModel(widths=widths)
        model = build_model(settings, in_channels=1, n_classes=5, key=key, device="cpu")
        return model.state_dict()

    torch.manual_seed(1)
    small = build((4, 6, 8))
    torch.manual_seed(2)
    wide = build((4, 9, 8))

    assert torch.equal(small["block1.conv.weight"], wide["block1.conv.weight"])
    assert torch.equal(small["classifier.weight"], wide["classifier.weight"])
    other = build((4, 6, 8), key=("student", 0, 0, "init"))
    assert not torch.equal(small["classifier.weight"], other["classifier.weight"])


def test_a_module_without_a_rule_is_refused():
    with pytest.raises(TypeError, match="no initialisation rule for LayerNorm 'x'"):
        initialise(torch.nn.ModuleDict({"x": torch.nn.LayerNorm(2)}), ("a",))
