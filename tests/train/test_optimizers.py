"""Updates and learning rates are torch's own; gradients are clipped and gathered as declared."""

import copy

import pytest
import torch
from torch.optim import lr_scheduler

from icckd.errors import NonFiniteError
from icckd.study.paths import tables_in
from icckd.study.training import (
    AdamOptimizer,
    AdamWOptimizer,
    ConstantSchedule,
    CosineSchedule,
    MultistepSchedule,
    Numerics,
    SgdOptimizer,
    StepSchedule,
    Training,
    Warmup,
)
from icckd.train.data.batch import Batch, parts_of
from icckd.train.optim import OPTIMIZERS, learning_rate, make_optimizer
from icckd.train.precision import PLAIN, Arithmetic
from icckd.train.trainer import StepLog, StepValues, Update

SGD = {"momentum": 0.9, "lr": 0.1, "weight_decay": 0.01}


def network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7), torch.nn.ReLU(),
                                torch.nn.Linear(7, 3))  # fmt: skip
    return model.train()


def descend(model, update, steps=7):
    torch.manual_seed(1)
    for _ in range(steps):
        model.zero_grad()
        model(torch.randn(8, 5)).square().mean().backward()
        update()
    return [parameter.detach().clone() for parameter in model.parameters()]


def torchs(model, training):
    """Return torch's own optimizer for the settings."""
    wd, settings = training.weight_decay, training.optimizer
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    spared = 0.0 if training.decayed == "weights" else wd
    groups = [{"params": weights, "weight_decay": wd}, {"params": others, "weight_decay": spared}]
    if settings.kind == "sgd":
        return torch.optim.SGD(
            groups, lr=training.lr, momentum=training.momentum, nesterov=settings.nesterov,
            fused=True,
        )  # fmt: skip
    made = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    betas = (settings.beta1, settings.beta2)
    return made(groups, lr=training.lr, betas=betas, eps=settings.epsilon, fused=True)


@pytest.mark.parametrize("decayed", ["all", "weights"])
@pytest.mark.parametrize(
    "settings",
    [
        {**SGD},
        {**SGD, "momentum": 0.0},
        {**SGD, "optimizer": SgdOptimizer(nesterov=True)},
        {"lr": 0.01, "weight_decay": 0.1, "optimizer": AdamOptimizer(kind="adam")},
        {"lr": 0.01, "weight_decay": 0.1, "optimizer": AdamWOptimizer(kind="adamw", beta1=0.5)},
    ],
)
def test_updates_are_bit_for_bit_those_of_torch_optim(settings, decayed):
    training = Training(**settings, decayed=decayed)
    ours, theirs = network(), network()
    mine, reference = make_optimizer(ours.parameters(), training), torchs(theirs, training)

    got = descend(ours, lambda: mine.step(training.lr))
    wanted = descend(theirs, reference.step)

    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    spared = make_optimizer(network().parameters(), training)
    assert not all(
        torch.equal(a, b)
        for a, b in zip(got, descend(network(), lambda: spared.step(0.0)), strict=True)
    )


@pytest.mark.parametrize(
    "optimizer",
    [SgdOptimizer(), AdamOptimizer(kind="adam"), AdamWOptimizer(kind="adamw")],
    ids=lambda settings: settings.kind,
)
def test_an_optimizer_goes_on_from_its_state_bit_for_bit(optimizer):
    training = Training(optimizer=optimizer, lr=0.01)
    model = network().to(memory_format=torch.preserve_format)
    mine = make_optimizer(model.parameters(), training)
    descend(model, lambda: mine.step(0.01))
    other = copy.deepcopy(model)
    fresh = make_optimizer(other.parameters(), training)

    fresh.restore({name: value.clone() for name, value in mine.state().items()})

    assert {n: t.shape for n, t in mine.state().items()} == {
        n: t.shape for n, t in fresh.expected().items()
    }
    got = descend(other, lambda: fresh.step(0.01))
    wanted = descend(model, lambda: mine.step(0.01))
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_the_keys_of_the_optimizers_are_the_tags_of_their_settings():
    tables = tables_in(Training.model_fields["optimizer"].annotation)

    assert set(OPTIMIZERS) == {
        table.model_fields["kind"].annotation.__args__[0] for table in tables
    }


def schedulers(schedule, optimizer, epochs, first):
    """Return torch's own scheduler after `first` epochs of warm-up."""
    if schedule.kind == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, epochs - first)
    if schedule.kind == "constant":
        return lr_scheduler.ConstantLR(optimizer, factor=1.0)
    passed = [m - first for m in getattr(schedule, "milestones", ())]
    if schedule.kind == "step":
        passed = [m - first for m in range(schedule.every, epochs, schedule.every)]
    return lr_scheduler.MultiStepLR(optimizer, passed, schedule.factor)


@pytest.mark.parametrize("warmup", ["off", Warmup(epochs=3, start_factor=0.2)])
@pytest.mark.parametrize(
    "schedule",
    [
        CosineSchedule(),
        MultistepSchedule(kind="multistep", milestones=(4, 6), factor=0.3),
        StepSchedule(kind="step", every=4, factor=0.5),
        ConstantSchedule(kind="constant"),
    ],
    ids=lambda settings: getattr(settings, "kind", None),
)
def test_learning_rates_are_those_of_torchs_schedulers(schedule, warmup):
    training = Training(epochs=9, lr=0.3, schedule=schedule, warmup=warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    first = 0 if warmup == "off" else warmup.epochs
    reference = schedulers(schedule, optimizer, 9, first)
    if first:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = 0.3
        rise = lr_scheduler.LinearLR(optimizer, warmup.start_factor, total_iters=first)
        reference = lr_scheduler.SequentialLR(optimizer, [rise, reference], [first])
    expected = []
    for _ in range(9):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()

    assert [learning_rate(training, epoch) for epoch in range(1, 10)] == pytest.approx(expected)


def test_torchs_step_schedule_is_ours():
    training = Training(epochs=9, lr=0.3, schedule=StepSchedule(kind="step", every=4, factor=0.5))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    reference = lr_scheduler.StepLR(optimizer, 4, 0.5)
    for epoch in range(1, 10):
        assert learning_rate(training, epoch) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()


class LinearStep:
    """Mean of the squared outputs of a linear layer; of the kind that `fit` drives."""

    losses = ("ce",)
    diagnostics = ("sum",)

    def __init__(self, model, views=1):
        self.model, self.views, self.state = model, views, torch.nn.Module()
        self.batches = []

    def __call__(self, batch, *, step, epoch):
        self.batches.append(batch)
        loss = self.model(batch.images.flatten(1)).square().mean()
        loss.backward()
        return StepValues(losses=(loss.detach(),), diagnostics=(batch.ids.sum(),))


def a_batch(size=8, views=2):
    torch.manual_seed(3)
    return Batch(
        images=torch.randn(views * size, 1, 1, 5), labels=torch.arange(size) % 3,
        ids=torch.arange(size), largest_class=3,
    )  # fmt: skip


def one_update(training, arithmetic=PLAIN, step_type=LinearStep):
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 2, bias=False)
    optimizer = make_optimizer(model.parameters(), training)
    update = Update(optimizer, training, arithmetic)
    step = step_type(model)
    values, told = update.run(step, a_batch(), number=0, epoch=1, lr=training.lr)
    return model.weight.detach(), values, dict(zip(update.terms, told, strict=True)), step


def test_a_clipped_gradient_has_the_limit_as_its_norm_and_the_norm_before_is_told():
    loose = Training(momentum=0.0, weight_decay=0.0, lr=1.0, batch_size=8)
    free, _, told, _ = one_update(loose)
    start = torch.nn.Linear(5, 2, bias=False)
    torch.manual_seed(0)
    start = torch.nn.Linear(5, 2, bias=False).weight.detach()
    limit = float(told["grad_norm"]) / 2

    clipped, _, noted, _ = one_update(loose.model_copy(update={"clip_norm": limit}))
    kept, _, unclipped, _ = one_update(loose.model_copy(update={"clip_norm": 1e6}))

    assert (start - clipped).norm().item() == pytest.approx(limit, rel=1e-5)
    torch.testing.assert_close((start - clipped) * 2, start - free, rtol=1e-4, atol=1e-6)
    assert noted["grad_norm"] == told["grad_norm"]
    assert (noted["clip_share"], unclipped["clip_share"]) == (100.0, 0.0)
    assert torch.equal(kept, free)
    assert "clip_share" not in told


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_give_the_gradient_of_the_whole_batch(parts):
    whole, values, _, _ = one_update(Training(batch_size=8))
    split, means, _, step = one_update(Training(batch_size=8, accumulate=parts))

    assert len(step.batches) == parts
    torch.testing.assert_close(split, whole)
    torch.testing.assert_close(means.losses, values.losses)
    torch.testing.assert_close(means.diagnostics[0], values.diagnostics[0].float() / parts)


def test_parts_keep_the_views_of_an_image_together_and_lose_none():
    batch = a_batch()
    parts = list(parts_of(batch, 4))

    for number, part in enumerate(parts):
        rows = slice(2 * number, 2 * number + 2)
        assert torch.equal(part.ids, batch.ids[rows])
        assert torch.equal(part.labels, batch.labels[rows])
        wanted = torch.cat([batch.images[rows], batch.images[8:][rows]])
        assert torch.equal(part.images, wanted)


class HugeStep(LinearStep):
    """A loss whose scaled gradient overflows fp16 until the scale is small enough, or always."""

    factor = 20.0

    def __init__(self, model, arithmetic):
        super().__init__(model)
        self.arithmetic = arithmetic

    def __call__(self, batch, *, step, epoch):
        loss = self.model(batch.images.flatten(1)).square().mean() * self.factor
        scaled = self.arithmetic.scaled(loss)
        if not scaled.half().isfinite():
            scaled = scaled * torch.inf
        torch.autograd.backward(scaled)
        return StepValues(losses=(loss.detach(),))


def test_an_overflow_of_the_scaled_gradient_skips_the_step_and_is_counted():
    arithmetic = Arithmetic(Numerics(precision="fp16"), "cpu")
    training = Training(batch_size=8)
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 2, bias=False)
    start = model.weight.detach().clone()
    optimizer = make_optimizer(model.parameters(), training)
    update, step = Update(optimizer, training, arithmetic), HugeStep(model, arithmetic)
    shares, moved = [], []
    for number in range(8):
        _, told = update.run(step, a_batch(), number=number, epoch=1, lr=0.1)
        values = dict(zip(update.terms, told, strict=True))
        shares.append(float(values["overflow_share"]))
        moved.append(not torch.equal(model.weight.detach(), start))
        assert values["grad_norm"].isfinite()

    assert shares[0] == 100.0
    assert shares[-1] == 0.0
    assert moved == [share == 0.0 for share in shares]
    assert arithmetic.loss_scale.scale == 65536 / 2 ** shares.count(100.0)


def test_gradients_that_overflow_at_every_scale_fail_the_stage():
    arithmetic = Arithmetic(Numerics(precision="fp16"), "cpu")
    training = Training(batch_size=8)
    model = torch.nn.Linear(5, 2, bias=False)
    update = Update(make_optimizer(model.parameters(), training), training, arithmetic)
    step = HugeStep(model, arithmetic)
    step.factor = torch.inf

    log = StepLog(("ce", *update.terms), 17, "cpu")

    def take(number):
        _, told = update.run(step, a_batch(), number=number, epoch=1, lr=0.1)
        log.write((torch.ones(()), *told))

    for number in range(16):
        take(number)
    with pytest.raises(NonFiniteError) as caught:
        take(16)

    assert (caught.value.step, caught.value.term) == (16, "grad_norm")
