"""TensorBoard: one event file a trial, under `arm/seed`, and its hyperparameters for HPARAMS.

Written with TensorBoard's own writer and records; torch and TensorFlow are not needed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from icckd.report.export.trackers import TrackedRun, as_folder
from icckd.results.types import StudyInfo

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary


def write(study: StudyInfo, runs: Sequence[TrackedRun], folder: Path) -> None:
    """Write one event file a run below `folder`/study."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for run in runs:
        writer = EventFileWriter(
            str(folder / as_folder(study.name) / as_folder(run.arm) / str(run.seed))
        )
        try:
            for step, summary in _summaries(run):
                writer.add_event(Event(wall_time=run.started, step=step, summary=summary))
        finally:
            writer.close()


def _summaries(run: TrackedRun) -> "Iterator[tuple[int, Summary]]":
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    yield 0, hparams_pb(run.config, trial_id=run.name, start_time_secs=run.started)
    for epoch, values in run.by_epoch().items():
        yield epoch, Summary(value=[_scalar(name, value) for name, value in values.items()])
    yield 0, Summary(value=[_scalar(name, value) for name, value in run.outcomes.items()])


def _scalar(name: str, value: float) -> "Summary.Value":
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary.Value(tag=name, simple_value=value)
