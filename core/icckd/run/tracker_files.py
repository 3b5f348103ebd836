"""Metrics that a task left in the files of a tracker.

TensorBoard's event files are read by TensorBoard, which is an extra of icckd, while they grow; an
offline run of Weights & Biases is read without W&B when the task has ended.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from icckd.run.task_metrics import Value, of_record
from icckd.run.wandb_file import WandbRun, history
from icckd.study.tasks import TaskMetric


class EventFiles:
    """TensorBoard's event files, read by TensorBoard itself."""

    def __init__(self, folder: Path, place: str, metrics: Mapping[str, TaskMetric]) -> None:
        self._folder = folder / place
        self._names = {metric.key or name: name for name, metric in metrics.items()}
        self._loaders: dict[Path, Any] = {}

    def poll(self, *, last: bool) -> Iterator[Value]:
        """Yield what is new; see `Reader`."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.rglob("*tfevents*")):
            if path not in self._loaders:
                self._loaders[path] = _loader(path)
            for step, tag, value in _new_scalars(self._loaders[path]):
                if tag in self._names:
                    yield step, self._names[tag], value


def has_tensorboard() -> bool:
    """Whether event files can be read here."""
    return importlib.util.find_spec("tensorboard") is not None


def scalars(path: Path) -> Iterator[tuple[int, str, float]]:
    """Yield step, tag and value of every number in an event file.

    Raises:
        ImportError: TensorBoard is not installed.
    """
    yield from _new_scalars(_loader(path))


def _loader(path: Path) -> Any:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    return EventFileLoader(str(path))


def _new_scalars(loader: Any) -> Iterator[tuple[int, str, float]]:
    from tensorboard.util.tensor_util import make_ndarray

    for event in loader.Load():
        for value in event.summary.value:
            if value.HasField("tensor"):
                array = make_ndarray(value.tensor)
                if array.size == 1 and array.dtype.kind in "fiub":
                    yield event.step, value.tag, float(array.reshape(-1)[0])


class OfflineRun:
    """An offline run of Weights & Biases, read when the task has ended."""

    def __init__(self, folder: Path, place: str, metrics: Mapping[str, TaskMetric]) -> None:
        self._folder = folder / place
        self._metrics = metrics

    def poll(self, *, last: bool) -> Iterator[Value]:
        """Yield what is new; see `Reader`."""
        if not last or not self._folder.is_dir():
            return
        for path in sorted(self._folder.rglob("*.wandb")):
            for count, (step, items) in enumerate(history(path, WandbRun()), start=1):
                items.setdefault("step", step)
                yield from of_record(items, self._metrics, count)
