"""A step that is captured: nothing of it changes from step to step but values.

On a CPU such a step is executed as it is, and looked at operation by operation; tests marked gpu
replay it as a CUDA graph.
"""

from dataclasses import dataclass, field

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from icckd.errors import StagePaused
from icckd.study.graphs import ON_THE_HOST
from icckd.study.training import Numerics, Training
from icckd.train import captured
from icckd.train.captured import StaticStep
from icckd.train.data.stream import TrainStream
from icckd.train.losses.contrastive import IntraLoss, MarginFilter, NegativeCache
from icckd.train.losses.spread import SpreadLoss
from icckd.train.losses.supcon import SupConLoss
from tests.support.lanes import ON_EACH_DEVICE_SLOWLY
from tests.train.distiller_sample import SETTINGS, settings_of
from tests.train.test_devices import NoReads, waiting_forbidden

GRAPHS = Numerics(graphs="on")
CACHED = IntraLoss(weight=0.5, margin=MarginFilter(threshold=0.0), cache=NegativeCache(per_class=9))
ADAMW = Training(  # a captured step has its rate in float32, which Adam's update in double shows
    epochs=3, batch_size=32, lr=2**-7, schedule={"kind": "constant"}, accumulate=2, clip_norm=0.5,
    decayed="weights", optimizer={"kind": "adamw"},
)  # fmt: skip
TEACHERS = {
    "cached": {"intra": CACHED},
    "cross-entropy": {"intra": "off", "views": 1},
    "adamw in parts": {"intra": CACHED, "training": ADAMW},
    "encoded anew": {"intra": IntraLoss(cache=NegativeCache(per_class=4, mode="reencode"))},
    "head and mean": {"intra": IntraLoss(head={}, centering={"kind": "class-mean"})},
    "mean margin": {"intra": IntraLoss(margin=MarginFilter(view="mean"), reduction="anchors")},
    "supcon": {"supcon": SupConLoss(head={}), "intra": "off"},
    "spread": {"spread": SpreadLoss(), "intra": "off"},
}
DISTILLERS = [
    name for name in SETTINGS if ON_THE_HOST.keys().isdisjoint(settings_of(name).methods())
]
TIMES = ("seconds", "memory", "images_per_second", "data_share", "energy")


def told(notes):
    def kept(values):
        return {n: v for n, v in values.items() if not any(time in n for time in TIMES)}

    return notes.weights, [kept(values) for values in notes.epochs], kept(notes.values)


@pytest.fixture
def laid_out_alike(monkeypatch):
    """Lay batches outside a graph out for the largest class of any, as a captured step must."""

    def largest(stream, order_SB):
        return [stream.largest_class] * len(order_SB)

    monkeypatch.setattr(TrainStream, "_largest_classes", largest)


@ON_EACH_DEVICE_SLOWLY
@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_has_the_bits_of_one_whose_steps_are_executed(
    name, device, run_teacher, laid_out_alike
):
    plain = run_teacher(**TEACHERS[name], device=device)

    assert told(run_teacher(**TEACHERS[name], device=device, numerics=GRAPHS)) == told(plain)


@ON_EACH_DEVICE_SLOWLY
def test_a_student_has_the_bits_of_one_whose_steps_are_executed(
    device, teacher_folder, run_student
):
    brief = Training(epochs=1, batch_size=32)
    for name in [*DISTILLERS, "off"]:
        distiller = "off" if name == "off" else settings_of(name)
        common = {"distiller": distiller, "training": brief, "device": device}
        runs = [run_student(teacher_folder, **common, numerics=n) for n in (Numerics(), GRAPHS)]
        assert told(runs[0]) == told(runs[1]), name


@dataclass
class Calls(TorchDispatchMode):
    """What a step calls: operations, their shapes and numbers, and the memory that it finds."""

    made: set[int] = field(default_factory=set)
    seen: list[tuple[object, ...]] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        leaves = torch.utils._pytree.tree_leaves((args, kwargs or {}))
        self.seen.append((str(func), *map(self._about, leaves)))
        assert func not in NoReads.READS, f"{func} asks the host"
        if func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put_):
            masks = [x for x in leaves[1:] if torch.is_tensor(x) and x.dtype is torch.bool]
            assert not masks, f"the shape of {func} depends on values"
        out = func(*args, **(kwargs or {}))
        for each in torch.utils._pytree.tree_leaves(out):
            if torch.is_tensor(each):
                self.made.add(each.untyped_storage().data_ptr())
        return out

    def _about(self, value):
        if not torch.is_tensor(value):
            return value
        place = value.untyped_storage().data_ptr()
        own = None if place in self.made else place
        return (tuple(value.shape), value.stride(), value.dtype, own)


@pytest.fixture
def watched(monkeypatch):
    """Look at each step that a static one executes; return what was seen, by variant."""
    seen = {}
    execute = StaticStep._execute

    def watching(self, batch, epoch):
        with Calls() as calls:
            execute(self, batch, epoch)
        seen.setdefault((id(self), self._variant), []).append(calls.seen)

    monkeypatch.setattr(StaticStep, "_execute", watching)
    return seen


def differing(seen):
    """Return the first calls of which two steps of a variant differ, from the second step on.

    The first one of a stage makes the momentum.
    """
    found = []
    for (_, variant), steps in seen.items():
        for calls in steps[2:]:
            found += [
                (variant, one, other)
                for one, other in zip(steps[1], calls, strict=len(calls) == len(steps[1]))
                if one != other
            ][:1]
            found += [] if len(calls) == len(steps[1]) else [(variant, "another number of calls")]
    return found


@pytest.mark.parametrize("name", ["cached", "adamw in parts"])
def test_no_step_of_a_teacher_differs_from_another_but_in_values(name, run_teacher, watched):
    run_teacher(**TEACHERS[name], numerics=GRAPHS)

    assert sorted(variant for _, variant in watched) == [(False,), (True,)]
    assert min(map(len, watched.values())) > 3
    assert not differing(watched)


@pytest.mark.slow
def test_no_step_of_any_loss_or_distiller_differs_from_another_but_in_values(
    run_teacher, run_student, teacher_folder, watched
):
    brief = Training(epochs=1, batch_size=32)
    for name, settings in TEACHERS.items():
        run_teacher(**{**settings, "training": brief}, numerics=GRAPHS)
        assert not differing(watched), name
    for name in DISTILLERS:
        distiller = settings_of(name)
        run_student(teacher_folder, distiller=distiller, training=brief, numerics=GRAPHS)
        assert not differing(watched), name


def test_the_watch_sees_a_distiller_that_needs_the_host(teacher_folder, run_student, watched):
    run_student(teacher_folder, distiller=settings_of("crd, drawn"), numerics=GRAPHS)

    assert differing(watched)


@ON_EACH_DEVICE_SLOWLY
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_graph_gives_the_bits_of_its_steps_executed_and_of_a_stage_that_was_resumed(
    precision, device, run_teacher, tmp_path, monkeypatch
):
    if device == "cpu" and precision == "fp16":
        pytest.skip("CPU form: fp16 is for GPUs")
    numerics = Numerics(graphs="on", precision=precision)
    replayed = []
    if device == "cuda":
        replay = torch.cuda.CUDAGraph.replay
        monkeypatch.setattr(
            torch.cuda.CUDAGraph, "replay", lambda graph: replayed.append(replay(graph))
        )
    settings = {"intra": CACHED, "device": device, "numerics": numerics}
    whole = run_teacher(**settings)
    asked = iter([False, True])
    kept = {"checkpoint_folder": tmp_path / "kept", "stage": "teacher"}
    with pytest.raises(StagePaused):
        run_teacher(**settings, place={**kept, "should_stop": lambda: next(asked), "attempt": "a"})
    resumed = run_teacher(**settings, place={**kept, "attempt": "b"})
    assert bool(replayed) == (device == "cuda")
    monkeypatch.setattr(captured, "WARM_UP", 10**9)
    executed = run_teacher(**settings)

    assert resumed.resumed_after == 2
    assert told(resumed) == told(whole) == told(executed)


@ON_EACH_DEVICE_SLOWLY
def test_no_static_step_waits_for_the_device(device, run_teacher, monkeypatch):
    """But for the one that is captured, once a variant."""
    steps, call, make = [], StaticStep.__call__, StaticStep._captured

    def forbidden(self, batch, **told):
        with waiting_forbidden(device):
            steps.append(told["number"])
            return call(self, batch, **told)

    def allowed(self, batch, epoch):
        mode = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("default")
        try:
            return make(self, batch, epoch)
        finally:
            torch.cuda.set_sync_debug_mode(mode)

    monkeypatch.setattr(StaticStep, "__call__", forbidden)
    monkeypatch.setattr(StaticStep, "_captured", allowed)
    run_teacher(device=device, intra=CACHED, numerics=GRAPHS)

    assert len(steps) == 15
