"""A distiller and a metric of an installed distribution."""

from typing import Literal

from icckd.plugins import LossTerm, Method, Term, distiller, metric
from small_parts.errors import error_of


class SmallDistiller(Term):
    """Squared error of logits."""

    source = "Ba and Caruana 2014, arXiv 1312.6184"
    needs = ("logits",)
    losses = (LossTerm(unit="1", about="squared error of logits", formula="mean (z^s - z^t)^2"),)

    kind: Literal["small"]


@distiller(SmallDistiller)
class Small(Method):
    """The method."""

    def losses(self, student, teacher, batch, *, step):
        return (error_of(student.logits, teacher.logits),)


@metric("confidence", unit="%", direction="none", about="mean confidence on test")
def confidence(evaluation):
    return 100 * evaluation.logits.softmax(dim=1).amax(dim=1).mean().item()
