"""A perceptron on scikit-learn's breast cancer data, as a function that icckd calls."""

import random

from sklearn.datasets import load_breast_cancer

CONFIG = {
    "passes": 8,  # over the training set
    "lr": 0.1,
    "average": True,  # of the weights after every example
    "margin": 0.5,
}


def train(config, run):
    chance = random.Random(run.seed)
    rows, labels = load_breast_cancer(return_X_y=True)
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    order = list(range(len(rows)))
    test, rest = order[:169], order[169:]
    weights = mean = rows[0] * 0
    seen = 0
    for step in range(1, config["passes"] + 1):
        chance.shuffle(rest)
        for i in rest:
            sign = 2 * labels[i] - 1
            if sign * (rows[i] @ weights) <= config["margin"]:
                weights = weights + config["lr"] * sign * rows[i]
            seen += 1
            mean = mean + (weights - mean) / seen
        used = mean if config["average"] else weights
        right = [bool((rows[i] @ used > 0) == labels[i]) for i in test]
        run.log(step=step, top1=100 * sum(right) / len(right))
    run.summary(right=right)
