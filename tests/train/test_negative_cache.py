"""The ring of past embeddings against a loop."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from icckd.train.losses.base import group_by_class
from icckd.train.losses.contrastive import EmbeddingCache

CLASSES, FEATURES = 3, 2


def push(cache, keys, labels, ids, step):
    capacity = int(labels.bincount().max())
    cache.push(keys, ids, step, group_by_class(labels, CLASSES, capacity))


def push_in_a_loop(cache, keys, labels, ids, step):
    for key, label, sample in zip(keys, labels, ids, strict=True):
        at = int(cache.Q_ptr[label])
        cache.Q_emb[label, at] = key
        cache.Q_id[label, at] = sample
        cache.Q_step[label, at] = step
        cache.Q_ptr[label] = (at + 1) % cache.Q_id.shape[1]


batches = st.lists(st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=20), max_size=6)


@settings(max_examples=80, deadline=None)
@given(per_class=st.integers(1, 7), batches=batches, seed=st.integers(0, 2**31))
def test_a_push_is_bit_identical_to_a_loop_and_never_mixes_classes(per_class, batches, seed):
    generator = torch.Generator().manual_seed(seed)
    fast = EmbeddingCache(CLASSES, per_class, FEATURES)
    slow = EmbeddingCache(CLASSES, per_class, FEATURES)
    label_of, next_id = {}, 0
    for step, classes in enumerate(batches):
        labels = torch.tensor(classes)
        ids = torch.arange(next_id, next_id + len(labels))
        next_id += len(labels)
        label_of |= dict(zip(ids.tolist(), classes, strict=True))
        keys = torch.randn(len(labels), FEATURES, generator=generator)
        push(fast, keys, labels, ids, step)
        push_in_a_loop(slow, keys, labels, ids, step)

    for name, buffer in slow.state_dict().items():
        assert torch.equal(fast.state_dict()[name], buffer), name
    for label, row in enumerate(fast.Q_id.tolist()):
        assert all(label_of[sample] == label for sample in row if sample >= 0)
        held = sum(sample >= 0 for sample in row)
        assert held == min(per_class, sum(known == label for known in label_of.values()))


def test_a_cache_is_restored_from_its_state():
    cache = EmbeddingCache(CLASSES, 4, FEATURES)
    push(cache, torch.randn(5, FEATURES), torch.tensor([0, 1, 1, 2, 0]), torch.arange(5), 3)
    other = EmbeddingCache(CLASSES, 4, FEATURES)

    other.load_state_dict(cache.state_dict())
    for each in (cache, other):
        push(each, torch.ones(2, FEATURES), torch.tensor([1, 1]), torch.tensor([8, 9]), 4)

    assert all(torch.equal(a, b) for a, b in zip(cache.buffers(), other.buffers(), strict=True))


def test_nbytes_is_the_exact_size_of_what_is_stored():
    cache = EmbeddingCache(5, 64, 32)

    assert cache.nbytes == 5 * 64 * 32 * 4 + 5 * 64 * 8 + 5 * 64 * 8 + 5 * 8
    assert set(cache.state_dict()) == {"Q_emb", "Q_id", "Q_step", "Q_ptr"}


def test_groups_lay_rows_out_by_class_in_order():
    groups = group_by_class(torch.tensor([2, 0, 2, 2]), CLASSES, 3)

    assert groups.counts.tolist() == [1, 0, 3]
    assert groups.spread(torch.tensor([10, 11, 12, 13]), fill=-1).tolist() == [
        [11, -1, -1],
        [-1, -1, -1],
        [10, 12, 13],
    ]
