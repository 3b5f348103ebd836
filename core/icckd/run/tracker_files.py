"""Metrics that a task left in the files of a tracker, read by the tracker's own library.

TensorBoard's event files are read while they grow, an offline run of Weights & Biases when the task
has ended. Both libraries are extras of icckd.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from icckd.run.task_metrics import Value, of_record
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
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util.tensor_util import make_ndarray

        for path in sorted(self._folder.rglob("*tfevents*")):
            if path not in self._loaders:
                self._loaders[path] = EventFileLoader(str(path))
            for event in self._loaders[path].Load():
                for value in event.summary.value:
                    if value.tag in self._names and value.HasField("tensor"):
                        array = make_ndarray(value.tensor)
                        if array.size == 1:
                            yield event.step, self._names[value.tag], float(array.reshape(-1)[0])


class OfflineRun:
    """An offline run of Weights & Biases, read by its own reader when the task has ended."""

    def __init__(self, folder: Path, place: str, metrics: Mapping[str, TaskMetric]) -> None:
        self._folder = folder / place
        self._metrics = metrics

    def poll(self, *, last: bool) -> Iterator[Value]:
        """Yield what is new; see `Reader`."""
        if not last or not self._folder.is_dir():
            return
        from wandb.proto import wandb_internal_pb2
        from wandb.sdk.internal.datastore import DataStore

        for path in sorted(self._folder.rglob("*.wandb")):
            store = DataStore()
            store.open_for_scan(str(path))
            count = 0
            while (data := store.scan_data()) is not None:
                record = wandb_internal_pb2.Record()
                record.ParseFromString(data)
                if record.WhichOneof("record_type") != "history":
                    continue
                count += 1
                items = {
                    each.key or ".".join(each.nested_key): json.loads(each.value_json)
                    for each in record.history.item
                }
                items.setdefault("step", record.history.step.num)
                yield from of_record(items, self._metrics, count)
