"""What packs gain, and that they give the same results: `python bench/packing.py [PART ...]`.

- steps: CPU milliseconds of a step per replica in the product's own packed loop, beside a bare loop
  over one network (channels last, fused SGD, nothing recorded) in the same process, interleaved.
- study: the shipped study on an empty state folder, packed and not, alternately; CPU seconds of
  the session with its workers.
- peers: the same study by the loop that the field writes (`peers.py`), at several settings, beside
  `icckd run`, alternately. Epochs of that loop are measured and counted as often as the plan of the
  study has them; it measures nothing on validation and test images, which is in its favour.
- profile: where a pack of twelve teachers and one of twelve students spend their time, by Python's
  profiler, which makes calls dearer than they are; the rows do not overlap.
- trainings: teachers and students of the shipped study under seeds that it does not use, packed and
  not: the mean difference of their accuracies with its 95 % interval.
"""

import cProfile
import math
import os
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from peers import peer_student_epoch, peer_teacher_epoch
from timing import interleaved, ratio, write_result
from torch.nn import functional
from torch.optim.sgd import sgd

from icckd.run.pack import keep_memory
from icckd.run.prepare import make_plan
from icckd.study.load import load
from icckd.study.training import Numerics
from icckd.train.contract import JobContext, StudentJob, TeacherJob
from icckd.train.data.dataset import load_dataset
from icckd.train.data.stream import TrainStream
from icckd.train.losses.contrastive import IntraClass
from icckd.train.networks.cnn import Cnn, CnnModel
from icckd.train.optim import make_optimizer
from icckd.train.packs.batches import Feed
from icckd.train.packs.network import PackedCnn
from icckd.train.packs.optim import make_row_optimizer
from icckd.train.packs.stage import Place
from icckd.train.packs.student import PackedStudentStep, train_students
from icckd.train.packs.teacher import PackedTeacherStep, train_teachers
from icckd.train.stage import train_student, train_teacher
from icckd.train.teacher import build_losses, train_stream

ROOT = Path(__file__).parents[1]
STUDY_FILE = "studies/ablations.toml"
STUDY = load(ROOT / STUDY_FILE)
SEEDS = range(3000, 3040)
SIZES = {"student": (4, 8, 16, 20), "teacher": (4, 8, 12)}


def material():
    folder = Path(tempfile.mkdtemp())
    return load_dataset(
        STUDY.data, JobContext(device="cpu", data_root=folder, artifact_folder=folder)
    )


def bare_epoch(dataset, settings: CnnModel, views: int) -> Callable[[], None]:
    """Return a loop over one network by cross-entropy, with nothing but the steps."""
    model = network(settings, 0)
    stream = TrainStream(dataset.train, dataset.normalise, dataset.augment, batch_size=64,
                         views=views, key=("bench", 0))  # fmt: skip
    parameters = list(model.parameters())
    momentum = [torch.zeros_like(p) for p in parameters]

    def epoch() -> None:
        for batch in stream.epoch(1):
            for parameter in parameters:
                parameter.grad = None
            logits = model(batch.images)[: len(batch.labels)]
            functional.cross_entropy(logits, batch.labels).backward()
            with torch.no_grad():
                sgd(parameters, [p.grad for p in parameters], momentum, fused=True, lr=0.05,
                    momentum=0.9, weight_decay=5e-4, dampening=0.0, nesterov=False,
                    maximize=False)  # fmt: skip

    return epoch


def network(settings: CnnModel, seed: int) -> Cnn:
    model = Cnn(settings, in_channels=1, n_classes=5)
    model.initialise(("bench", seed))
    return model.to(memory_format=torch.channels_last)


def packed_epoch(dataset, kind: str, size: int) -> Callable[[], None]:
    """Return an epoch of the product's packed steps, all diagnostics included."""
    role = STUDY.teacher if kind == "teacher" else STUDY.student
    models = [network(role.model, seed) for seed in range(size)]
    net = PackedCnn(models)
    optimizers = [make_optimizer(model.parameters(), role.training) for model in models]
    rows = make_row_optimizer(net.rows, [role.training] * size, optimizers)
    rates = torch.full((size, 1), 0.05)
    if kind == "teacher":
        streams = [train_stream(STUDY.teacher, dataset, ("bench", n)) for n in range(size)]
        losses = [build_losses(STUDY.teacher, model, dataset, ("l",))["intra"] for model in models]
        assert all(isinstance(loss, IntraClass) for loss in losses)
        step = PackedTeacherStep(net, [STUDY.teacher] * size, losses)
    else:
        streams = [
            TrainStream(dataset.train, dataset.normalise, dataset.augment, batch_size=64, views=1,
                        key=("bench", n))
            for n in range(size)
        ]  # fmt: skip
        step = PackedStudentStep(net, (), None)
    feed = Feed(streams, dataset.normalise)

    def epoch() -> None:
        for number, batch in enumerate(feed.epoch(2)):
            gradients, *_ = step(batch, step=number, epoch=2)
            rows.step(gradients, rates)

    return epoch


def steps(rounds: int = 7) -> Iterator[str]:
    """Yield the table of step times."""
    dataset = material()
    yield "| step (batch 64, digits) | replicas | ms per replica | times the bare loop |"
    yield "|---|---|---|---|"
    for kind, sizes in SIZES.items():
        role = STUDY.teacher if kind == "teacher" else STUDY.student
        views = 2 if kind == "teacher" else 1
        runs = {"bare": bare_epoch(dataset, role.model, views)}
        runs |= {str(size): packed_epoch(dataset, kind, size) for size in sizes}
        times = interleaved(runs, rounds=rounds)
        steps_of_epoch = len(dataset.train.labels) // 64
        bare = 1e3 * statistics.median(times["bare"]) / steps_of_epoch
        yield f"| {kind}, bare loop | 1 | {bare:.2f} | 1 |"
        for size in sizes:
            share = ratio(times, str(size), "bare") / size
            yield f"| {kind}, packed | {size} | {share * bare:.2f} | {1 / share:.2f} |"


def study(rounds: int = 4) -> Iterator[str]:
    """Yield the table of the shipped study's CPU seconds."""
    found: dict[str, list[tuple[float, float]]] = {"off": [], "auto": []}
    load_before = os.getloadavg()[0]
    for number in range(rounds):
        for packing in list(found) if number % 2 == 0 else list(found)[::-1]:
            found[packing].append(one_run(packing))
    yield f"The shipped study, {rounds} times each, alternately; load before {load_before:.1f}."
    yield ""
    yield "| packing | CPU seconds, median | all | wall seconds, median |"
    yield "|---|---|---|---|"
    for packing, runs in found.items():
        cpu, wall = zip(*runs, strict=True)
        yield (
            f"| {packing} | {statistics.median(cpu):.1f} | {', '.join(f'{c:.1f}' for c in cpu)} |"
            f" {statistics.median(wall):.1f} |"
        )
    pairs = [a[0] / b[0] for a, b in zip(found["off"], found["auto"], strict=True)]
    yield ""
    yield f"off / auto, CPU seconds: median of {rounds} ratios {statistics.median(pairs):.2f}"


def one_run(packing: str) -> tuple[float, float]:
    """Return CPU seconds, those of workers included, and seconds of the study by `icckd run`."""
    with tempfile.TemporaryDirectory() as home:
        before, start = children(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "icckd.cli.main", "run", STUDY_FILE, "--device", "cpu",
             f"numerics.packing={packing}"],
            cwd=ROOT, env={**os.environ, "ICCKD_HOME": home}, check=True, capture_output=True,
        )  # fmt: skip
        return children() - before, time.perf_counter() - start


SETTINGS = {
    "one thread, images loaded by the process itself": (1, 0),
    "two threads, images loaded by the process itself": (2, 0),
    "two threads, two loader processes (its default)": (2, 2),
    "one thread, two loader processes": (1, 2),
}


def peers(rounds: int = 3) -> Iterator[str]:
    """Yield the table of the peers' loop beside the product."""
    plan = make_plan(STUDY, device="cpu", root=Path("data"))
    epochs = Counter[str]()
    for stage in plan.stages.values():
        epochs[stage.kind] += stage.epochs
    loops = {
        name: {"teacher": peer_teacher_epoch(loaders), "student": peer_student_epoch(loaders)}
        for name, (_, loaders) in SETTINGS.items()
    }
    cpu: dict[str, list[float]] = {"icckd": [], **{name: [] for name in SETTINGS}}
    wall: dict[str, list[float]] = {name: [] for name in cpu}
    load_before = os.getloadavg()[0]
    for number in range(rounds + 1):  # the first warms up
        taken: dict[str, tuple[float, float]] = {}
        for name, (threads, _) in SETTINGS.items():
            torch.set_num_threads(threads)
            used = {kind: _used(loop) for kind, loop in loops[name].items()}
            taken[name] = (
                sum(epochs[kind] * used[kind][0] for kind in used),
                sum(epochs[kind] * used[kind][1] for kind in used),
            )
        taken["icckd"] = one_run("auto") if number else (0.0, 0.0)
        for name, (c, w) in taken.items() if number else ():
            cpu[name].append(c)
            wall[name].append(w)
    yield f"{dict(epochs)} epochs; {rounds} rounds; load before {load_before:.1f}."
    yield ""
    yield "| the shipped study | CPU seconds | times icckd | seconds | times icckd |"
    yield "|---|---|---|---|---|"
    for name in cpu:
        row = [name]
        for kept in (cpu, wall):
            ratios = [a / b for a, b in zip(kept[name], kept["icckd"], strict=True)]
            row += [f"{statistics.median(kept[name]):.0f}", f"{statistics.median(ratios):.1f}"]
        yield f"| {' | '.join(row)} |"


def _used(run: Callable[[], object]) -> tuple[float, float]:
    """Return CPU seconds, those of processes that ended included, and seconds of a call."""
    before, start = time.process_time() + children(), time.perf_counter()
    run()
    return time.process_time() + children() - before, time.perf_counter() - start


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Values(dict[str, float]):
    """A recorder that keeps outcomes."""

    def resumed(self, series, *, attempt, seconds) -> None: ...
    def epoch(self, epoch, values) -> None: ...
    def log(self, message) -> None: ...
    def outcomes(self, values, right=()) -> None:
        self.update(values)


def trainings() -> Iterator[str]:
    """Yield the table of differences of whole trainings."""
    folder = Path(tempfile.mkdtemp())
    plain = {seed: Values() for seed in SEEDS}
    packed = {seed: Values() for seed in SEEDS}

    def place(name: str, seed: int) -> JobContext:
        path = folder / f"{name}-{seed}"
        return JobContext(device="cpu", data_root=folder, artifact_folder=path)

    def teacher(seed: int) -> TeacherJob:
        return TeacherJob(data=STUDY.data, teacher=STUDY.teacher, numerics=Numerics(), seed=seed)

    def student(seed: int, teachers: str) -> StudentJob:
        return StudentJob(data=STUDY.data, student=STUDY.student, numerics=Numerics(), seed=seed,
                          replicate=0, teacher_folder=folder / f"{teachers}-{seed}")  # fmt: skip

    def ended(number: int, error: Exception | None) -> None:
        if error is not None:
            raise error

    for seed in SEEDS:
        train_teacher(teacher(seed), plain[seed], place("plain-t", seed))
        train_student(student(seed, "plain-t"), plain[seed], place("plain-s", seed))
    for some in (list(SEEDS)[n : n + 20] for n in range(0, len(SEEDS), 20)):
        train_teachers(
            [Place(job=teacher(s), recorder=packed[s], context=place("packed-t", s)) for s in some],
            ended,
        )
        train_students(
            [
                Place(job=student(s, "packed-t"), recorder=packed[s], context=place("packed-s", s))
                for s in some
            ],
            ended,
        )
    yield f"{len(SEEDS)} seeds ({SEEDS.start} to {SEEDS.stop - 1}), paired by seed."
    yield ""
    yield "| metric | plain | packed | mean difference | 95 % interval | deviation |"
    yield "|---|---|---|---|---|---|"
    for metric in ("teacher.top1", "teacher.nll", "student.top1", "student.nll"):
        pairs = [(plain[seed][metric], packed[seed][metric]) for seed in SEEDS]
        differences = [b - a for a, b in pairs]
        mean, spread = statistics.mean(differences), statistics.stdev(differences)
        half = 2.02 * spread / math.sqrt(len(differences))  # t of 39 degrees of freedom
        yield (
            f"| {metric} | {statistics.mean(a for a, _ in pairs):.4g} |"
            f" {statistics.mean(b for _, b in pairs):.4g} | {mean:+.3g} |"
            f" [{mean - half:+.3g}, {mean + half:+.3g}] | {spread:.3g} |"
        )


ROWS = {
    "backward passes": "autograd/__init__.py:grad",
    "forward passes of steps": "packs/network.py:features",
    "forward passes over validation, test and training images": "packs/network.py:see",
    "the intra-class loss": "packs/intra.py:term",
    "the cache, written": "packs/intra.py:remember",
    "drift of the cache, at diagnosed epochs": "packs/fit.py:_observe",
    "batches": "packs/batches.py:epoch",
    "optimizer": "packs/optim.py:step",
    "after an epoch: series, journals, checkpoints": "packs/fit.py:_after_epoch",
    "at the end: test metrics, artifacts": "packs/fit.py:_end",
}
"""Rows of the profile and the function whose whole time each is."""


def profiled(seeds: int = 12) -> Iterator[str]:
    """Yield the table of where packs of teachers and of students spend their time."""
    folder = Path(tempfile.mkdtemp())

    def place(kind: str, seed: int) -> JobContext:
        return JobContext(device="cpu", data_root=folder, artifact_folder=folder / f"{kind}{seed}")

    def ended(number: int, error: Exception | None) -> None:
        if error is not None:
            raise error

    def teach(first: int) -> None:
        jobs = [
            TeacherJob(data=STUDY.data, teacher=STUDY.teacher, numerics=Numerics(), seed=seed)
            for seed in range(first, first + seeds)
        ]
        train_teachers(
            [Place(job=j, recorder=Values(), context=place("t", j.seed)) for j in jobs], ended
        )

    def learn(first: int) -> None:
        jobs = [
            StudentJob(data=STUDY.data, student=STUDY.student, numerics=Numerics(), seed=seed,
                       replicate=0, teacher_folder=folder / f"t{seed}")
            for seed in range(first, first + seeds)
        ]  # fmt: skip
        train_students(
            [Place(job=j, recorder=Values(), context=place("s", j.seed)) for j in jobs], ended
        )

    shares: dict[str, dict[str, float]] = {}
    for kind, train in (("teachers", teach), ("students", learn)):
        train(SEEDS.start)  # warms up
        kept = cProfile.Profile()
        kept.runcall(train, SEEDS.start + seeds)
        shares[kind] = _shares(pstats.Stats(kept))
    yield f"Percent of the time of a pack of {seeds}, load {os.getloadavg()[0]:.1f}."
    yield ""
    yield "| | teachers | students |"
    yield "|---|---|---|"
    for row in (*ROWS, "everything else"):
        yield f"| {row} | {shares['teachers'][row]:.0f} | {shares['students'][row]:.0f} |"


def _shares(stats: pstats.Stats) -> dict[str, float]:
    """Return the percent of each row, and of everything else."""
    found: dict[str, float] = dict.fromkeys(ROWS, 0.0)
    whole: float = stats.total_tt  # type: ignore[attr-defined]  # not in the stubs
    for (file, _, function), (_, _, _, took, _) in stats.stats.items():  # type: ignore[attr-defined]  # nor that
        for row, where in ROWS.items():
            path, _, name = where.rpartition(":")
            if file.endswith(path) and function == name:
                found[row] += 100 * took / whole
    return {**found, "everything else": 100 - sum(found.values())}


PARTS = {
    "steps": steps, "study": study, "peers": peers, "profile": profiled, "trainings": trainings
}  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:] or PARTS:
        if name in ("steps", "profile"):
            keep_memory()
        write_result(f"packing-{name}", list(PARTS[name]()))


if __name__ == "__main__":
    main()
