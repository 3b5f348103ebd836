"""Learning rates over the epochs, the values that torch's schedulers give once per epoch."""

import math

from icckd.spec.training import Schedule, Training


def learning_rate(training: Training, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 1.

    The warm-up is torch's LinearLR. After it a cosine covers the epochs that are left; milestones
    and steps count the stage's epochs, those of the warm-up included.
    """
    done = epoch - 1
    if training.warmup == "off":
        return training.lr * _share(training.schedule, done, training.epochs, 0)
    first = training.warmup.epochs
    if done < first:
        start = training.warmup.start_factor
        return training.lr * (start + (1 - start) * done / first)
    return training.lr * _share(training.schedule, done, training.epochs, first)


def _share(schedule: Schedule, done: int, epochs: int, first: int) -> float:
    if schedule.kind == "cosine":
        return (1 + math.cos(math.pi * (done - first) / (epochs - first))) / 2
    if schedule.kind == "multistep":
        return schedule.factor ** sum(milestone <= done for milestone in schedule.milestones)
    if schedule.kind == "step":
        return schedule.factor ** (done // schedule.every)
    return 1.0
