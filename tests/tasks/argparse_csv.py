"""Softmax regression on scikit-learn's digits; options by argparse, a CSV file with every epoch."""

import argparse
import csv
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TEST_IMAGES = 360


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20, help="passes over the training images")
    parser.add_argument("--lr", type=float, default=0.5, help="learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights, order and noise")
    parser.add_argument("--out", default="runs", help="folder of metrics.csv")
    method = parser.add_argument_group("method")
    method.add_argument("--weight-decay", type=float, default=1e-3, help="decay of all weights")
    method.add_argument("--noise", type=float, default=0.2, help="noise on images, a share of 16")
    method.add_argument("--no-shuffle", action="store_true", help="keep the order of the images")
    method.add_argument(
        "--center", action=argparse.BooleanOptionalAction, default=True, help="subtract the mean"
    )
    return parser.parse_args()


def main() -> None:
    args = options()
    random = np.random.default_rng(args.seed)
    images, labels = load_digits(return_X_y=True)
    images = images / 16
    train, test = slice(TEST_IMAGES, None), slice(0, TEST_IMAGES)
    if args.center:
        images = images - images[train].mean(axis=0)
    weights = random.normal(0, 0.01, (images.shape[1], 10))
    targets = np.eye(10)[labels]
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["epoch", "loss", "test_acc"])
        for epoch in range(1, args.epochs + 1):
            order = np.arange(TEST_IMAGES, len(images))
            if not args.no_shuffle:
                random.shuffle(order)
            losses = []
            for batch in np.array_split(order, 12):
                seen = images[batch] + random.normal(0, args.noise, images[batch].shape)
                scores = seen @ weights
                shares = np.exp(scores - scores.max(axis=1, keepdims=True))
                shares /= shares.sum(axis=1, keepdims=True)
                losses.append(-np.log(shares[targets[batch] == 1] + 1e-12).mean())
                gradient = seen.T @ (shares - targets[batch]) / len(batch)
                weights -= args.lr * (gradient + args.weight_decay * weights)
            right = (images[test] @ weights).argmax(axis=1) == labels[test]
            table.writerow([epoch, np.mean(losses), 100 * right.mean()])


if __name__ == "__main__":
    main()
