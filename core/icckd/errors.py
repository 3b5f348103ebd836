"""Every error icckd raises on purpose.

    IcckdError
    ├── UsageError          exit 2: the command line cannot be carried out
    ├── SpecError           exit 3: the study is invalid, or its plan is
    ├── MachineError        exit 4: device, disk, lock or data set is missing
    ├── GateError           exit 6: a condition asked for by --gate does not hold
    ├── StageError          a stage cannot go on; its journal says so, the session continues
    │   └── NonFiniteError  a loss term became NaN or infinite
    └── StagePaused         a stage was asked to stop and can be resumed

A message says what happened and where; the hint says what to do next.
"""


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


class GateError(IcckdError):
    """The report is fine, and what it says is not what --gate asked for."""

    exit_code = 6


class StageError(IcckdError):
    """A stage cannot go on. It becomes a failed attempt; other stages continue."""


class NonFiniteError(StageError):
    """A loss term became NaN or infinite.

    Attributes:
        step: Zero-based optimiser step of the stage at which it was seen first.
        term: Name of the loss term, such as `ce` or `intra`.
    """

    def __init__(self, *, step: int, term: str) -> None:
        super().__init__(
            f"loss term {term!r} is not finite at step {step}",
            hint="lower the learning rate or the weight of that term",
        )
        self.step = step
        self.term = term


class StagePaused(IcckdError):  # noqa: N818  # it is no failure
    """A stage was asked to stop and did so at the end of an epoch; a later attempt goes on.

    Attributes:
        epoch: Epochs done; a checkpoint after them lies in the stage's checkpoint folder.
    """

    def __init__(self, *, epoch: int) -> None:
        super().__init__(
            f"stopped as asked after epoch {epoch}", hint="its next attempt goes on from there"
        )
        self.epoch = epoch
