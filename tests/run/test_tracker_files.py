"""Files of trackers, written by the trackers themselves."""

import subprocess
import sys

import pytest

from icckd.errors import StageError
from icckd.run.tracker_files import EventFiles, OfflineRun
from icckd.study.tasks import TaskMetric

OFFLINE = """
import wandb

run = wandb.init(project="x", dir=".", mode="offline", settings=wandb.Settings(console="off"))
for step in range(3):
    run.log({"val": {"acc": 10.5 * step}, "train/loss": 1 / (step + 1), "nan": float("nan")})
run.finish()
"""


def metrics(**keys: str) -> dict[str, TaskMetric]:
    return {name: TaskMetric.model_validate({"key": key}) for name, key in keys.items()}


def test_event_files_of_torch_are_read_while_they_grow(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    reader = EventFiles(tmp_path, "runs", metrics(loss="train/loss"))
    assert list(reader.poll(last=False)) == []
    with SummaryWriter(tmp_path / "runs") as writer:
        writer.add_scalar("train/loss", 0.5, 0)
        writer.add_scalar("train/other", 9.0, 0)
        writer.flush()
        assert list(reader.poll(last=False)) == [(0, "loss", 0.5)]
        writer.add_scalar("train/loss", 0.25, 10)
    assert list(reader.poll(last=True)) == [(10, "loss", 0.25)]


@pytest.mark.slow
def test_an_offline_run_of_wandb_is_read_at_its_end(tmp_path):
    pytest.importorskip("wandb", reason="needs the extra export-wandb")
    subprocess.run([sys.executable, "-c", OFFLINE], cwd=tmp_path, check=True)
    reader = OfflineRun(tmp_path, "wandb", metrics(acc="val.acc", loss="train/loss", nan="nan"))

    assert list(reader.poll(last=False)) == []
    found = list(reader.poll(last=True))

    assert [(step, value) for step, name, value in found if name == "acc"] == [
        (0, 0.0), (1, 10.5), (2, 21.0)
    ]  # fmt: skip
    assert [value for _, name, value in found if name == "loss"] == [1.0, 1 / 2, 1 / 3]
    assert sum(value != value for _, name, value in found if name == "nan") == 3
    (tmp_path / "wandb" / "run.wandb").write_bytes(b"this is no run")
    with pytest.raises(StageError, match=r"run\.wandb is no file of an offline run of W&B"):
        list(reader.poll(last=True))
