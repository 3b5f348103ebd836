"""Times of a step in bench/gpu.py: beside a floor, a bare loop and the field's, packed, captured.

Both networks of the shipped study at batch 64 on its images: the student by cross-entropy, the
teacher by two views, the intra-class loss and its cache. Every form draws its own batches, but the
field's, which loads images one by one. Nothing here is a verdict, except that each form trains.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from gpu_stages import ROOT, Findings, Setting
from peers import peer_student_epoch, peer_teacher_epoch
from torch import Tensor
from torch.nn import functional
from torch.optim.sgd import sgd

from icckd.study.load import load
from icckd.study.packing import multiply_adds
from icckd.study.training import Numerics
from icckd.train.captured import StaticStep
from icckd.train.contract import JobContext
from icckd.train.data.dataset import Dataset, load_dataset
from icckd.train.data.stream import TrainStream
from icckd.train.losses.contrastive import IntraClass
from icckd.train.networks.cnn import Cnn
from icckd.train.optim import make_optimizer
from icckd.train.packs.batches import Feed
from icckd.train.packs.network import PackedCnn
from icckd.train.packs.optim import make_row_optimizer
from icckd.train.packs.student import PackedStudentStep
from icckd.train.packs.teacher import PackedTeacherStep
from icckd.train.precision import PLAIN, prepare
from icckd.train.student import AloneStep
from icckd.train.teacher import TeacherStep, build_losses, train_stream
from icckd.train.trainer import Step, StepLog, Update, taking

STUDY = load(ROOT / "studies/ablations.toml")
RATE = 0.05
SIZES, TINY_SIZES = (1, 8, 32), (1, 4)
STREAMS, TINY_STREAMS = 8, 2

Epoch = Callable[[], Tensor]
"""Trains an epoch; returns what its last step told."""


def step_times(setting: Setting, found: Findings) -> None:
    """Measure milliseconds of a step for each network, of all forms in turn."""
    device = setting.device
    prepare(device, Numerics())
    place = JobContext(device=device, data_root=setting.folder, artifact_folder=setting.folder)
    dataset = load_dataset(STUDY.data, place)
    speed = products_a_second(device, size=256 if setting.tiny else 4096)
    found.measured["fp32 matrix product, 1e12 operations a second"] = round(speed / 1e12, 3)
    sizes, streams = (TINY_SIZES, TINY_STREAMS) if setting.tiny else (SIZES, STREAMS)
    for kind in ("student", "teacher"):
        runs = forms(kind, dataset, sizes, streams)
        times, told = in_turn(runs, device, rounds=1 if setting.tiny else 5)
        steps = len(dataset.train.labels) // STUDY.teacher.training.batch_size
        views = 2 if kind == "teacher" else 1
        model = STUDY.teacher.model if kind == "teacher" else STUDY.student.model
        rows = views * STUDY.teacher.training.batch_size
        floor = 6 * multiply_adds(model, STUDY.data.image_shape()) * rows / speed
        found.measured[f"{kind}: floor by operations, ms a step"] = round(1e3 * floor, 4)
        base = statistics.median(times["bare loop"]) / steps
        for name, seconds in times.items():
            networks = networks_of(name)
            own = statistics.median(seconds) / steps / networks
            found.measured[f"{kind}, {name}: ms a step of a network, times floor, times bare"] = [
                round(1e3 * own, 3), round(own / floor, 1), round(own / base, 2),
            ]  # fmt: skip
            is_finite = bool(told[name].isfinite().all())
            found.check(f"{kind}, {name}: trains", is_finite, told[name].flatten()[:3].tolist())


def networks_of(name: str) -> int:
    """Return how many networks a form trains at once: the number that its name ends in."""
    last = name.rsplit(" ", 1)[-1]
    return int(last) if last.isdigit() else 1


def products_a_second(device: str, size: int) -> float:
    """Return the operations a second of a large matrix product in IEEE fp32."""
    a_NN, b_NN = torch.randn(2, size, size, device=device).unbind()
    times, _ = in_turn({"product": lambda: a_NN @ b_NN}, device, rounds=5)
    return 2 * size**3 / statistics.median(times["product"])


def in_turn(
    runs: Mapping[str, Epoch], device: str, rounds: int
) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Return seconds of each run in each round, and what it returned last; the device is idle."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    told = {name: run() for name, run in runs.items()}  # warm-up
    for _ in range(rounds):
        for name, run in runs.items():
            finish(device)
            start = time.perf_counter()
            told[name] = run()
            finish(device)
            times[name].append(time.perf_counter() - start)
    return times, told


def finish(device: str) -> None:
    """Wait until the device has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def forms(kind: str, dataset: Dataset, sizes: Sequence[int], streams: int) -> dict[str, Epoch]:
    """Return what trains an epoch, by the name of its form."""
    teaches = kind == "teacher"
    peer = peer_teacher_epoch if teaches else peer_student_epoch
    peers = peer(device=dataset.device)
    return {
        "bare loop": bare_epoch(kind, dataset),
        "the field's loop": lambda: torch.tensor(peers()),
        "executed": own_epoch(kind, dataset),
        "captured": own_epoch(kind, dataset, captured=True),
        **{f"packed {size}": packed_epoch(kind, dataset, size) for size in sizes},
        f"captured, a stream each, {streams}": many_streams(kind, dataset, streams),
    }


def parts(kind: str, dataset: Dataset, seed: int) -> tuple[Cnn, TrainStream]:
    """Return a network and its batches."""
    settings = STUDY.teacher.model if kind == "teacher" else STUDY.student.model
    model = Cnn(settings, in_channels=dataset.in_channels, n_classes=dataset.n_classes)
    model.initialise(("bench", seed))
    model.to(dataset.device).train()
    if kind == "teacher":
        return model, train_stream(STUDY.teacher, dataset, ("bench", seed))
    stream = TrainStream(
        dataset.train, dataset.normalise, dataset.augment, views=1, key=("bench", seed),
        batch_size=STUDY.student.training.batch_size, host_labels=dataset.host_labels,
    )  # fmt: skip
    return model, stream


def bare_epoch(kind: str, dataset: Dataset) -> Epoch:
    """Return a loop by cross-entropy with nothing but the steps; channels last."""
    model, stream = parts(kind, dataset, 0)
    model.to(memory_format=torch.channels_last)
    parameters = list(model.parameters())
    momentum = [torch.zeros_like(parameter) for parameter in parameters]

    def epoch() -> Tensor:
        for batch in stream.epoch(2):
            for parameter in parameters:
                parameter.grad = None
            logits = model(batch.images)[: len(batch.labels)]
            loss: Tensor = functional.cross_entropy(logits, batch.labels)
            loss.backward()
            gradients = [p.grad for p in parameters if p.grad is not None]
            with torch.no_grad():
                sgd(parameters, gradients, momentum, fused=True, lr=RATE, momentum=0.9,
                    weight_decay=5e-4, dampening=0.0, nesterov=False, maximize=False)  # fmt: skip
        return loss.detach()

    return epoch


def own_epoch(kind: str, dataset: Dataset, *, captured: bool = False, seed: int = 0) -> Epoch:
    """Return the product's own steps with their log, executed or captured."""
    steps = own_steps(kind, dataset, captured=captured, seed=seed)

    def epoch() -> Tensor:
        return list(steps())[-1]

    return epoch


def own_steps(
    kind: str, dataset: Dataset, *, captured: bool, seed: int
) -> Callable[[], Iterator[Tensor]]:
    """Return a function that yields after each step of an epoch what it told."""
    model, stream = parts(kind, dataset, seed)
    role = STUDY.teacher if kind == "teacher" else STUDY.student
    step: Step = AloneStep(model)
    if kind == "teacher":
        losses = build_losses(STUDY.teacher, model, dataset, ("bench", seed))
        step = TeacherStep(model, losses, STUDY.teacher)
    update = Update(make_optimizer(model.parameters(), role.training), role.training, PLAIN)
    terms = (*step.losses, *update.terms, *step.diagnostics)
    log = StepLog(terms, 1000 * stream.steps, dataset.device)
    take: Any = taking(step, update)
    if captured:
        take = StaticStep(
            take, step.variant, terms=len(terms), largest_class=stream.largest_class
        )  # fmt: skip

    def epoch() -> Iterator[Tensor]:
        for number, batch in enumerate(stream.epoch(2)):
            log.write(take(batch, number=number, epoch=2, lr=RATE))
            yield log.written[-1]

    return epoch


def packed_epoch(kind: str, dataset: Dataset, size: int) -> Epoch:
    """Return the product's packed steps, as many replicas as asked for."""
    role = STUDY.teacher if kind == "teacher" else STUDY.student
    each = [parts(kind, dataset, seed) for seed in range(size)]
    net = PackedCnn([model for model, _ in each])
    optimizers = [make_optimizer(model.parameters(), role.training) for model, _ in each]
    rows = make_row_optimizer(net.rows, [role.training] * size, optimizers)
    rates = torch.full((size, 1), RATE, device=dataset.device)
    step: PackedStudentStep | PackedTeacherStep = PackedStudentStep(net, (), None)
    if kind == "teacher":
        built = [build_losses(STUDY.teacher, model, dataset, ("l",))["intra"] for model, _ in each]
        losses = [loss for loss in built if isinstance(loss, IntraClass)]
        step = PackedTeacherStep(net, [STUDY.teacher] * size, losses)
    feed = Feed([stream for _, stream in each], dataset.normalise)

    def epoch() -> Tensor:
        told = []
        for number, batch in enumerate(feed.epoch(2)):
            gradients, values, diagnostics = step(batch, step=number, epoch=2)
            told.append(torch.stack([*values, *rows.step(gradients, rates), *diagnostics]))
        return torch.stack(told).cpu()

    return epoch


def many_streams(kind: str, dataset: Dataset, size: int) -> Epoch:
    """Return captured steps of several networks, each on a stream of its own, in turn.

    Where there are no streams they are taken one after the other.
    """
    runs = [own_steps(kind, dataset, captured=True, seed=seed) for seed in range(size)]
    own: list[Callable[[], AbstractContextManager[Any]]] = [nullcontext] * size
    if dataset.device == "cuda":
        streams = [torch.cuda.Stream() for _ in range(size)]
        own = [lambda stream=stream: torch.cuda.stream(stream) for stream in streams]
        finish(dataset.device)  # what was made on the usual stream is there for all

    def epoch() -> Tensor:
        each = [on(stream, run()) for stream, run in zip(own, runs, strict=True)]
        last = list(zip(*each, strict=True))[-1]  # a step of each, then the next
        finish(dataset.device)
        return torch.stack(last)

    return epoch


def on(
    stream: Callable[[], AbstractContextManager[Any]], steps: Iterator[Tensor]
) -> Iterator[Tensor]:
    """Yield what steps tell, each taken on a stream."""
    while True:
        with stream():
            told = next(steps, None)
        if told is None:
            return
        yield told
