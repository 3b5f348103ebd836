"""A student's distiller: one method, or a weighted sum of several."""

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    Tag,
    field_serializer,
    model_validator,
)

from icckd.spec.distillers import (
    AtDistiller,
    CcDistiller,
    CkdDistiller,
    CrdDistiller,
    DistDistiller,
    DistillerSettings,
    DkdDistiller,
    FitnetDistiller,
    KdDistiller,
    NkdDistiller,
    PktDistiller,
    ReviewkdDistiller,
    RkdDistiller,
    SpDistiller,
    Term,
    VidDistiller,
)
from icckd.spec.metrics import OUTCOMES, SERIES
from icckd.spec.settings import Off, Settings
from icckd.spec.shapes import NetworkShape

TermName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class SumDistiller(Settings):
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

    def terms_on(self) -> tuple[tuple[str, DistillerSettings], ...]:
        """Return the terms that are not off, by name: the order of the sum."""
        return tuple(
            (name, term) for name, term in sorted(self.terms.items()) if not isinstance(term, str)
        )

    @property
    def least_batch(self) -> int:
        """Images in a batch without which some term says nothing."""
        return max((term.least_batch for _, term in self.terms_on()), default=1)

    @property
    def reads_maps(self) -> bool:
        """Say whether some term reads stage maps."""
        return any(term.reads_maps for _, term in self.terms_on())

    def obstacle(self, student: NetworkShape, teacher: NetworkShape) -> str | None:
        """Return why a term cannot join two networks, or None if all can."""
        for name, term in self.terms_on():
            reason = term.obstacle(student, teacher)
            if reason is not None:
                return f"term {name!r}: {reason}"
        return None


KINDS = (
    *("kd", "fitnet", "at", "sp", "cc", "rkd", "pkt", "vid", "crd"),
    *("dkd", "nkd", "reviewkd", "dist", "ckd", "sum"),
)


def _kind(value: Any) -> Any:
    """Return the kind of a table. One without is KD's, so `distiller.temperature` can be set."""
    return value.get("kind", "kd") if isinstance(value, dict) else getattr(value, "kind", None)


Distiller = Annotated[
    Annotated[KdDistiller, Tag("kd")]
    | Annotated[FitnetDistiller, Tag("fitnet")]
    | Annotated[AtDistiller, Tag("at")]
    | Annotated[SpDistiller, Tag("sp")]
    | Annotated[CcDistiller, Tag("cc")]
    | Annotated[RkdDistiller, Tag("rkd")]
    | Annotated[PktDistiller, Tag("pkt")]
    | Annotated[VidDistiller, Tag("vid")]
    | Annotated[CrdDistiller, Tag("crd")]
    | Annotated[DkdDistiller, Tag("dkd")]
    | Annotated[NkdDistiller, Tag("nkd")]
    | Annotated[ReviewkdDistiller, Tag("reviewkd")]
    | Annotated[DistDistiller, Tag("dist")]
    | Annotated[CkdDistiller, Tag("ckd")]
    | Annotated[SumDistiller, Tag("sum")],
    Discriminator(
        _kind,
        custom_error_type="union_tag_distiller",
        custom_error_message=f'no known kind; valid: {", ".join(KINDS)}, or "off" for the table',
    ),
]
