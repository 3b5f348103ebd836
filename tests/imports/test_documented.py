"""Every command of docs/results-from-elsewhere.md does what the page says."""

import json
import runpy
import tarfile
from pathlib import Path

import pytest

from tests.imports.conftest import long_form, parquet, steps_of, wide, write_csv
from tests.support.blocks import blocks_of

WRITE = runpy.run_path(str(Path(__file__).parent / "writers" / "write.py"))
PAGE = "docs/results-from-elsewhere.md"


@pytest.mark.slow
def test_every_command_of_the_page_runs(desk):
    rows = wide()
    write_csv(desk.folder / "runs.csv", rows)
    write_csv(desk.folder / "long.csv", long_form(rows))
    steps = [{("val_acc" if k == "val" else k): v for k, v in r.items()} for r in steps_of(rows)]
    write_csv(desk.folder / "steps.csv", steps)
    (desk.folder / "runs.json").write_text(json.dumps(rows))
    parquet(desk.folder / "runs.parquet", rows)
    write_csv(desk.folder / "export.csv", rows)
    for store in (
        "wandb",
        "mlflow-files",
        "mlflow-sqlite",
        "tensorboard",
        "trackio",
        "optuna-sqlite",
    ):
        name = "logs" if store == "tensorboard" else "."
        with tarfile.open(WRITE["archive"](store)) as packed:
            packed.extractall(desk.folder / name, filter="data")
    answers = [
        {"method": r["method"], "question": f"q{n}", "topic": f"t{n % 8}", "acc": int(n % 3 > 0)}
        for r in rows
        if r["seed"] == 0
        for n in range(40)
    ]
    write_csv(desk.folder / "answers.csv", answers)
    commands = [words for block in blocks_of(PAGE, "sh") for words in block.commands()]

    for command in commands:
        done = desk.run(*command[1:])
        assert done.stdout or done.stderr, command

    assert len(commands) >= 21
