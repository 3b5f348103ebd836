"""Write the runs as event files of TensorBoard: `python tensorboard_events.py FOLDER`."""

import sys

import tensorboard
from runs import RUNS, STEPS, accuracy, validation
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

for arm, seed in RUNS:
    writer = EventFileWriter(f"{sys.argv[1]}/{arm}/seed-{seed}")
    for step in STEPS:
        values = {"eval/acc": accuracy(arm, seed, step), "val_acc": validation(arm, seed, step)}
        summary = Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in values.items()])
        writer.add_event(Event(wall_time=0.0, step=step, summary=summary))
    writer.close()
print(tensorboard.__version__)
