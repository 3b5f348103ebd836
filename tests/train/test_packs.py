"""A pack trains its stages as they train by themselves, and each ends by itself."""

import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from icckd.errors import NonFiniteError, StageCancelled, StageError, StagePaused
from icckd.study.model import Student
from icckd.study.teacher import Teacher
from icckd.study.training import AdamOptimizer, Numerics, SgdOptimizer, Training, Warmup
from icckd.train.contract import JobContext, StudentJob, TeacherJob
from icckd.train.data.batch import Batch
from icckd.train.distillers.logits import KdDistiller
from icckd.train.losses.base import LossInputs
from icckd.train.losses.contrastive import IntraClass, IntraLoss, MarginFilter, NegativeCache
from icckd.train.networks.cnn import Cnn, CnnModel
from icckd.train.optim import make_optimizer
from icckd.train.packs.batches import PackedBatch
from icckd.train.packs.network import PackedCnn
from icckd.train.packs.optim import RowOptimizer, make_row_optimizer
from icckd.train.packs.stage import Place
from icckd.train.packs.student import PackedStudentStep, train_students
from icckd.train.packs.teacher import PackedTeacherStep, train_teachers
from icckd.train.precision import PLAIN, prepare
from icckd.train.stage import train_student, train_teacher
from icckd.train.teacher import TeacherStep
from icckd.train.trainer import Update
from tests.support.lanes import ON_EACH_DEVICE_SLOWLY, slow_but
from tests.train.conftest import TINY, Notes
from tests.train.test_devices import waiting_forbidden

PACKED = Numerics(packing="on")
SMALL = CnnModel(widths=(4, 8, 16))
THREE = Training(epochs=3, batch_size=32)
INTRA = IntraLoss(weight=0.5, margin=MarginFilter(threshold=0.0), cache=NegativeCache(per_class=9))
TEACHER = Teacher(model=SMALL, views=2, intra=INTRA, training=THREE)
STUDENT = Student(model=SMALL, distiller=KdDistiller(), training=THREE)


@dataclass
class Ends:
    """Trains packs in a folder, and keeps what became of each stage by its seed."""

    folder: Path
    device: str = "cpu"
    notes: dict[int, Notes] = field(default_factory=dict)
    errors: dict[int, Exception | None] = field(default_factory=dict)

    def teachers(self, seeds, settings=TEACHER, stage="teachers", **context):
        jobs = {
            s: TeacherJob(data=TINY, teacher=of(settings, s), numerics=PACKED, seed=s)
            for s in seeds
        }  # fmt: skip
        self._train(train_teachers, jobs, stage, context)
        return self

    def students(self, seeds, teacher_of, settings=STUDENT, stage="students", **context):
        jobs = {
            s: StudentJob(data=TINY, student=of(settings, s), numerics=PACKED, seed=s, replicate=0,
                          teacher_folder=teacher_of(s))
            for s in seeds
        }  # fmt: skip
        self._train(train_students, jobs, stage, context)
        return self

    def _train(self, train, jobs, stage, context):
        places = []
        for seed, job in jobs.items():
            self.notes[seed] = Notes(folder=self.folder / f"{stage}-{seed}")
            own = {name: value(seed) for name, value in context.items()}
            place = JobContext(
                device=self.device, data_root=self.folder,
                artifact_folder=self.notes[seed].folder,
                **{"stage": f"{stage}-{seed}", "attempt": "a", **own},
            )  # fmt: skip
            places.append(Place(job=job, recorder=self.notes[seed], context=place))
        seeds = list(jobs)

        def ended(number, error):
            assert seeds[number] not in self.errors, "told once"
            self.errors[seeds[number]] = error

        self.errors = {}
        train(places, ended)
        assert set(self.errors) == set(seeds)

    def weights(self, seed):
        return hashlib.sha256((self.notes[seed].folder / "model.safetensors").read_bytes()).digest()

    def told(self, seed):
        return self.weights(seed), self.notes[seed].epochs, self.notes[seed].values


def of(settings, seed):
    return settings(seed) if callable(settings) else settings


@pytest.fixture
def ends(tmp_path, device):
    def make(name):
        (tmp_path / name).mkdir()
        return Ends(tmp_path / name, device)

    return make


@pytest.fixture(scope="module")
def taught_on(tmp_path_factory):
    """Return six teachers of one pack that were trained once on a device."""
    return cache(lambda device: Ends(tmp_path_factory.mktemp("taught"), device).teachers(range(6)))


@pytest.fixture
def taught(taught_on, device):
    """Six teachers of one pack."""
    return taught_on(device)


def teacher_in(taught):
    return lambda seed: taught.notes[seed].folder


# Against the path outside a pack.


def both_steps(device, dtype, loss, views_in_ce, smoothing, steps):
    """Yield, of each of some steps, gradients, losses and diagnostics of both paths."""
    training = Training(lr=0.1, batch_size=24)
    settings = [
        Teacher(model=SMALL, views=2, views_in_ce=views_in_ce, label_smoothing=smoothing,
                intra=loss(number))
        for number in range(4)
    ]  # fmt: skip
    models = [Cnn(SMALL, in_channels=1, n_classes=5) for _ in settings]
    inputs = LossInputs(n_classes=5, n_features=16, image_shape=(1, 8, 8), key=("l",))
    losses = []
    for number, (model, each) in enumerate(zip(models, settings, strict=True)):
        model.initialise(("step", number))
        model.to(device, dtype).to(memory_format=torch.channels_last).train()
        losses.append(IntraClass(each.intra, inputs).to(device))
    net = PackedCnn(models)
    rows = make_row_optimizer(
        net.rows, [training] * 4, [make_optimizer(m.parameters(), training) for m in models]
    )
    own = [IntraClass(each.intra, inputs).to(device) for each in settings]
    packed = PackedTeacherStep(net, settings, own)
    optimizers = [make_optimizer(model.parameters(), training) for model in models]
    plain = [
        TeacherStep(model, {"intra": own}, each)
        for model, own, each in zip(models, losses, settings, strict=True)
    ]
    torch.manual_seed(3)
    for step in range(steps):
        images = torch.randn(48, 4, 8, 8, dtype=dtype).to(device)
        labels, ids = torch.randint(5, (4, 24)).to(device), torch.randint(60, (4, 24)).to(device)
        together = PackedBatch(
            images=images.contiguous(memory_format=torch.channels_last),
            labels=labels, ids=ids, codes=ids,
        )  # fmt: skip
        gradients, found, diagnostics = packed(together, step=step, epoch=2)
        kept = gradients.clone()
        rows.step(gradients, torch.full((4, 1), 0.1, dtype=dtype, device=device))
        for number, own in enumerate(plain):
            batch = Batch(
                images=images[:, number : number + 1].contiguous(
                    memory_format=torch.channels_last
                ),
                labels=labels[number], ids=ids[number],
                largest_class=int(labels[number].bincount().max()),
            )  # fmt: skip
            optimizers[number].clear()
            values = own(batch, step=step, epoch=2)
            named = {n: p.grad for n, p in models[number].named_parameters()}
            yield net.rows.row_of(named), kept[number], values.losses, [v[number] for v in found]
            yield None, None, values.diagnostics, [v[number] for v in diagnostics]
            optimizers[number].step(0.1)
        for number, model in enumerate(models):
            row = net.rows.row_of(dict(model.named_parameters()))
            yield row, net.rows.flat[number], (), []


LOSSES = {
    "as published": lambda n: IntraLoss(
        weight=0.2 * n, margin=MarginFilter(threshold=0.1 * n - 0.2), temperature=0.1 + 0.1 * n,
        cache=NegativeCache(per_class=30),
    ),
    "rings that overflow": lambda n: IntraLoss(
        weight=1, margin="off", cache=NegativeCache(per_class=2)
    ),
    "mean margin, other reduction": lambda n: IntraLoss(
        weight=1, margin=MarginFilter(threshold=0.05 * n - 0.1, view="mean"), reduction="anchors",
        normalize="log-negatives", negatives_view="same", min_negatives=1 + n, cache="off",
    ),
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("views_in_ce", "smoothing"), [(1, 0.0), (2, 0.1)])
@pytest.mark.parametrize(
    ("dtype", "tolerance", "steps"), [(torch.float64, 1e-10, 3), (torch.float32, 1e-5, 1)]
)
def test_steps_are_those_outside_a_pack(
    loss, views_in_ce, smoothing, dtype, tolerance, steps, device
):
    prepare(device, PACKED)
    pairs = both_steps(device, dtype, LOSSES[loss], views_in_ce, smoothing, steps)
    for row, packed, values, found in pairs:
        if row is not None:
            difference, length = (packed - row).norm(), row.norm()
            assert difference <= tolerance * length
        for one, other in zip(values, found, strict=True):
            torch.testing.assert_close(
                other.to(dtype), one.to(dtype), rtol=tolerance, atol=tolerance
            )


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"optimizer": SgdOptimizer(nesterov=True), "decayed": "weights", "clip_norm": 0.5},
        {"momentum": 0.0, "clip_norm": 100.0},
        {"optimizer": AdamOptimizer(kind="adam")},
        {"optimizer": {"kind": "adamw"}, "decayed": "weights", "weight_decay": 0.1},
    ],
    ids=str,
)
def test_updates_are_those_outside_a_pack(changed):
    training = Training.model_validate({"lr": 0.1, "weight_decay": 0.01, **changed})
    layout = torch.channels_last  # fused updates misread gradients of another layout
    models = [
        Cnn(SMALL, in_channels=1, n_classes=5).double().to(memory_format=layout) for _ in range(4)
    ]
    net = PackedCnn(models)
    packed = make_row_optimizer(
        net.rows, [training] * 4, [make_optimizer(m.parameters(), training) for m in models]
    )
    torch.manual_seed(1)
    for number, model in enumerate(models):
        optimizer = make_optimizer(model.parameters(), training)
        update = Update(optimizer, training, PLAIN)
        assert update.terms == packed.terms
        model.optimizer, model.number = optimizer, number
    for _ in range(4):
        drawn = torch.randn(4, net.rows.flat.shape[1], dtype=torch.float64)
        rates = torch.tensor([[0.1], [0.2], [0.1], [0.3]], dtype=torch.float64)
        told = packed.step(drawn.clone(), rates)
        for number, model in enumerate(models):
            for name, parameter in model.named_parameters():
                parameter.grad = net.rows.of_row(drawn[number])[name].clone()
            norm = model.optimizer.gradient_norm()
            if training.clip_norm != "off":
                model.optimizer.clip(norm, training.clip_norm)
            model.optimizer.step((0.1, 0.2, 0.1, 0.3)[number])
            torch.testing.assert_close(told[0][number], norm)
            row = net.rows.row_of(dict(model.named_parameters()))
            torch.testing.assert_close(net.rows.flat[number], row, rtol=1e-6, atol=1e-9)
            kept, own = packed.remembered(number), model.optimizer.state()
            assert kept.keys() == own.keys()
            for name in own:
                torch.testing.assert_close(
                    kept[name].double(), own[name].double(), rtol=1e-6, atol=1e-9
                )


class Layouts(TorchDispatchMode):
    """Notes operations that are given a map or its gradient otherwise than channels last."""

    def __init__(self):
        super().__init__()
        self.seen, self.others = set(), set()

    def __torch_dispatch__(self, called, types, args=(), kwargs=None):
        maps = [x for x in args[:2] if isinstance(x, torch.Tensor) and x.ndim == 4]
        if any(name in str(called) for name in OF_MAPS):
            self.seen.add(str(called))
            if not all(x.stride(1) == 1 and x.stride(3) == x.shape[1] for x in maps):
                self.others.add(str(called))
        return called(*args, **(kwargs or {}))


OF_MAPS = ("convolution", "batch_norm", "max_pool2d", "avg_pool2d", "threshold", "relu")


def test_maps_and_their_gradients_lie_channels_last():
    net = PackedCnn([Cnn(SMALL, in_channels=1, n_classes=5) for _ in range(4)])
    images = torch.randn(6, 4, 8, 8).to(memory_format=torch.channels_last)

    with Layouts() as layouts:
        net.rows.gradients(net.logits(net.features(images)).square().sum())

    assert layouts.others == set()  # their kernels on a CPU take up to fifteen times as long
    assert any("avg_pool2d_backward" in name for name in layouts.seen)
    assert any("convolution_backward" in name for name in layouts.seen)


def test_a_stage_records_what_it_records_by_itself_but_times_and_memory(taught, tmp_path, device):
    notes = Notes(folder=tmp_path / "plain")
    place = JobContext(device=device, data_root=tmp_path, artifact_folder=notes.folder)
    train_teacher(TeacherJob(data=TINY, teacher=TEACHER, numerics=Numerics(), seed=0), notes, place)

    packed = taught.notes[0]
    gone = {name.removeprefix("teacher.") for name in set(notes.values) - set(packed.values)}
    times = {"seconds", "images_per_second", "data_share"}
    assert times <= gone
    assert {name.partition("_")[0] for name in gone - times} <= {"memory", "energy"}
    assert not set(packed.values) - set(notes.values)
    for own, other in zip(packed.epochs, notes.epochs, strict=True):
        assert set(other) - set(own) == {"teacher.train_seconds"}
    assert packed.epochs[0]["teacher.ce"] == pytest.approx(notes.epochs[0]["teacher.ce"], rel=1e-5)
    assert packed.epochs[0]["teacher.cache_fill"] == notes.epochs[0]["teacher.cache_fill"]
    assert len(packed.right) == len(notes.right)
    files = {path.name for path in packed.folder.iterdir()}
    assert files == {path.name for path in notes.folder.iterdir()}


def test_a_student_records_what_it_records_by_itself_but_times_and_memory(
    ends, taught, tmp_path, device
):
    packed = ends("packed").students([2], teacher_in(taught)).notes[2]
    notes = Notes(folder=tmp_path / "plain")
    place = JobContext(device=device, data_root=tmp_path, artifact_folder=notes.folder)
    job = StudentJob(data=TINY, student=STUDENT, numerics=Numerics(), seed=2, replicate=0,
                     teacher_folder=taught.notes[2].folder)  # fmt: skip
    train_student(job, notes, place)

    gone = {n.removeprefix("student.") for n in set(notes.values) - set(packed.values)}
    assert {"seconds", "images_per_second", "data_share", "memory_rss"} <= gone
    first, alone = packed.epochs[0], notes.epochs[0]
    for name in set(alone) - {"student.train_seconds"}:
        assert first[name] == pytest.approx(alone[name], rel=1e-4), name


@ON_EACH_DEVICE_SLOWLY
def test_no_step_of_a_pack_waits_for_the_device(ends, taught, device, monkeypatch):
    steps = []

    def forbidden(method):
        def wrapped(*arguments, **named):
            with waiting_forbidden(device):
                steps.append(method)
                return method(*arguments, **named)

        return wrapped

    for step in (PackedTeacherStep, PackedStudentStep):
        monkeypatch.setattr(step, "__call__", forbidden(step.__call__))
    monkeypatch.setattr(RowOptimizer, "step", forbidden(RowOptimizer.step))
    ends("teachers").teachers([1, 2])
    first = len(steps)
    ends("students").students([1, 2], teacher_in(taught))

    assert 30 <= first < len(steps)


# In any company.


def test_a_stage_ends_with_the_same_bits_in_any_pack(ends, taught):
    for seeds in ([3], [9, 8, 7, 11, 3]):
        assert ends(str(seeds)).teachers(seeds).told(3) == taught.told(3)
    pupils = ends("all").students(range(6), teacher_in(taught))
    assert ends("alone").students([3], teacher_in(taught)).told(3) == pupils.told(3)
    one_teacher = ends("one").students(range(6), lambda seed: taught.notes[0].folder)
    assert one_teacher.weights(0) == pupils.weights(0)
    assert one_teacher.weights(3) != pupils.weights(3)


def test_numbers_may_differ_within_a_pack(ends, taught):
    def other(seed):
        loss = INTRA.model_copy(update={"weight": 0.1 * seed, "margin": "off", "temperature": 0.3})
        training = THREE.model_copy(update={"lr": 0.01})
        return (
            TEACHER
            if seed == 3
            else TEACHER.model_copy(update={"intra": loss, "training": training})
        )

    mixed = ends("mixed").teachers(range(5), other)
    assert mixed.told(3) == taught.told(3)
    assert mixed.weights(2) != taught.weights(2)


def test_a_loss_of_weight_zero_changes_no_bit(ends):
    none = TEACHER.model_copy(update={"intra": INTRA.model_copy(update={"weight": 0.0})})
    without = TEACHER.model_copy(update={"intra": "off"})

    zero = ends("zero").teachers([1, 2], none)
    assert zero.weights(1) == ends("off").teachers([1], without).weights(1)


@pytest.mark.parametrize("after", [1, 2])
def test_a_pack_that_is_stopped_goes_on_in_other_packs(ends, taught, after):
    stopped = ends("stopped")
    kept = lambda seed: stopped.folder / "kept" / str(seed)  # noqa: E731

    def asked(seed):
        asks = iter([False] * (after - 1) + [True])
        return lambda: next(asks)

    stopped.teachers(range(6), should_stop=asked, checkpoint_folder=kept)
    assert all(isinstance(error, StagePaused) for error in stopped.errors.values())
    assert [error.epoch for error in stopped.errors.values()] == [after] * 6

    first = ends("first").teachers([4, 1], stage="teachers", checkpoint_folder=kept)
    fresh = ends("fresh").teachers([5, 3, 0, 20, 21], checkpoint_folder=kept)
    assert fresh.notes[20].resumed_after == 0
    assert fresh.notes[5].resumed_after == after
    for run, seed in ((first, 4), (first, 1), (fresh, 5), (fresh, 3), (fresh, 0)):
        assert run.told(seed) == taught.told(seed)


def test_a_member_that_diverges_or_is_cancelled_leaves_and_the_others_do_not_notice(ends, taught):
    wild = TEACHER.model_copy(update={"training": THREE.model_copy(update={"lr": 1e30})})
    run = ends("wild").teachers(
        range(6),
        lambda seed: wild if seed == 1 else TEACHER,
        is_cancelled=lambda seed: lambda: seed == 4,
    )

    assert isinstance(run.errors[1], NonFiniteError)
    assert run.notes[1].values == {"teacher.nonfinite_steps": 1}
    assert isinstance(run.errors[4], StageCancelled)
    assert run.errors[4].epoch == 1
    for seed in (0, 2, 3, 5):
        assert run.errors[seed] is None
        assert run.told(seed) == taught.told(seed)


def test_a_pack_whose_members_are_gone_gets_smaller(ends, taught):
    run = ends("shrunk").teachers(range(6), is_cancelled=lambda seed: lambda: seed in (0, 1, 2))
    for seed in (3, 4, 5):
        assert run.told(seed) == taught.told(seed)


def test_a_student_whose_teacher_cannot_be_read_fails_by_itself(ends, taught, tmp_path):
    pupils = ends("all").students([2, 3], teacher_in(taught))
    run = ends("some").students(
        range(4), lambda seed: tmp_path / "none" if seed == 1 else taught.notes[seed].folder
    )

    assert isinstance(run.errors[1], StageError)
    assert run.told(3) == pupils.told(3)


def test_a_student_of_a_teacher_that_diverged_blames_it(ends, taught, tmp_path):
    from safetensors.torch import load_file, save_file

    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    weights = load_file(taught.notes[0].folder / "model.safetensors")
    save_file({n: v * torch.nan if v.is_floating_point() else v for n, v in weights.items()},
              spoilt / "model.safetensors")  # fmt: skip
    (spoilt / "model.json").write_text((taught.notes[0].folder / "model.json").read_text())

    run = ends("blames").students(
        [0, 1], lambda seed: spoilt if seed == 0 else taught.notes[1].folder
    )
    assert "the teacher diverged" in str(run.errors[0])
    assert run.errors[1] is None


ALONE = STUDENT.model_copy(update={"distiller": "off"})
HOT = STUDENT.model_copy(update={"distiller": KdDistiller(temperature=8.0, standardize="on")})
LONG = Training(epochs=12, stop_epoch=2, warmup=Warmup(epochs=2), batch_size=32)


@pytest.mark.parametrize("device", ["cpu"], indirect=True)
@pytest.mark.parametrize("settings", slow_but(["alone", "hot", "schedule"], "hot"))
def test_other_students_end_with_the_same_bits_in_any_pack(ends, taught, settings):
    chosen = {
        "alone": ALONE, "hot": HOT,
        "schedule": STUDENT.model_copy(update={"training": LONG}),
    }[settings]  # fmt: skip
    teachers = (lambda seed: None) if settings == "alone" else teacher_in(taught)
    many = ends("many").students(range(5), teachers, chosen)
    few = ends("few").students([4], teachers, chosen)

    assert many.errors[4] is None
    assert many.told(4) == few.told(4)
