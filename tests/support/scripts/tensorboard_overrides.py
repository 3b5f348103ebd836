"""A script that takes overrides as Hydra does, and writes TensorBoard's event files."""

import random
import sys

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


def main() -> None:
    """Sum random numbers; the seed is one of the overrides."""
    settings = {"model.depth": "1", "optimizer.lr": "0.1", "seed": "0", "epochs": "3"}
    for override in sys.argv[1:]:
        name, _, value = override.partition("=")
        if name not in settings:
            sys.exit(f"Could not override {name!r}")
        settings[name] = value
    draw = random.Random(int(settings["seed"]))
    writer = EventFileWriter("runs")
    loss = 1.0 / int(settings["model.depth"])
    for epoch in range(1, int(settings["epochs"]) + 1):
        loss *= 1.0 - float(settings["optimizer.lr"]) * draw.random()
        summary = Summary(value=[Summary.Value(tag="train/loss", simple_value=loss)])
        writer.add_event(Event(step=epoch, summary=summary))
    writer.close()


if __name__ == "__main__":
    main()
