"""What a frozen teacher says of a batch: asked at each step, or looked up in a table.

Shape suffixes: B batch, H height, W width, K channels, N views, C classes, D features.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from icckd.engine.arithmetic import Arithmetic, output_of
from icckd.engine.data.stream import Batch, TrainStream
from icckd.engine.models import Classifier, Output
from icckd.spec.training import Training

LARGEST_TABLE = 1 << 26
"""Bytes that a table may take."""

Teaching = Callable[[Batch], Output]


class AskedTeacher:
    """The teacher's forward pass of every batch."""

    def __init__(self, teacher: Classifier, arithmetic: Arithmetic) -> None:
        self._teacher, self._forward = teacher, arithmetic.forward(teacher)

    def __call__(self, batch: Batch) -> Output:
        """Return the teacher's output."""
        return self.outputs(batch.images)

    @torch.no_grad()
    def outputs(self, images_BKHW: Tensor) -> Output:
        """Return the teacher's output for normalised images."""
        return output_of(self._teacher, self._forward(images_BKHW))


class TeacherTable:
    """Features and logits of the teacher for every view that training can show.

    Where views are shifts and mirrors of resident images there is an end of them, and a student of
    many epochs sees each many times. This is no approximation: the rows go through the teacher in
    batches of the size that a step has, so they hold the bits that the step's own forward pass
    would give. The first batch fills the table.

    Args:
        teacher: Asked once for each view.
        stream: Shows the views.
        codes_N: All of them.
        batch_size: Images of one forward pass in a step.
    """

    def __init__(
        self, teacher: AskedTeacher, stream: TrainStream, codes_N: Tensor, *, batch_size: int
    ) -> None:
        self._teacher, self._stream = teacher, stream
        self._codes_N, self._batch_size = codes_N, batch_size
        self._rows: tuple[Tensor, Tensor] | None = None
        self._row_of_code = torch.zeros(int(codes_N.max()) + 1, dtype=torch.int64)
        self._row_of_code[codes_N] = torch.arange(len(codes_N))

    def __call__(self, batch: Batch) -> Output:
        """Return the teacher's output without stage maps, which are not kept."""
        assert batch.codes is not None
        if self._rows is None:
            self._rows = self._ask()
        features_ND, logits_NC = self._rows
        row_B = self._row_of_code[batch.codes]
        return Output(features_ND[row_B], (), (), logits_NC[row_B])

    def _ask(self) -> tuple[Tensor, Tensor]:
        spare = -len(self._codes_N) % self._batch_size  # fills the last batch up, with any view
        filled_N = torch.cat([self._codes_N, self._codes_N[:1].expand(spare)])
        parts = torch.split(filled_N, self._batch_size)
        seen = [self._teacher.outputs(self._stream.show(codes_B)) for codes_B in parts]
        features_ND = torch.cat([output.features for output in seen])
        return features_ND, torch.cat([output.logits for output in seen])


def teaching(
    teacher: AskedTeacher, example: Output, stream: TrainStream, training: Training, device: str
) -> Teaching:
    """Return a table where it pays, else the teacher itself; for methods that read no stage maps.

    It pays where steps show at least twice as many views as there are. On a GPU the forward pass
    of a teacher whose table is small is not what a step waits for.

    Args:
        teacher: The teacher.
        example: Its output for one image.
        stream: The training batches.
        training: How long they go on.
        device: Where the stage computes.
    """
    codes_N = stream.all_codes() if device == "cpu" else None
    if codes_N is None:
        return teacher
    shown = training.last_epoch * stream.steps * training.batch_size
    size = len(codes_N) * (example.features.nbytes + example.logits.nbytes)
    if 2 * len(codes_N) > shown or size > LARGEST_TABLE:
        return teacher
    return TeacherTable(
        teacher, stream, codes_N, batch_size=training.batch_size // training.accumulate
    )
