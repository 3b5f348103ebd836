"""Metrics that a task left in the files of a tracker, read by the tracker's own library.

TensorBoard's event files are read while they grow, an offline run of Weights & Biases when the task
has ended. Both libraries are extras of icckd.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from icckd.errors import StageError
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
        for path in sorted(self._folder.rglob("*.wandb")):
            for count, record in enumerate(_history(path), start=1):
                items = record.get("item", {})
                items.setdefault("step", record.get("step", {}).get("num"))
                yield from of_record(items, self._metrics, count)


def _history(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of logged values in a run's file; keys of tables are joined by dots.

    Raises:
        ImportError: W&B is not installed.
        StageError: Its reader failed.
    """
    if importlib.util.find_spec("wandb") is None:
        raise ImportError(name="wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    quiet = {**os.environ, "WANDB_ERROR_REPORTING": "false"}
    with (
        tempfile.TemporaryFile() as told,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=told, env=quiet
        ) as reader,
    ):
        assert reader.stdout is not None
        for line in reader.stdout:
            record = json.loads(line)
            if record.get("type") == "history":
                yield record["history"]
        if reader.wait() != 0:
            told.seek(0)
            why = told.read().decode("utf-8", "replace").strip().splitlines()
            raise StageError(
                f"W&B cannot read {path.name}: {why[-1] if why else f'exit {reader.returncode}'}",
                hint="the run was not written to its end",
            )
