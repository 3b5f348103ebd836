"""A whole training step stays on its device and never waits for it, on torch's meta device.

A meta tensor has a shape and no values: an operation between it and a CPU tensor fails, and so
does reading a value. What a GPU would do without an error, or only there, is told by a watch on
every operation. tests/train/test_cuda.py has the numbers.

Autocast knows no meta tensors; here convolutions and products are cast by hand in half precision.
"""

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms.functional import to_pil_image

from icckd.study.data import DATASETS, Augmentation, ResizedCrop
from icckd.study.network import MODELS
from icckd.study.packing import ON_CUDA
from icckd.study.teacher import TEACHER_LOSSES, BalancedSampler, Teacher
from icckd.study.training import Numerics, Training
from icckd.train.captured import StaticStep
from icckd.train.data.batch import Batch
from icckd.train.data.dataset import Dataset
from icckd.train.data.splits import Normaliser, pixel_statistics
from icckd.train.data.stream import TrainStream
from icckd.train.datasets.digits import DigitsData
from icckd.train.datasets.folders import ImageFolderData
from icckd.train.distillers import build_distiller
from icckd.train.distillers.base import Pairing
from icckd.train.losses.contrastive import IntraLoss
from icckd.train.networks import build_model, memory_format
from icckd.train.networks.cnn import CnnModel
from icckd.train.optim import make_optimizer
from icckd.train.packs.batches import Feed
from icckd.train.packs.network import PackedCnn
from icckd.train.packs.optim import make_row_optimizer
from icckd.train.packs.student import PackedStudentStep
from icckd.train.packs.teacher import PackedTeacherStep
from icckd.train.precision import PLAIN, Arithmetic, prepare
from icckd.train.student import AloneStep, StudentStep, TeacherForward, example_output
from icckd.train.teacher import TeacherStep, build_losses, train_stream
from icckd.train.trainer import StepLog, Update, taking
from tests.train.distiller_sample import SETTINGS, settings_of
from tests.train.test_models import CONTRACT, label, torchvision

META = torch.device("meta")
aten = torch.ops.aten

WAITS = {
    aten._local_scalar_dense, aten.nonzero, aten.nonzero_static, aten.is_nonzero, aten.equal,
    aten.masked_select, aten.repeat_interleave, aten._unique2, aten.unique_dim, aten.item,
}  # fmt: skip
"""A GPU must finish its work before the host goes on."""

REFUSED = {
    aten._adaptive_avg_pool2d_backward, aten.adaptive_max_pool2d_backward,
    aten.avg_pool3d_backward, aten.upsample_linear1d_backward, aten.upsample_bilinear2d_backward,
    aten.upsample_bicubic2d_backward, aten.upsample_trilinear3d_backward,
    aten._upsample_bilinear2d_aa_backward, aten.reflection_pad1d_backward,
    aten.reflection_pad2d_backward, aten.replication_pad2d_backward, aten.nll_loss2d_forward,
    aten._ctc_loss, aten.histc, aten.bincount, aten.median, aten.kthvalue, aten.put_,
    aten.grid_sampler_2d_backward, aten.scatter_reduce, aten._embedding_bag, aten.max_unpool2d,
    aten.fractional_max_pool2d_backward, aten.cumsum,
}  # fmt: skip
"""Deterministic mode refuses these on CUDA (torch.use_deterministic_algorithms), some by type."""

SORTS = {
    aten.index_copy, aten.index_put, aten._unsafe_index_put, aten.index_add, aten.scatter,
    aten.scatter_add, aten.embedding_dense_backward, aten.index_select_backward, aten.put,
    aten.index_copy_, aten.index_put_, aten.index_add_, aten.scatter_, aten.scatter_add_,
    aten._index_put_impl_,
}  # fmt: skip
"""Deterministic mode sorts on CUDA before these."""

DRAWS = {aten.randint, aten.randperm, aten.rand}


STATE = torch.default_generator.get_state().shape
"""Of the state of a stream's generator, which lies on the host."""


class Watch(TorchDispatchMode):
    """Fails at the first operation of a step that leaves the device or would wait for it."""

    def __init__(self, *, copies: int = 0):
        super().__init__()
        self.copies = copies

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket
        given = tensors_in((args, kwargs.values() if kwargs else ()))
        if name is aten.lift_fresh and given[0].shape == STATE:
            return func(*args, **(kwargs or {}))
        if name in DRAWS:  # numbers are drawn on the host, then copied without waiting
            self.copies += 1
            return func(*args, **(kwargs or {}))
        is_copy = name is aten._to_copy and kwargs.get("device") == META
        if is_copy and given[0].device != META:
            self.copies -= 1
            assert self.copies >= 0, f"{func} copies {tuple(given[0].shape)} to the device"
            return func(*args, **kwargs)
        assert name not in WAITS, f"{func} waits for the device"
        integers = name is aten.cumsum and not given[0].is_floating_point()
        assert name not in REFUSED or integers, f"{func} is refused in deterministic mode"
        if name in SORTS:
            assert not torch.are_deterministic_algorithms_enabled(), f"{func} sorts on a GPU"
        if name in (aten.index, aten.index_put, aten.index_put_):
            masks = [x for x in given[1:] if x.dtype is torch.bool]
            assert not masks, f"{func} by a mask waits for the device"
        made = func(*args, **(kwargs or {}))
        for tensor in (*given, *tensors_in((made,))):
            if not tensor.is_meta and tensor.ndim:
                raise AssertionError(f"{func} on a tensor of {tuple(tensor.shape)} on the host")
        return made


def tensors_in(values):
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple | type({}.values())):
            found += tensors_in(value)
    return found


class HalfOperands(TorchFunctionMode):
    """Casts what convolutions and products read, as autocast does on a device that it knows."""

    FUNCTIONS = (torch.nn.functional.conv2d, torch.conv2d, torch.nn.functional.linear)

    def __init__(self, dtype):
        super().__init__()
        self._dtype = dtype

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in self.FUNCTIONS:
            args = [x.to(self._dtype) if isinstance(x, torch.Tensor) else x for x in args]
        return func(*args, **(kwargs or {}))


def autocast(device, dtype=None, enabled=True):
    return HalfOperands(dtype) if enabled and device == "meta" else nullcontext()


@pytest.fixture(autouse=True)
def meta_device(monkeypatch):
    """Let the meta device stand for a GPU: its autocast, and the one update it does not know."""
    prepare("cpu", Numerics())
    monkeypatch.setattr(torch, "autocast", autocast)
    library = torch.library.Library("aten", "IMPL")
    for overload in ("_fused_sgd_", "_fused_sgd_.tensor_lr"):
        library.impl(overload, lambda *arguments, **named: None, "Meta")
    yield
    library._destroy()


@contextmanager
def told(what):
    """Say in which case of a loop something failed."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in: {what}")
        raise


def material_of(data, folder, precision="fp32"):
    """A data set on the meta device; what training needs of its values is on the host."""
    splits = DATASETS[data.kind](data, folder)
    train = replace(
        splits.train,
        statistics=splits.train.statistics or pixel_statistics(splits.train),
    )
    on_device = train.to("meta")
    return Dataset(
        train=on_device, validation=splits.validation.to("meta"), test=splits.test.to("meta"),
        normalise=Normaliser(on_device, precision), augment=data.augment,
        n_classes=splits.n_classes, in_channels=splits.in_channels,
        host_labels=train.labels, device="meta", precision=precision,
    )  # fmt: skip


def network(settings, material):
    """A network on the meta device, whose values are never drawn."""
    with META:
        made = MODELS[settings.kind](
            settings, in_channels=material.in_channels, n_classes=material.n_classes
        )
    return made.to(memory_format=memory_format("meta", material.precision)).train()


def take_steps(model, step, stream, training, arithmetic, *, steps=2):
    """Take some steps as an epoch does; nothing but what is drawn may come from the host.

    In the second, an epoch later, caches are used and moments are there.
    """
    optimizer = make_optimizer([*model.parameters(), *step.state.parameters()], training)
    update = Update(optimizer, training, arithmetic)
    terms = (*step.losses, *update.terms, *step.diagnostics)
    log = StepLog(terms, 100, "meta")
    batches = stream.epoch(1)
    batch = next(batches)  # an epoch's order and views are copied to the device at its start
    for number in range(steps):
        with Watch():
            if number:
                batch = next(batches)
            values, done = update.run(step, batch, number=number, epoch=1 + number, lr=0.1)
            row = (*values.losses, *done, *values.diagnostics)
            log.write(row)
        off = [name for name, value in zip(terms, row, strict=True) if value.dtype != torch.float32]
        assert not off, f"{off} are cast one by one when they are logged"
    held = [*model.state_dict().values(), *step.state.state_dict().values()]
    held += [p.grad for p in model.parameters()] + list(optimizer.state().values())
    assert {value.device for value in held if value is not None} == {META}


FIFO = {"per_class": 4, "warmup_epochs": 1}
TEACHERS = {
    "ce": {},
    "ce, two views": {"views_in_ce": 2, "label_smoothing": 0.1},
    "intra": {"intra": {"cache": "off"}},
    "intra, cache": {"intra": {"cache": FIFO}},
    "intra, re-encoded cache": {"intra": {"cache": {**FIFO, "mode": "reencode"}}},
    "intra, head": {"intra": {"head": {}, "centering": {"kind": "batch-mean"}}},
    "intra, class mean": {"intra": {"centering": {"kind": "class-mean"}, "cache": FIFO}},
    "intra, mean margin": {"intra": {"margin": {"view": "mean"}, "negatives_view": "same"}},
    "intra, no margin": {"intra": {"margin": "off", "reduction": "anchors"}},
    "supcon": {"supcon": {}},
    "supcon, head": {"supcon": {"head": {}}},
    "spread": {"spread": {}},
    "both": {"supcon": {}, "intra": {"normalize": "log-negatives"}},
}
TRAININGS = {
    "sgd": {},
    "sgd without momentum": {"momentum": 0.0, "decayed": "weights"},
    "adamw, parts": {"optimizer": {"kind": "adamw"}, "accumulate": 2, "clip_norm": 1.0},
}
CNN = CnnModel(widths=(4, 4, 8)).model_dump()
STUDENT = CnnModel(widths=(2, 4, 4))


def training_of(**changed):
    return Training.model_validate({"epochs": 3, "batch_size": 32, **changed})


def run_a_teacher(material, settings, precision):
    teacher = Teacher.model_validate(
        {"model": CNN, "views": 2, "training": training_of(), **settings}
    )
    arithmetic = Arithmetic(Numerics(precision=precision), "meta")
    model = network(teacher.model, material)
    losses = build_losses(teacher, model, material, ("teacher", 0))
    step = TeacherStep(model, losses, teacher, arithmetic)
    stream = train_stream(teacher, material, ("teacher", 0))
    take_steps(model, step, stream, teacher.training, arithmetic)
    return losses


DIGITS = DigitsData(train=170, validation=40)
PRECISIONS = ("fp32", "fp16")


@pytest.mark.slow
def test_every_loss_of_a_teacher_stays_on_the_device(tmp_path):
    """Each, in each precision, with each kind of update."""
    seen = set()
    for precision in PRECISIONS:
        material = material_of(DIGITS, tmp_path, precision)
        for name, settings in TEACHERS.items():
            with told(f"{precision}, {name}"):
                seen |= set(run_a_teacher(material, settings, precision))
        for name, changed in TRAININGS.items():
            settings = {"training": training_of(**changed), "intra": {"cache": FIFO}}
            with told(f"{precision}, {name}"):
                run_a_teacher(material, settings, precision)

    assert seen == set(TEACHER_LOSSES)


def test_class_balanced_batches_stay_on_the_device(tmp_path):
    sampler = BalancedSampler(classes=4, per_class=8)
    settings = {"sampler": sampler.model_dump(), "intra": {"cache": FIFO}}
    run_a_teacher(material_of(DIGITS, tmp_path), settings, "fp32")


@pytest.mark.slow
def test_every_distiller_stays_on_the_device(tmp_path):
    """The whole step of a student, its teacher asked in each, in each precision."""
    for precision in PRECISIONS:
        material = material_of(DIGITS, tmp_path, precision)
        arithmetic = Arithmetic(Numerics(precision=precision), "meta")
        teacher = network(CnnModel.model_validate(CNN), material).eval()
        stream = stream_of(material)
        for name in SETTINGS:
            with told(f"{precision}, {name}"):
                model = network(STUDENT, material)
                pairing = Pairing(
                    student=example_output(model, material),
                    teacher=example_output(teacher, material),
                    labels=material.host_labels, key=("student", 0),
                )  # fmt: skip
                distiller = build_distiller(settings_of(name), pairing).to("meta")
                asked = TeacherForward(teacher, arithmetic)
                step = StudentStep(model, asked, distiller, arithmetic)
                take_steps(model, step, stream, training_of(), arithmetic)


def stream_of(material, batch_size=32, views=1):
    return TrainStream(
        material.train, material.normalise, material.augment, batch_size=batch_size, views=views,
        key=("student", 0), host_labels=material.host_labels,
    )  # fmt: skip


PACKED_TEACHERS = {
    "ce": {},
    "ce, two views": {"views_in_ce": 2, "label_smoothing": 0.1},
    "intra, cache": {"intra": {"cache": FIFO}},
    "intra, rings that overflow": {"intra": {"cache": {"per_class": 40}}},
    "intra, mean margin": {"intra": {"margin": {"view": "mean"}, "negatives_view": "same"}},
    "intra, anchors": {"intra": {"reduction": "anchors", "normalize": "log-negatives"}},
}


def take_packed_steps(material, net, step, key):
    """Take steps of a pack; what an epoch sends to the device is sent at the first of its steps."""
    training, count = training_of(clip_norm=1.0, decayed="weights"), net.replicas
    optimizers = [make_optimizer([], training) for _ in range(count)]
    rows = make_row_optimizer(net.rows, [training] * count, optimizers)
    rates = torch.full((count, 1), 0.1, device="meta")
    views = 1 if isinstance(step, PackedStudentStep) else 2
    streams = [
        TrainStream(material.train, material.normalise, material.augment, batch_size=32,
                    views=views, key=(key, seed), host_labels=material.host_labels)
        for seed in range(count)
    ]  # fmt: skip
    batches = Feed(streams, material.normalise).epoch(1)
    step(next(batches), step=0, epoch=2)
    for number in (1, 2):
        with Watch():
            gradients, losses, diagnostics = step(next(batches), step=number, epoch=2)
            told = [*losses, *rows.step(gradients, rates), *diagnostics]
            torch.stack(told, dim=1)
        assert {value.device for value in (net.rows.flat, *told)} == {META}


def test_packed_steps_stay_on_the_device(tmp_path):
    """Of teachers with each loss that is packed, and of students with and without one."""
    material = material_of(DIGITS, tmp_path)

    def pack(settings):
        return PackedCnn([network(settings, material) for _ in range(ON_CUDA)])

    for name, changed in PACKED_TEACHERS.items():
        teacher = Teacher.model_validate({"model": CNN, "views": 2, **changed})
        each = [build_losses(teacher, network(teacher.model, material), material, ("t", seed))
                for seed in range(ON_CUDA)]  # fmt: skip
        intra = [losses["intra"] for losses in each if losses]
        net = pack(teacher.model)
        with told(name):
            step = PackedTeacherStep(net, [teacher] * ON_CUDA, intra)
            take_packed_steps(material, net, step, name)
    teachers = pack(CnnModel.model_validate(CNN))
    shown = lambda batch: teachers.evaluate(batch.images, shared=False).logits  # noqa: E731
    example = example_output(network(STUDENT, material), material)
    pairing = Pairing(student=example, teacher=example, labels=material.host_labels, key=("kd",))
    for given in (None, shown):
        kd = [] if given is None else [build_distiller(settings_of("kd"), pairing)] * ON_CUDA
        net = pack(STUDENT)
        take_packed_steps(material, net, PackedStudentStep(net, kd, given), "student")


def test_static_steps_stay_on_the_device(tmp_path):
    """Their number and learning rate lie there too."""
    material = material_of(DIGITS, tmp_path)
    training = training_of()
    settings = {"model": CNN, "views": 2, "intra": {"cache": FIFO}, "training": training}
    teacher = Teacher.model_validate(settings)
    model = network(teacher.model, material)
    losses = build_losses(teacher, model, material, ("teacher", 0))
    step = TeacherStep(model, losses, teacher)
    update = Update(make_optimizer(model.parameters(), training), training, PLAIN)
    stream = train_stream(teacher, material, ("teacher", 0))
    terms = len((*step.losses, *update.terms, *step.diagnostics))
    static = StaticStep(
        taking(step, update), step.variant, terms=terms, largest_class=stream.largest_class
    )
    batches = stream.epoch(1)
    static(next(batches), number=0, epoch=1, lr=0.1)
    for number in (1, 2):
        with Watch():
            told_T = static(next(batches), number=number, epoch=number, lr=0.1)
    assert told_T.device == META


class Endless:
    """One batch of colour images over and over."""

    def __init__(self, size=32):
        images = torch.empty(4, 3, size, size, device="meta")
        labels = torch.zeros(4, dtype=torch.int64, device="meta")
        self._batch = Batch(images=images, labels=labels, ids=labels, largest_class=4)

    def epoch(self, number):
        while True:
            yield self._batch


@pytest.mark.slow
def test_every_network_stays_on_the_device(tmp_path):
    """One step: each is like the first, and updates are looked at above.

    VGG of torchvision besides: its pooling has a gradient of its own here.
    """
    material = material_of(DIGITS, tmp_path, "fp16")
    material = replace(material, in_channels=3, n_classes=10)
    arithmetic = Arithmetic(Numerics(precision="fp16"), "meta")
    for settings in [*CONTRACT, torchvision("vgg11")]:
        with told(label(settings)):
            model = network(settings, material)
            step = AloneStep(model, arithmetic)
            take_steps(model, step, Endless(), training_of(), arithmetic, steps=1)


def bird_folder(home):
    for name in ("auk", "jay"):
        (home / "birds" / name).mkdir(parents=True)
        for number in range(30):
            pixels = torch.randint(0, 256, (3, 14, 12), dtype=torch.uint8)
            to_pil_image(pixels).save(home / "birds" / name / f"{number}.png")


@pytest.mark.parametrize("crop", ["off", ResizedCrop()], ids=["pixels", "boxes"])
def test_a_streamed_set_is_copied_to_the_device_and_its_steps_stay_there(crop, tmp_path):
    bird_folder(tmp_path)
    turned = {} if crop != "off" else {"padding": 1, "rotation": 10.0}
    data = ImageFolderData(
        kind="image-folder", folder="birds", size=12, resident_bytes=0,
        augment=Augmentation(flip=True, resized_crop=crop, **turned),
    )  # fmt: skip
    material = material_of(data, tmp_path)
    teacher = Teacher(
        model=CnnModel(widths=(4, 4, 8)),
        training=Training(epochs=1, batch_size=8),
        views=2,
        intra=IntraLoss(),
    )
    model = network(teacher.model, material)
    arithmetic = Arithmetic(Numerics(), "meta")
    stream = train_stream(teacher, material, ("teacher", 0))
    losses = build_losses(teacher, model, material, ("teacher", 0))
    step = TeacherStep(model, losses, teacher, arithmetic)
    batches = list(stream.epoch(1))

    assert len(batches) > 2
    held = [x for b in batches for x in (b.images, b.labels, b.ids, b.codes) if x is not None]
    assert {tensor.device for tensor in held} == {META}
    given = type("Given", (), {"epoch": lambda self, number: iter(batches)})()
    take_steps(model, step, given, teacher.training, arithmetic, steps=2)


OFFENCES = {
    "waits": lambda x: x.sum().item(),
    "asks": lambda x: bool((x > 0).any()),
    "counts": lambda x: x[x > 0],
    "is made on the host": lambda x: torch.ones(3) + 1,
    "comes from the host": lambda x: x + torch.tensor([1.0, 2.0]).to("meta"),
    "mixes": lambda x: x + torch.ones(2),
    "goes to the host": lambda x: x.cpu(),
    "sorts": lambda x: x.index_copy(0, torch.zeros(1, dtype=torch.int64, device="meta"), x[:1]),
    "is refused": lambda x: torch.histc(x, bins=2),
}


@pytest.mark.parametrize("name", OFFENCES)
def test_the_watch_sees_what_it_is_for(name):
    x = torch.zeros(2, device="meta")

    # A meta tensor has no data to copy: torch refuses that one itself, before the watch can.
    error = NotImplementedError if name == "goes to the host" else AssertionError
    with pytest.raises(error), Watch():
        OFFENCES[name](x)


def test_a_network_lies_in_memory_as_its_numerics_say():
    """And so do its gradients, which fused updates rely on."""
    for precision in ("fp32", "bf16"):
        model = build_model(
            CnnModel(), in_channels=3, n_classes=5, key=("a",), device="meta", precision=precision
        )
        channels_last = model.block2.conv.weight.is_contiguous(memory_format=torch.channels_last)
        assert channels_last == (precision == "bf16")
