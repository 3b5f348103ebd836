"""Write the runs as trials of an Optuna study: `python optuna_storage.py FOLDER sqlite|journal`."""

import sys

import optuna
from runs import RUNS, STEPS, accuracy, validation

optuna.logging.set_verbosity(optuna.logging.ERROR)
folder, kind = sys.argv[1:]
if kind == "sqlite":
    storage = f"sqlite:///{folder}/optuna.db"
else:
    from optuna.storages.journal import JournalFileBackend

    storage = optuna.storages.JournalStorage(JournalFileBackend(f"{folder}/optuna.log"))
study = optuna.create_study(storage=storage, study_name="digits", direction="maximize")
for arm, seed in RUNS:
    study.enqueue_trial({"method": arm})
    trial = study.ask(
        {"method": optuna.distributions.CategoricalDistribution(["full", "no-cache"])}
    )
    trial.set_user_attr("seed", seed)
    trial.set_user_attr("test_acc", accuracy(arm, seed, 1))
    for step in STEPS:
        trial.report(validation(arm, seed, step), step)
    study.tell(trial, accuracy(arm, seed, STEPS[-1]))
failed = study.ask({"method": optuna.distributions.CategoricalDistribution(["full", "no-cache"])})
failed.set_user_attr("seed", 7)
study.tell(failed, state=optuna.trial.TrialState.FAIL)
print(optuna.__version__)
