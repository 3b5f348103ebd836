"""Laws of losses of the teacher.

Shape suffixes: B batch, V views * batch, D features.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from icckd.study.data import Augmentation
from icckd.study.teacher import TEACHER_LOSSES, LossSettings, Teacher
from icckd.testing.laws import (
    BrokenLawError,
    Law,
    all_finite,
    bits,
    differing,
    no_shared_draws,
    process_streams,
    require,
    starts_from_its_key,
)
from icckd.train.data.batch import Batch
from icckd.train.data.splits import Normaliser, Split
from icckd.train.data.stream import TrainStream
from icckd.train.lazy import Tensor, torch
from icckd.train.losses.base import EpochEnd, Forward, LossInputs, TeacherLoss, group_by_class
from icckd.train.networks import build_model
from icckd.train.networks.base import Classifier
from icckd.train.networks.cnn import CnnModel
from icckd.train.teacher import TeacherStep

CLASSES, FEATURES, SIZE = 3, 8, 12


@dataclass(frozen=True)
class LossCase:
    """A loss of the teacher with settings.

    Attributes:
        name: Its name in `[teacher]`.
        settings: Its settings.
    """

    name: str
    settings: LossSettings

    def build(self, seed: int = 0) -> TeacherLoss:
        """Return the loss, made anew under the key of a seed."""
        inputs = LossInputs(
            n_classes=CLASSES, n_features=FEATURES, image_shape=(1, 8, 8), key=("loss", seed)
        )
        made: TeacherLoss = TEACHER_LOSSES[self.name](self.settings, inputs)
        return made

    def views(self) -> Iterator[int]:
        """Yield the numbers of views beside which the loss may stand."""
        yield from range(max(1, self.settings.views), 3)


def network(seed: int = 0) -> Classifier:
    """Return a small teacher in training mode, under the key of a seed."""
    model = CnnModel(widths=(2, 2, FEATURES))
    made = build_model(model, in_channels=1, n_classes=CLASSES, key=("net", seed), device="cpu")
    return made.train()


def drawn(seed: int, *, views: int = 2, size: int = SIZE) -> Batch:
    """Return a batch of drawn images."""
    stream = torch.Generator().manual_seed(seed)
    labels_B = torch.randint(CLASSES, (size,), generator=stream)
    return Batch(
        images=torch.randn(views * size, 1, 8, 8, generator=stream),
        labels=labels_B,
        ids=torch.randperm(size, generator=stream),
        largest_class=int(labels_B.bincount().max()),
    )


def forward(
    model: Classifier,
    batch: Batch,
    *,
    step: int = 0,
    epoch: int = 1,
    features: Tensor | None = None,
) -> Forward:
    """Return a step's forward pass as a loss sees it, with these features where they are given."""
    found = model.maps(batch.images).features if features is None else features
    leaf_VD = found.detach().requires_grad_()
    return Forward(
        model=model,
        features=leaf_VD,
        logits=model.classifier(leaf_VD[: len(batch.labels)].float()).detach(),
        batch=batch,
        groups=group_by_class(batch.labels, CLASSES, batch.largest_class),
        step=step,
        epoch=epoch,
    )


# The laws.


def a_loss_is_finite_and_moves_the_features(case: LossCase) -> None:
    """Its loss is a finite scalar whose gradient reaches the features and its own parameters."""
    for views in case.views():
        loss, model = case.build(), network()
        for step in range(3):
            seen = forward(model, drawn(step, views=views), step=step)
            term = loss.term(seen)
            require(term.loss.shape == (), f"its loss is {tuple(term.loss.shape)}, no scalar")
            all_finite({"loss": term.loss}, "value")
            names = ["features", *(name for name, _ in loss.named_parameters())]
            found = torch.autograd.grad(
                term.loss, [seen.features, *loss.parameters()], allow_unused=True
            )
            all_finite(dict(zip(names, found, strict=True)), "gradient")
            require(found[0] is not None and found[0].any(), "the features get no gradient")
            loss.remember(seen, term)


def it_tells_what_its_settings_name(case: LossCase) -> None:
    """It tells the diagnostics that its settings name, at the time that they say."""
    loss, model = case.build(), network()
    seen = forward(model, drawn(0))
    term = loss.term(seen)
    loss.remember(seen, term)
    names = loss.diagnostics
    require(
        len(term.diagnostics) == len(names),
        f"a step tells {len(term.diagnostics)} diagnostics; told = 'step' names {len(names)}",
    )
    all_finite(dict(zip(names, term.diagnostics, strict=True)), "value")
    require(all(v.numel() == 1 for v in term.diagnostics), "a diagnostic of a step is no scalar")
    before = bits(model) | {f"loss {n}": v for n, v in bits(loss).items()}
    observed, at_end = loss.observe(epoch_end(model)), loss.outcomes()
    for when, found in (("epoch", observed), ("stage", at_end)):
        told = {each.name for each in case.settings.told(when)}  # type: ignore[arg-type]
        odd_names = sorted(set(found) - told)
        require(not odd_names, f"it tells {odd_names}, which no told = {when!r} names")
        missing = (
            sorted(told - set(found)) if when == "stage" else []
        )  # settings may leave some out
        require(not missing, f"told = {when!r} names {missing}, and it does not tell them")
        numbers = {name: torch.tensor(float(value)) for name, value in found.items()}
        all_finite({**numbers}, "value")
    odd = differing(before, bits(model) | {f"loss {n}": v for n, v in bits(loss).items()})
    require(not odd, f"observe changes {odd}")


def epoch_end(model: Classifier) -> EpochEnd:
    """Return the end of an epoch of a few drawn images."""
    pixels_NHWK = torch.randint(
        0, 256, (24, 8, 8, 1), generator=torch.Generator().manual_seed(5), dtype=torch.uint8
    )
    split = Split(images=pixels_NHWK, labels=torch.arange(24) % CLASSES, subclasses=None)
    stream = TrainStream(
        split,
        Normaliser(split),
        Augmentation(),
        batch_size=SIZE,
        views=2,
        key=("end",),
        host_labels=split.labels,
    )
    return EpochEnd(model=model, stream=stream, epoch=1)


def its_parameters_start_from_its_key(case: LossCase) -> None:
    """Its parameters start from its key alone: no other stream, no process decides them."""
    starts_from_its_key(case.build)


def steps_depend_on_no_shared_stream(case: LossCase) -> None:
    """Its steps draw no number from a generator that the process shares, and repeat."""
    values = []
    for seed in (1, 2):
        with process_streams(seed):
            loss, model = case.build(), network()
            with no_shared_draws():
                values.append(_steps(loss, model))
    require(values[0] == values[1], "the same steps give other values the second time")


def _steps(loss: TeacherLoss, model: Classifier, *, first: int = 0, steps: int = 2) -> list[float]:
    """Return the losses of some steps."""
    found = []
    for step in range(first, first + steps):
        seen = forward(model, drawn(step), step=step)
        term = loss.term(seen)
        found.append(term.loss.item())
        loss.remember(seen, term)
    return found


def features_of_zero_have_a_gradient(case: LossCase) -> None:
    """Features that are all zero, as of a network whose units died, have a finite gradient."""
    loss, model = case.build(), network()
    seen = forward(model, drawn(0), features=torch.zeros(2 * SIZE, FEATURES))
    found = torch.autograd.grad(
        loss.term(seen).loss, [seen.features, *loss.parameters()], allow_unused=True
    )
    names = ["features", *(name for name, _ in loss.named_parameters())]
    given = {n: torch.zeros(()) if g is None else g for n, g in zip(names, found, strict=True)}
    all_finite({**given}, "gradient")


def its_state_dict_continues_it(case: LossCase) -> None:
    """Its state_dict, put into a new one, continues as if nothing had happened."""
    model, going, resumed = network(), case.build(), case.build()
    _steps(going, model)
    try:
        resumed.load_state_dict(going.state_dict())
    except RuntimeError as error:
        raise BrokenLawError(f"a new one does not take it: {error}") from error
    same = copy.deepcopy(model)  # a loss may show the network something, too
    require(
        _steps(going, model, first=2) == _steps(resumed, same, first=2),
        "it goes on otherwise: what it keeps from step to step is no parameter and no buffer",
    )


def weight_0_leaves_cross_entropy_alone(case: LossCase) -> None:
    """With weight 0 a teacher has the gradients of cross-entropy, bit by bit."""
    batch, plain, weighted, loss = drawn(0), network(), network(), case.build()
    loss.weight = 0.0
    TeacherStep(plain, {}, Teacher())(batch, step=0, epoch=1)
    TeacherStep(weighted, {"it": loss}, Teacher())(batch, step=0, epoch=1)
    others = dict(weighted.named_parameters())
    for name, parameter in plain.named_parameters():
        one, other = parameter.grad, others[name].grad
        same = one is not None and other is not None and torch.equal(one, other)
        require(same, f"the gradient of {name} is another one")


def half_precision_is_computed_in_float32(case: LossCase) -> None:
    """Under autocast it is that of float32 within the rounding of its input."""
    for dtype in (torch.float16, torch.bfloat16):
        loss, model, batch = case.build(), network(), drawn(1)
        features_VD = model.maps(batch.images).features.detach()
        exact = loss.term(forward(model, batch, features=features_VD)).loss
        with torch.autocast("cpu", dtype):
            half = case.build().term(forward(model, batch, features=features_VD.to(dtype))).loss
        require(half.dtype is torch.float32, f"of {dtype} it is a {half.dtype}")
        require(
            torch.allclose(half, exact, rtol=5e-2, atol=5e-2),
            f"of {dtype} it is {half.item():.4g}, of float32 {exact.item():.4g}",
        )


LAWS: tuple[Law, ...] = (
    a_loss_is_finite_and_moves_the_features,
    it_tells_what_its_settings_name,
    its_parameters_start_from_its_key,
    steps_depend_on_no_shared_stream,
    features_of_zero_have_a_gradient,
    its_state_dict_continues_it,
    weight_0_leaves_cross_entropy_alone,
    half_precision_is_computed_in_float32,
)
