"""A desk with files of runs that were made elsewhere."""

import csv
import random
from pathlib import Path

import duckdb
import pytest

from icckd.journal.folder import StateFolder
from icckd.results.query import open_results
from tests.support.desk import Desk

WORSE = {"full": 0.0, "no-cache": -1.5, "no-filter": -0.05}


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path)


def wide(arms=("full", "no-cache", "no-filter"), seeds=range(8)) -> list[dict]:
    """Return a row a run: the arm `no-cache` is worse by about 1.5 points."""
    rng = random.Random(7)
    rows = []
    for seed in seeds:
        own = rng.gauss(0, 0.5)
        for arm in arms:
            acc = round(93 + own + WORSE[arm] + rng.gauss(0, 0.2), 4)
            rows.append({"method": arm, "seed": seed, "acc": acc, "loss": round(rng.random(), 4)})
    return rows


def write_csv(path: Path, rows: list[dict], between: str = ",") -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=between)
        writer.writeheader()
        writer.writerows(rows)
    return path


def long_form(rows: list[dict], metrics=("acc", "loss")) -> list[dict]:
    return [
        {"method": r["method"], "seed": r["seed"], "metric": m, "value": r[m]}
        for r in rows
        for m in metrics
    ]


def steps_of(rows: list[dict], steps: int = 5) -> list[dict]:
    """Return a row a step: acc rises to its last value, val peaks at the step before the last."""
    return [
        {
            "method": r["method"],
            "seed": r["seed"],
            "epoch": step,
            "acc": r["acc"] - (steps - step),
            "val": 80 + step - (5 if step == steps else 0),
        }
        for r in rows
        for step in range(1, steps + 1)
    ]


def parquet(path: Path, rows: list[dict]) -> Path:
    names = list(rows[0])
    table = {name: [row[name] for row in rows] for name in names}
    unnested = ", ".join(f'unnest(${n}) as "{name}"' for n, name in enumerate(names, start=1))
    duckdb.execute(f"copy (select {unnested}) to '{path}'", list(table.values()))
    return path


def values(desk: Desk, metric: str = "observed.acc") -> dict[tuple[str, int], float]:
    with open_results(StateFolder(desk.state)) as results:
        found = results.values(results.study(), metric)
        return {(arm, seed): v for arm, seeds in found.items() for seed, v in seeds.items()}


def curve(desk: Desk, metric: str = "observed.acc"):
    with open_results(StateFolder(desk.state)) as results:
        return results.curves(results.study(), metric)
