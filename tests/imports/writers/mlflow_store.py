"""Write the runs to MLflow: `python mlflow_store.py FOLDER file|sqlite`."""

import os
import sys

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true",
               "MLFLOW_ALLOW_FILE_STORE": "true"}  # fmt: skip

import mlflow
from mlflow import MlflowClient
from runs import RUNS, STEPS, accuracy, validation

folder, kind = sys.argv[1:]
place = f"sqlite:///{folder}/mlflow.db" if kind == "sqlite" else f"file://{folder}/mlruns"
client = MlflowClient(tracking_uri=place)
experiment = client.create_experiment("digits", artifact_location=f"file://{folder}/artifacts")
for arm, seed in RUNS:
    run = client.create_run(experiment, run_name=f"{arm}-s{seed}", tags={"note": "x"})
    client.log_param(run.info.run_id, "method", arm)
    client.log_param(run.info.run_id, "seed", seed)
    for step in STEPS:
        client.log_metric(run.info.run_id, "acc", accuracy(arm, seed, step), step=step)
        client.log_metric(run.info.run_id, "val_acc", validation(arm, seed, step), step=step)
    client.set_terminated(run.info.run_id)
deleted = client.create_run(experiment, run_name="deleted")
client.log_param(deleted.info.run_id, "method", "full")
client.log_param(deleted.info.run_id, "seed", 0)
client.log_metric(deleted.info.run_id, "acc", 1.0, step=1)
client.delete_run(deleted.info.run_id)
print(mlflow.__version__)
