"""Laws of distillers, on outputs of two small networks that do not exist.

Shape suffixes: B batch, C classes, K channels, H height, W width, D features.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from icckd.study.distillers import Distiller as Settings
from icckd.study.distillers import Term
from icckd.testing.laws import (
    BrokenLawError,
    Law,
    NotTriedError,
    all_finite,
    differing,
    digest,
    no_shared_draws,
    process_streams,
    require,
    starts_from_its_key,
)
from icckd.train.data.batch import Batch
from icckd.train.distillers import build_distiller
from icckd.train.distillers.base import Distiller, Pairing, network_shape
from icckd.train.lazy import Generator, Tensor, torch
from icckd.train.networks.base import Output

Maps = tuple[tuple[int, int, int], ...]
STUDENT: Maps = ((2, 8, 8), (3, 4, 4), (4, 2, 2))
TEACHER: Maps = ((5, 4, 4), (6, 4, 4), (7, 4, 4))
"""Channels, height and width of each stage."""
FEATURES = {"student": 6, "teacher": 9}
CLASSES = 5
IMAGES = 40


@dataclass(frozen=True)
class Sample:
    """A distiller with what two networks show of a batch.

    Attributes:
        distiller: In training mode.
        student: The student's outputs.
        teacher: The teacher's.
        batch: Labels and sample indices.
    """

    distiller: Distiller
    student: Output
    teacher: Output
    batch: Batch

    def terms(self, student: Output | None = None, *, step: int = 0) -> dict[str, Tensor]:
        """Return the terms of a step, by name."""
        return self.distiller.terms(student or self.student, self.teacher, self.batch, step=step)

    def own(self, student: Output | None = None) -> list[Tensor]:
        """Return the method's own terms, without the cross-entropy."""
        return list(self.terms(student).values())[1:]


@dataclass(frozen=True)
class DistillerCase:
    """A distiller with settings."""

    settings: Settings

    def sample(self, *, size: int = 6, seed: int = 0, dtype: Any = None) -> Sample:
        """Return the distiller, made anew, with drawn outputs; float64 where no type is given.

        Raises:
            NotTriedError: It does not join the networks whose outputs these are.
        """
        kind = dtype or torch.float64
        generator = torch.Generator().manual_seed(seed + 1)
        distiller = self.build(seed).to(kind).train()
        ids_B = torch.randperm(IMAGES, generator=generator)[:size]
        student, teacher = (output(size, role, generator, kind) for role in FEATURES)
        batch = Batch(images=torch.empty(0), labels=labels()[ids_B], ids=ids_B, largest_class=size)
        return Sample(distiller, student, teacher, batch)

    def build(self, seed: int = 0) -> Distiller:
        """Return the distiller, made anew under the key of a seed.

        Raises:
            NotTriedError: It does not join the two networks.
        """
        pair = pairing(seed)
        reason = self.settings.obstacle(network_shape(pair.student), network_shape(pair.teacher))
        if reason is not None:
            raise NotTriedError(f"it does not join the networks that it is tried on: {reason}")
        return build_distiller(self.settings, pair)

    def needs(self) -> set[str] | None:
        """Return what its settings say that it reads; None where they say nothing of it."""
        terms = getattr(self.settings, "terms_on", None)
        methods = [each for _, each in terms()] if terms else [self.settings]
        known = [set(each.needs) for each in methods if isinstance(each, Term)]
        return set().union(*known) if len(known) == len(methods) else None


def labels() -> Tensor:
    """Return the classes of all training images, int64."""
    return torch.arange(IMAGES) % CLASSES


def output(size: int, role: str, generator: Generator, dtype: Any = None) -> Output:
    """Return outputs that a network of that role could show, drawn."""

    def draw(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.to(dtype or torch.float32)

    maps = STUDENT if role == "student" else TEACHER
    preacts = tuple(draw(size, *shape) for shape in maps)
    stages = tuple(preact.relu() for preact in preacts)
    features = draw(size, FEATURES[role]).abs()
    return Output(features, stages, preacts, 2 * draw(size, CLASSES))


def pairing(seed: int = 0) -> Pairing:
    """Return the two networks that a distiller is built for, under the key of a seed."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (output(1, role, generator) for role in FEATURES)
    return Pairing(student=student, teacher=teacher, labels=labels(), key=("test", seed))


def require_grad(shown: Output) -> tuple[Output, list[Tensor]]:
    """Return the output as leaves that want gradients, and those leaves."""
    leaves = [shown.features, *shown.stages, *shown.preacts, shown.logits]
    fresh = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    return from_leaves(fresh), fresh


def from_leaves(leaves: Sequence[Tensor]) -> Output:
    """Return the output that has these tensors, in its order."""
    n = (len(leaves) - 2) // 2
    return Output(leaves[0], tuple(leaves[1 : 1 + n]), tuple(leaves[1 + n : -1]), leaves[-1])


# The laws.


def terms_are_named_as_the_weights(case: DistillerCase) -> None:
    """Terms are named as the weights, in the same order, in all epochs; `ce` is the first."""
    made = case.sample()
    names, told = list(made.distiller.weights(1)), list(made.terms())
    require(told == names, f"the weights are of {names}, the terms of {told}")
    for epoch in (2, 20, 240):
        later = list(made.distiller.weights(epoch))
        require(later == names, f"the weights are of {names} and in epoch {epoch} of {later}")
    require(names[0] == "ce", f"the first term is {names[0]!r}, not 'ce'")
    require(all(w >= 0 for w in made.distiller.weights(1).values()), "a weight is negative")


def terms_are_finite_scalars(case: DistillerCase) -> None:
    """Terms are finite scalars."""
    terms = case.sample().terms()
    odd = [f"{name} is {tuple(t.shape)}" for name, t in terms.items() if t.shape != ()]
    require(not odd, f"no scalar: {', '.join(odd)}")
    all_finite({**terms}, "value")


def gradients_reach_the_student_and_never_the_teacher(case: DistillerCase) -> None:
    """Gradients reach the student and every parameter of its own, and never the teacher."""
    made = case.sample()
    student, own = require_grad(made.student)
    teacher, other = require_grad(made.teacher)
    terms = replace(made, teacher=teacher).terms(student)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    require(all(leaf.grad is None for leaf in other), "the teacher's outputs get a gradient")
    require(any(g.grad is not None and g.grad.any() for g in own), "the student gets no gradient")
    gradients = {name: p.grad for name, p in made.distiller.named_parameters()}
    all_finite({**gradients}, "gradient")
    idle = [name for name, g in gradients.items() if g is not None and not g.any()]
    require(not idle, f"{', '.join(idle)}: the gradient is zero")


def each_term_teaches(case: DistillerCase) -> None:
    """Each term teaches the student, or parameters of the distiller's own."""
    made = case.sample()
    student, own = require_grad(made.student)
    learners = [*own, *made.distiller.parameters()]
    for name, term in made.terms(student).items():
        found: Sequence[Tensor | None] = (None,)
        if term.requires_grad:
            found = torch.autograd.grad(term, learners, retain_graph=True, allow_unused=True)
        require(
            any(g is not None and bool(g.any()) for g in found), f"term {name!r} teaches nothing"
        )


def it_reads_only_what_it_declares(case: DistillerCase) -> None:
    """It reads of the networks only what its settings declare as `needs`."""
    made, needs = case.sample(), case.needs()
    if needs is None:
        raise NotTriedError("its settings declare no needs")
    gone = torch.full((6, 3), torch.nan, dtype=torch.float64)

    def only_declared(full: Output) -> Output:
        return Output(
            full.features if "features" in needs else gone,
            full.stages if "stages" in needs else (),
            full.preacts if "preacts" in needs else (),
            full.logits,
        )

    bare = replace(made, teacher=only_declared(made.teacher))
    if "index" not in needs:
        bare = replace(bare, batch=replace(bare.batch, ids=torch.full((6,), -1)))
    what = f"needs = {sorted(needs)} and it reads more"
    try:
        terms = bare.terms(only_declared(made.student))
    except (IndexError, RuntimeError, ValueError) as error:
        raise BrokenLawError(f"{what}: {error}") from error
    require(all(bool(term.isfinite()) for term in terms.values()), what)


def its_parameters_start_from_its_key(case: DistillerCase) -> None:
    """Its parameters start from its key alone: no other stream, no process decides them."""
    starts_from_its_key(case.build)


def steps_depend_on_no_shared_stream(case: DistillerCase) -> None:
    """Its steps draw no number from a generator that the process shares, and repeat."""
    values = []
    for seed in (1, 2):
        with process_streams(seed):
            made = case.sample()
            with no_shared_draws():
                values.append(optimise(made, steps=2))
    require(values[0] == values[1], "the same steps give other values the second time")


def its_state_dict_continues_it(case: DistillerCase) -> None:
    """Its state_dict, put into a new one, continues as if nothing had happened."""
    made = case.sample()
    optimise(made, steps=2)
    saved = copy.deepcopy(made.distiller.state_dict())
    fresh = replace(made, distiller=case.sample().distiller)
    try:
        fresh.distiller.load_state_dict(saved)
    except RuntimeError as error:
        raise BrokenLawError(f"a new one does not take it: {error}") from error
    going, resumed = (optimise(each, steps=2, first=2) for each in (made, fresh))
    require(
        going == resumed,
        "it goes on otherwise: what it keeps from step to step is no parameter and no buffer",
    )
    some, others = (
        {name: digest(value) for name, value in each.distiller.state_dict().items()}
        for each in (made, fresh)
    )
    odd = differing(some, others)
    require(not odd, f"{odd} differ two steps later")


def optimise(made: Sample, *, steps: int, first: int = 0) -> list[float]:
    """Return the terms of some steps, after each of which its parameters follow the gradient."""
    seen = []
    for step in range(first, first + steps):
        drawn = torch.Generator().manual_seed(step)
        ids_B = torch.randperm(IMAGES, generator=drawn)[:6]
        batch = Batch(images=torch.empty(0), labels=labels()[ids_B], ids=ids_B, largest_class=6)
        student, _ = require_grad(made.student)
        terms = replace(made, batch=batch).terms(student, step=step)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        for parameter in made.distiller.parameters():
            if parameter.grad is not None:
                parameter.data -= 0.01 * parameter.grad
            parameter.grad = None
        seen += [term.item() for term in terms.values()]
    return seen


def half_precision_is_computed_in_float32(case: DistillerCase) -> None:
    """Of outputs in half precision the terms are computed in float32.

    `precise` makes float32 of a tensor; autocast is off where terms are computed.
    """
    for dtype in (torch.float16, torch.bfloat16):
        made = case.sample(dtype=torch.float32)
        student, teacher = (_as_type(each, dtype) for each in (made.student, made.teacher))
        same = copy.deepcopy(made.distiller)
        with torch.autocast("cpu", dtype):
            try:
                half = made.distiller.terms(student, teacher, made.batch, step=0)
            except RuntimeError as error:
                raise BrokenLawError(f"it fails on outputs of {dtype}: {error}") from error
        wide, other = (_as_type(each, torch.float32) for each in (student, teacher))
        full = same.terms(wide, other, made.batch, step=0)
        for name, value in half.items():
            require(value.dtype is torch.float32, f"term {name!r} is {value.dtype} then")
            require(torch.equal(value, full[name]), f"term {name!r} is computed in {dtype}")


def _as_type(shown: Output, dtype: Any) -> Output:
    return Output(
        shown.features.to(dtype),
        tuple(stage.to(dtype) for stage in shown.stages),
        tuple(preact.to(dtype) for preact in shown.preacts),
        shown.logits.to(dtype),
    )


LAWS: tuple[Law, ...] = (
    terms_are_named_as_the_weights,
    terms_are_finite_scalars,
    gradients_reach_the_student_and_never_the_teacher,
    each_term_teaches,
    it_reads_only_what_it_declares,
    its_parameters_start_from_its_key,
    steps_depend_on_no_shared_stream,
    its_state_dict_continues_it,
    half_precision_is_computed_in_float32,
)
