"""Ridge regression in closed form; a dataclass as configuration, one JSON file at the end."""

import json
from dataclasses import dataclass, field

import numpy as np
from sklearn.datasets import load_diabetes


@dataclass
class Features:
    squares: bool = True  # add the square of every column
    pairs: bool = False


@dataclass
class Config:
    """What a run can be told."""

    ridge: float = 0.1
    """penalty of the weights"""
    clip: float = field(default=3.0, metadata={"help": "largest standardized value"})
    columns: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    features: Features = field(default_factory=Features)
    seed: int = 0


def fit(config: Config) -> float:
    rows, values = load_diabetes(return_X_y=True)
    rows = np.clip(rows[:, config.columns] / rows.std(), -config.clip, config.clip)
    parts = [rows, np.ones((len(rows), 1))]
    if config.features.squares:
        parts.append(rows**2)
    if config.features.pairs:
        parts.append(rows[:, :-1] * rows[:, 1:])
    table = np.concatenate(parts, axis=1)
    order = np.random.default_rng(config.seed).permutation(len(table))
    train, test = order[:340], order[340:]
    square = table[train].T @ table[train] + config.ridge * np.eye(table.shape[1])
    weights = np.linalg.solve(square, table[train].T @ values[train])
    rest = ((table[test] @ weights - values[test]) ** 2).sum()
    return float(1 - rest / ((values[test] - values[test].mean()) ** 2).sum())


if __name__ == "__main__":
    result = {"config": "default"}
    result["r2"] = fit(Config())
    with open("result.json", "w") as file:
        json.dump(result, file)
