"""Least squares on scikit-learn's diabetes data; options by Click, a line of JSON every step."""

import json
import random

import click
from sklearn.datasets import load_diabetes


@click.command()
@click.option("--steps", default=50, show_default=True, help="steps of gradient descent")
@click.option("--learning-rate", "lr", type=float, default=0.3, help="size of a step")
@click.option("--l2", default=0.01, type=click.FloatRange(0.0), help="weight of the penalty")
@click.option("--loss", type=click.Choice(["squared", "huber"]), default="squared")
@click.option("--bias/--no-bias", default=True, help="learn a constant, too")
@click.option("--average", is_flag=True, help="answer with the mean of all weights")
@click.option("-q", is_flag=True, help="print nothing")
@click.option("--random-seed", type=int, required=True)
def main(steps, lr, l2, loss, bias, average, q, random_seed):
    chance = random.Random(random_seed)
    rows, values = load_diabetes(return_X_y=True)
    order = list(range(len(rows)))
    chance.shuffle(order)
    train, test = order[:340], order[340:]
    middle = sum(values[i] for i in train) / len(train) if bias else 0.0
    weights = [chance.gauss(0, 0.01) for _ in range(rows.shape[1])]
    mean = list(weights)

    def error(i, used):
        return sum(w * x for w, x in zip(used, rows[i], strict=True)) * 100 + middle - values[i]

    with open("log.jsonl", "w") as file:
        for step in range(1, steps + 1):
            slopes = [l2 * w for w in weights]
            for i in train:
                off = error(i, weights)
                off = max(-50.0, min(50.0, off)) if loss == "huber" else off
                slopes = [s + off * x / len(train) for s, x in zip(slopes, rows[i], strict=True)]
            weights = [w - lr * s for w, s in zip(weights, slopes, strict=True)]
            mean = [m + (w - m) / step for m, w in zip(mean, weights, strict=True)]
            used = mean if average else weights
            rmse = (sum(error(i, used) ** 2 for i in test) / len(test)) ** 0.5
            file.write(json.dumps({"step": step, "test": {"rmse": rmse}}) + "\n")
    if not q:
        click.echo(f"rmse {rmse:.2f}")


if __name__ == "__main__":
    main()
