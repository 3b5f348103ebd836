"""A nursery whose children train a small real network, and save a checkpoint after every epoch."""

import os
from pathlib import Path

import torch

from icckd.study.teacher import Teacher
from icckd.study.training import Numerics, Training
from icckd.train.contract import JobContext, TeacherJob
from icckd.train.datasets.digits import DigitsData
from icckd.train.losses.contrastive import IntraLoss
from icckd.train.networks.cnn import CnnModel
from icckd.train.stage import train_teacher
from tests.faults.roles import nursery

JOB = {
    "data": DigitsData(train=96, validation=40),
    "numerics": Numerics(),
    "seed": 0,
}


class Acknowledge:
    """A recorder that tells, by files, which epochs began after which checkpoint was saved."""

    def __init__(self, acks):
        self.acks = acks

    def resumed(self, series, *, attempt, seconds):
        self.epoch(len(series) + 1, {})

    def epoch(self, epoch, values):
        """When an epoch is recorded, the checkpoint after the one before it was saved."""
        (self.acks / f"saved-{epoch - 1}").touch()

    def outcomes(self, values, right=()):
        pass

    def log(self, message):
        with (self.acks / "log").open("a") as file:
            file.write(f"{message}\n")


def train(folder, acks, epochs):
    """Train a stage from its newest checkpoint on, to its end."""
    torch.set_num_threads(1)
    teacher = Teacher(
        model=CnnModel(widths=(4, 4, 8)),
        training=Training(epochs=epochs, batch_size=32),
        views=2,
        intra=IntraLoss(),
    )
    place = JobContext(
        device="cpu", data_root=folder.root, artifact_folder=folder.artifacts / "teacher",
        checkpoint_folder=folder.checkpoints / "teacher", checkpoint_seconds=0.0, stage="teacher",
        attempt=f"attempt-{os.getpid()}",
    )  # fmt: skip
    train_teacher(TeacherJob(teacher=teacher, **JOB), Acknowledge(Path(acks)), place)
    (Path(acks) / "finished").touch()


if __name__ == "__main__":
    nursery({"train": train})
