"""Write the runs as a local project of Trackio: `python trackio_project.py FOLDER`."""

import contextlib
import io
import os
import sys

os.environ |= {"TRACKIO_DIR": sys.argv[1], "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

import trackio
from runs import RUNS, STEPS, accuracy, validation

for arm, seed in RUNS:
    with contextlib.redirect_stdout(io.StringIO()):
        trackio.init(
            project="digits", name=f"{arm}-s{seed}", config={"method": arm, "seed": seed},
            embed=False, auto_log_cpu=False, auto_log_gpu=False,
        )  # fmt: skip
        for step in STEPS:
            values = {"acc": accuracy(arm, seed, step), "val_acc": validation(arm, seed, step)}
            trackio.log(values, step=step)
        trackio.finish()
print(trackio.__version__)
