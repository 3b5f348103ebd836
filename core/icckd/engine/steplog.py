"""Values of each step, kept on the device and read once per epoch.

Shape suffixes: S steps of the stage, T terms.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icckd.errors import NonFiniteError

CHECK_EVERY = {"cpu": 1, "cuda": 32}
"""Steps between checks for values that are not finite: reading them makes a GPU wait."""


class StepLog:
    """A table of float32 with one row per step and one column per term."""

    def __init__(self, terms: tuple[str, ...], steps: int, device: str) -> None:
        self.terms = terms
        self._values_ST = torch.zeros(steps, len(terms), device=device)
        self._every = CHECK_EVERY[device]
        self._written = 0
        self._checked = 0

    def write(self, values: tuple[Tensor, ...]) -> None:
        """Append a step's values, scalars in the order of the terms.

        Raises:
            NonFiniteError: If a step since the last check has a value that is not finite.
        """
        torch.stack(values, out=self._values_ST[self._written])
        self._written += 1
        if self._written - self._checked >= self._every:
            self.check()

    def check(self) -> None:
        """Check the steps not yet checked.

        Raises:
            NonFiniteError: With the first such step and its first such term.
        """
        fresh_ST = self._values_ST[self._checked : self._written]
        if not fresh_ST.isfinite().all():
            step, column = fresh_ST.isfinite().logical_not().nonzero()[0].tolist()
            raise NonFiniteError(step=self._checked + step, term=self.terms[column])
        self._checked = self._written

    @property
    def written(self) -> Tensor:
        """The values so far, float32, shape (steps, terms)."""
        return self.rows(self._written)

    def rows(self, steps: int) -> Tensor:
        """Return the first rows of the table, written or not."""
        return self._values_ST[:steps]

    def restore(self, values_ST: Tensor) -> None:
        """Go on after steps that another log wrote and checked."""
        self._written = self._checked = len(values_ST)
        self._values_ST[: self._written] = values_ST

    def read(self, steps: int) -> dict[str, NDArray[np.float64]]:
        """Return the last steps' values by term; one transfer from the device."""
        values_ST = self._values_ST[self._written - steps : self._written].cpu().double().numpy()
        return {term: values_ST[:, column] for column, term in enumerate(self.terms)}
