"""Every error icckd raises on purpose.

    IcckdError
    ├── UsageError          exit 2: the command line cannot be carried out
    ├── SpecError           exit 3: the study is invalid, or its plan is
    ├── MachineError        exit 4: device, disk, lock or data set is missing
    │   └── DataError       the images of a data set are there and not sound
    ├── GateError           exit 6: a condition asked for by --gate does not hold
    ├── Interrupted         exit 130: a signal ended the session; the same command resumes it
    ├── StageError          a stage cannot continue; its journal says so, the session continues
    │   ├── NonFiniteError  training diverged: something became NaN or infinite
    │   └── TaskFailedError a task failed: exit code, signal, time limit, no metric
    └── StagePaused         a stage was asked to stop and can be resumed

A message says what happened and where; the hint says what to do next.
"""

from typing import ClassVar


class IcckdError(Exception):
    """Base of all deliberate errors."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(IcckdError):
    """The command line asks for something that does not exist."""

    exit_code = 2


class SpecError(IcckdError):
    """A study file is not valid; the message names file, key and value."""

    exit_code = 3


class MachineError(IcckdError):
    """The machine lacks what the study needs: device, disk space, lock, data set."""

    exit_code = 4


class DataError(MachineError):
    """The images of a data set are there and not sound: damaged, without classes, misplaced."""


class GateError(IcckdError):
    """The report was printed; the condition asked for by --gate does not hold."""

    exit_code = 6


class Interrupted(IcckdError):  # noqa: N818  # not a failure
    """A signal ended the session before its time."""

    exit_code = 130


class StageError(IcckdError):
    """A stage cannot continue. It becomes a failed attempt; other stages continue."""


class NonFiniteError(StageError):
    """Training diverged: a loss term, or what `NOT_A_LOSS` names, became NaN or infinite.

    Attributes:
        step: Zero-based optimiser step of the stage at which it was seen first.
        term: Name of the loss term, such as `ce` or `intra`, or one of `NOT_A_LOSS`.
    """

    NOT_A_LOSS: ClassVar[dict[str, str]] = {
        "grad_norm": "the gradient norm",
        "weights": "a weight",
        "outputs": "an output of the trained network",
        "linear algebra": "the result of a linear-algebra routine",
    }

    def __init__(self, *, step: int, term: str, diverged: str = "", seen: str = "") -> None:
        """Make the error.

        Args:
            step: See above.
            term: See above.
            diverged: Kind of the stage at fault; "" where that is not known yet.
            seen: What shows that it is at fault, where the term alone does not.
        """
        what = self.NOT_A_LOSS.get(term, f"loss term {term!r}")
        at_fault = f": the {diverged} diverged{f', {seen}' if seen else ''}" if diverged else ""
        whose = f"{diverged}'s learning rate" if diverged else "learning rate"
        weights = "of its loss terms" if term in self.NOT_A_LOSS or seen else "of that term"
        super().__init__(
            f"{what} is not finite at step {step}{at_fault}",
            hint=f"lower the {whose} or the weight {weights}",
        )
        self.step = step
        self.term = term


class TaskFailedError(StageError):
    """A task failed, or gave no number.

    Attributes:
        cause: Its kind, one of the causes of failures.
        output: The last lines that it printed to standard error.
    """

    def __init__(self, message: str, *, cause: str, hint: str = "", output: str = "") -> None:
        super().__init__(message, hint=hint)
        self.cause = cause
        self.output = output


class StagePaused(IcckdError):  # noqa: N818  # not a failure
    """A stage was asked to stop and did so at the end of an epoch; a later attempt resumes it.

    Attributes:
        epoch: Epochs done; the stage's checkpoint folder has a checkpoint after them.
    """

    def __init__(self, *, epoch: int) -> None:
        super().__init__(
            f"stopped as asked after epoch {epoch}", hint="its next attempt resumes there"
        )
        self.epoch = epoch


class StageCancelled(IcckdError):  # noqa: N818  # not a failure
    """A stage was taken back while it was trained, and was dropped at the end of an epoch.

    Attributes:
        epoch: Epochs done; nothing of them is kept.
    """

    def __init__(self, *, epoch: int) -> None:
        super().__init__(f"cancelled after epoch {epoch}", hint="icckd run trains it anew")
        self.epoch = epoch


class StageSuperseded(IcckdError):  # noqa: N818  # not a failure
    """An attempt does not count: another one of its stage has published, or is to.

    Nothing of it is published or read; see `icckd.journal.fencing`.
    """
