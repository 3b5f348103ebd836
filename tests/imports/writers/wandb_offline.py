"""Write the runs as offline runs of Weights & Biases: `python wandb_offline.py FOLDER`."""

import os
import sys

os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}

import wandb
from runs import RUNS, STEPS, accuracy, validation

folder = sys.argv[1]
settings = wandb.Settings(
    console="off", disable_code=True, disable_git=True, silent=True, x_disable_machine_info=True,
    x_disable_meta=True, x_disable_stats=True, x_save_requirements=False,
)  # fmt: skip
for arm, seed in RUNS:
    run = wandb.init(
        mode="offline", dir=folder, project="digits", name=f"{arm}-s{seed}", settings=settings,
        config={"method": arm, "training": {"seed": seed}},
    )  # fmt: skip
    for step in STEPS:
        run.log(
            {"acc": accuracy(arm, seed, step), "val_acc": validation(arm, seed, step)}, step=step
        )
    run.finish()
print(wandb.__version__)
