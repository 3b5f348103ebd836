"""In a pack a stage has the bits that it has in any pack: of any size, at any place, by any mates.

On CUDA a pack has one size.

Whole steps are taken with random images: forward and backward pass, intra-class loss with its
caches, optimizer, evaluation. What would break it, and is therefore not used: a mean over
positions, a batch norm whose channels fill no whole vectors, three replicas of grey images.
"""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from icckd.study.packing import ON_CUDA, unit_of
from icckd.study.teacher import Teacher
from icckd.study.training import AdamWOptimizer, Numerics, Training
from icckd.train.distillers.base import Pairing
from icckd.train.distillers.logits import Kd, KdDistiller
from icckd.train.losses.base import LossInputs
from icckd.train.losses.contrastive import IntraClass, IntraLoss, MarginFilter, NegativeCache
from icckd.train.networks.base import Output
from icckd.train.networks.cnn import Cnn, CnnModel
from icckd.train.optim import make_optimizer
from icckd.train.packs.batches import PackedBatch
from icckd.train.packs.network import PackedCnn
from icckd.train.packs.optim import make_row_optimizer
from icckd.train.packs.student import PackedStudentStep
from icckd.train.packs.teacher import PackedTeacherStep
from icckd.train.precision import prepare
from icckd.train.seeding import generator
from tests.support.lanes import long_but, slow_but

torch.set_num_threads(1)
STEPS = 4


@dataclass(frozen=True)
class Case:
    """A stage that is packed."""

    widths: tuple[int, int, int]
    image: tuple[int, int, int] = (1, 8, 8)
    batch: int = 16
    classes: int = 5
    teaches: bool = False
    per_class: int = 0
    adam: bool = False

    @property
    def views(self) -> int:
        return 2 if self.teaches else 1

    @property
    def training(self) -> Training:
        optimizer = {"optimizer": AdamWOptimizer(kind="adamw")} if self.adam else {}
        return Training(lr=0.05, batch_size=max(2, self.batch), **optimizer)


CASES = {
    "student of the digits": Case((4, 8, 16), batch=64),
    "student, odd batch": Case((4, 8, 16), batch=50),
    "student, one image": Case((4, 8, 16), batch=1),
    "student by AdamW": Case((4, 8, 16), batch=32, adam=True),
    "student, odd widths": Case((5, 10, 20)),
    "student, widths of half a vector": Case((8, 24, 40)),
    "student of larger images, few features": Case((4, 8, 4), image=(1, 28, 28), batch=10),
    "student of colours": Case((4, 8, 16), image=(3, 32, 32), batch=10),
    "student of many classes": Case((4, 8, 16), classes=100),
    "teacher of the digits": Case((16, 32, 64), batch=64, teaches=True, per_class=64),
    "teacher, rings that overflow": Case((16, 32, 64), batch=50, teaches=True, per_class=3),
    "teacher without a cache": Case((16, 32, 64), batch=32, teaches=True),
    "teacher of many classes": Case((8, 16, 32), batch=24, classes=40, teaches=True, per_class=8),
    "teacher by AdamW": Case((8, 16, 32), batch=24, teaches=True, per_class=8, adam=True),
}
QUICK = ("student of the digits", "teacher, rings that overflow")


def network(case: Case, seed: int, device: str = "cpu") -> Cnn:
    model = Cnn(CnnModel(widths=case.widths), in_channels=case.image[0], n_classes=case.classes)
    model.initialise(("pack", seed))
    return model.to(device).to(memory_format=torch.channels_last)


def intra(case: Case, seed: int) -> IntraClass:
    """Return a loss; weight, temperature and threshold are those of the seed."""
    cache = NegativeCache(per_class=case.per_class, warmup_epochs=0) if case.per_class else "off"
    settings = IntraLoss(
        weight=0.1 + 0.2 * (seed % 3),
        temperature=0.1 + 0.05 * (seed % 2),
        margin=MarginFilter(threshold=-0.5) if seed % 2 else "off",
        cache=cache,
    )
    inputs = LossInputs(
        n_classes=case.classes, n_features=case.widths[2], image_shape=case.image, key=("l", seed)
    )
    return IntraClass(settings, inputs)


def kd(case: Case, seed: int) -> Kd:
    one = Output(torch.zeros(1, 1), (), (), torch.zeros(1, case.classes))
    pairing = Pairing(student=one, teacher=one, labels=torch.zeros(1), key=("kd", seed))
    return Kd(KdDistiller(temperature=2.0 + seed % 3, weight=0.5 + 0.1 * (seed % 4)), pairing)


def batch_of(
    case: Case, seeds: list[int], step: int, spoilt: set[int], device: str = "cpu"
) -> PackedBatch:
    """Return random images; those of spoilt seeds are not finite from the third step on."""
    images, labels, ids = [], [], []
    for seed in seeds:
        stream = generator(("images", seed, step))
        shape = (case.views * case.batch, *case.image)
        drawn = torch.randn(shape, generator=stream)
        images.append(drawn * torch.nan if seed in spoilt and step >= 2 else drawn)
        labels.append(torch.randint(case.classes, (case.batch,), generator=stream))
        ids.append(torch.randint(1000, (case.batch,), generator=stream))
    together = torch.cat(images, dim=1).contiguous(memory_format=torch.channels_last)
    return PackedBatch(
        images=together.to(device),
        labels=torch.stack(labels).to(device),
        ids=torch.stack(ids).to(device),
        codes=torch.zeros(0),
    )


def digests(
    case: Case, seeds: list[int], spoilt: frozenset[int] = frozenset(), device: str = "cpu"
) -> dict[int, str]:
    """Return a digest of all that some steps leave and tell, by seed; some seeds come twice."""
    net = PackedCnn([network(case, seed, device) for seed in seeds])
    optimizers = [
        make_optimizer(network(case, s, device).parameters(), case.training) for s in seeds
    ]
    rows = make_row_optimizer(net.rows, [case.training] * len(seeds), optimizers)
    losses = [intra(case, seed).to(device) for seed in seeds] if case.teaches else []
    if case.teaches:
        settings = [Teacher(views=2, intra=loss.settings) for loss in losses]
        step = PackedTeacherStep(net, settings, losses)
    else:
        teachers = PackedCnn([network(case, 500 + seed, device) for seed in seeds])
        shown = lambda batch: teachers.evaluate(batch.images, shared=False).logits  # noqa: E731
        step = PackedStudentStep(net, [kd(case, seed) for seed in seeds], shown)
    rates = torch.tensor([[0.01 * (1 + seed % 5)] for seed in seeds], device=device)
    told = []
    for number in range(STEPS):
        batch = batch_of(case, seeds, number, set(spoilt), device)
        gradients, values, diagnostics = step(batch, step=number, epoch=1)
        values = [*values, *rows.step(gradients, rates), *diagnostics]
        told.append(torch.stack(values, dim=1))
    same = torch.randn((40, *case.image), generator=generator(("same",))).to(device)
    seen = net.see([same[:24].contiguous(memory_format=torch.channels_last), same[24:]])
    found = {}
    for replica, seed in enumerate(seeds):
        model = network(case, seed)
        net.store(replica, model, batches=STEPS)
        parts = [*model.state_dict().values(), *rows.remembered(replica).values()]
        if losses:
            step.store(replica, losses[replica])
            parts += losses[replica].state_dict().values()
        parts += [torch.stack(told)[:, replica], seen.features[replica], seen.logits[replica]]
        found[seed] = hashlib.sha256(b"".join(map(raw, parts))).hexdigest()
    return found


def raw(value: torch.Tensor) -> bytes:
    return value.detach().cpu().contiguous().numpy().tobytes()


@pytest.mark.parametrize("name", slow_but(CASES, *QUICK))
def test_bits_depend_neither_on_size_nor_place_nor_mates(name):
    case = CASES[name]
    unit = unit_of(CnnModel(widths=case.widths), "cpu")
    alone = digests(case, [7] * unit)[7]

    for size in (unit, 2 * unit, 3 * unit):
        for place in {0, size // 2, size - 1}:
            mates = [100 * size + place + n for n in range(size)]
            seeds = [*mates[:place], 7, *mates[place + 1 :]]
            assert digests(case, seeds)[7] == alone, (size, place)
    mates = list(range(10, 10 + unit - 1))
    assert digests(case, [*mates, 7], frozenset(mates))[7] == alone, "mates are not finite"


ON_A_GPU = [
    pytest.param("cpu", name, marks=[] if name in QUICK[:1] else pytest.mark.long) for name in CASES
] + [pytest.param("cuda", name, marks=pytest.mark.gpu) for name in CASES]


@pytest.mark.parametrize(("device", "name"), ON_A_GPU, indirect=["device"])
def test_bits_depend_neither_on_place_nor_mates_in_a_pack_of_the_size_on_cuda(device, name):
    prepare(device, Numerics(packing="on"))
    case = CASES[name]
    alone = digests(case, [7] * ON_CUDA, device=device)[7]

    for place in (0, 3, ON_CUDA - 1):
        mates = list(range(100 * place + 10, 100 * place + 10 + ON_CUDA - 1))
        seeds = [*mates[:place], 7, *mates[place:]]
        assert digests(case, seeds, device=device)[7] == alone, place
        spoilt = digests(case, seeds, frozenset(mates), device=device)[7]
        assert spoilt == alone, "mates are not finite"


OLDEST, NO_VECTORS = {"ONEDNN_MAX_CPU_ISA": "SSE41"}, {"ATEN_CPU_CAPABILITY": "default"}
LESSER = [
    OLDEST,
    {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    NO_VECTORS,
    {"MKL_CBWR": "COMPATIBLE"},
]


@pytest.mark.parametrize("variables", long_but(LESSER, OLDEST, NO_VECTORS), ids=str)
def test_bits_depend_on_none_of_these_on_a_lesser_cpu_either(variables):
    asked = [f"{Path(__file__)}::{test_bits_depend_neither_on_size_nor_place_nor_mates.__name__}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *asked],
        env={**os.environ, **variables}, cwd=Path(__file__).parents[2],
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
