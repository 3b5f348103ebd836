"""Nearest neighbours on scikit-learn's wine data; options by Typer, results as printed lines."""

import enum
import math
import random
from typing import Annotated

import typer
from sklearn.datasets import load_wine


class Distance(enum.StrEnum):
    euclidean = "euclidean"
    manhattan = "manhattan"


def main(
    neighbours: int = 5,
    distance: Annotated[Distance, typer.Option(help="between two wines")] = Distance.euclidean,
    scale: Annotated[bool, typer.Option(help="divide by the standard deviation")] = True,
    vote: Annotated[bool, typer.Option("--vote/--nearest", help="of all neighbours")] = True,
    label_noise: float = typer.Option(0.0, "--label-noise", help="share of wrong labels"),
    held_out: Annotated[int, typer.Option("--held-out")] = 60,
    seed: int = 0,
) -> None:
    chance = random.Random(seed)
    rows, labels = load_wine(return_X_y=True)
    if scale:
        rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    order = list(range(len(rows)))
    chance.shuffle(order)
    test, train = order[:held_out], order[held_out:]
    told = {i: chance.randrange(3) if chance.random() < label_noise else labels[i] for i in train}
    power = 2 if distance is Distance.euclidean else 1
    right = 0
    for i in test:
        away = sorted(train, key=lambda j: float((abs(rows[i] - rows[j]) ** power).sum()))
        near = [told[j] for j in away[: neighbours if vote else 1]]
        right += max(set(near), key=near.count) == labels[i]
    accuracy = right / len(test)
    print(f"{len(test)} wines, test accuracy: {100 * accuracy:.1f} %, bits {math.log2(3):.2f}")


if __name__ == "__main__":
    typer.run(main)
