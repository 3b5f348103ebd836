"""A weighted sum of methods beside one cross-entropy."""

from torch import Tensor, nn

from icckd.engine.data.stream import Batch
from icckd.engine.distillers.base import Distiller, Method, Pairing
from icckd.engine.distillers.methods import METHODS
from icckd.engine.models import Output
from icckd.spec.distiller_sum import SumDistiller


class Sum(Distiller):
    """The terms by name, in the order of the alphabet; those that are off are not there.

    A sum of one method is that method, bit by bit.
    """

    def __init__(self, settings: SumDistiller, pairing: Pairing, name: str | None = None) -> None:
        super().__init__(settings, pairing, name)
        self.methods = nn.ModuleDict(
            {term: METHODS[part.kind](part, pairing, term) for term, part in settings.terms_on()}
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

    def _all(self) -> list[Method]:
        return [method for method in self.methods.values() if isinstance(method, Method)]
