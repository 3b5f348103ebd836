"""A weighted sum of methods beside one cross-entropy."""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_serializer,
    model_validator,
)

from icckd.study.distillers import DISTILLERS, Distiller, Term, distiller
from icckd.study.metrics import OUTCOMES, SERIES
from icckd.study.network import NetworkShape
from icckd.study.settings import Off, matching
from icckd.train.data.batch import Batch
from icckd.train.distillers import base
from icckd.train.distillers.base import Pairing
from icckd.train.lazy import Tensor, nn
from icckd.train.networks.base import Output

TermName = Annotated[
    str,
    matching(
        r"^[a-z][a-z0-9_]{0,31}$",
        "a name of small letters, digits and _, beginning with a letter, at most 32 long",
    ),
]


class SumDistiller(Distiller):
    """A weighted sum of named methods beside one cross-entropy.

    A term that is "off" is as good as not there. Its name is what its loss is called.
    """

    kind: Literal["sum"]
    terms: dict[TermName, Term | Off] = Field(min_length=1, max_length=16)
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the cross-entropy")

    @model_validator(mode="after")
    def _names_and_weights_are_clear(self) -> "SumDistiller":
        taken: dict[str, str] = {}
        for name, term in self.terms.items():
            for own, usual in () if term == "off" else term.loss_names(name):
                known = f"student.{own}" in {**SERIES, **OUTCOMES} and own != usual
                if known or own in taken:
                    other = f"terms.{taken[own]}" if own in taken else "another metric"
                    raise ValueError(
                        f"terms.{name}: its loss would be called {own!r} as {other} is;"
                        " name the term otherwise"
                    )
                taken[own] = name
            if term != "off" and "ce_weight" in term.model_fields_set:
                raise ValueError(
                    f"terms.{name}.ce_weight: a sum has one cross-entropy;"
                    " set the ce_weight beside `terms` instead"
                )
        return self

    @field_serializer("terms", mode="wrap")
    def _without_ce_weight(self, terms: Any, serialize: SerializerFunctionWrapHandler) -> Any:
        """Leave out the weight that a term does not have here."""
        return {
            name: {key: value for key, value in term.items() if key != "ce_weight"}
            if isinstance(term, dict)
            else term
            for name, term in serialize(terms).items()
        }

    def __hash__(self) -> int:
        """Hash as the frozen tables do, the order of the terms aside."""
        return hash((frozenset(self.terms.items()), self.ce_weight))

    def terms_on(self) -> tuple[tuple[str, Term], ...]:
        """Return the terms that are not off, by name: the order of the sum."""
        return tuple(
            (name, term) for name, term in sorted(self.terms.items()) if not isinstance(term, str)
        )

    @property
    def least_batch(self) -> int:
        """Images that a batch needs for every loss of every term to compare something."""
        return max((term.least_batch for _, term in self.terms_on()), default=1)

    @property
    def reads_maps(self) -> bool:
        """Whether some term reads stage maps."""
        return any(term.reads_maps for _, term in self.terms_on())

    def methods(self) -> tuple[str, ...]:
        """Return the kinds of the terms that are not off, sorted."""
        return tuple(sorted(term.kind for _, term in self.terms_on()))

    def obstacle(self, student: NetworkShape, teacher: NetworkShape) -> str | None:
        """Return why a term cannot join two networks, or None if all can."""
        for name, term in self.terms_on():
            reason = term.obstacle(student, teacher)
            if reason is not None:
                return f"term {name!r}: {reason}"
        return None


@distiller(SumDistiller, order=15)
class Sum(base.Distiller):
    """The terms by name, in the order of the alphabet; those that are off are not there.

    A sum of one method is that method, bit by bit.
    """

    def __init__(self, settings: SumDistiller, pairing: Pairing, name: str | None = None) -> None:
        super().__init__(settings, pairing, name)
        self.methods = nn.ModuleDict(
            {term: DISTILLERS[part.kind](part, pairing, term) for term, part in settings.terms_on()}
        )

    def own_weights(self, epoch: int) -> dict[str, float]:
        """Return the weights of all terms."""
        return {
            name: weight
            for method in self._all()
            for name, weight in method.own_weights(epoch).items()
        }

    def own_terms(
        self, student: Output, teacher: Output, batch: Batch, *, step: int
    ) -> dict[str, Tensor]:
        """Return all terms by name."""
        return {
            name: term
            for method in self._all()
            for name, term in method.own_terms(student, teacher, batch, step=step).items()
        }

    def _all(self) -> list[base.Method]:
        return [method for method in self.methods.values() if isinstance(method, base.Method)]
