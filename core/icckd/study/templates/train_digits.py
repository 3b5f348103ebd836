"""A network of one hidden layer on scikit-learn's 8x8 digits, in NumPy: put your own code here.

icckd calls `train` once for each arm and seed; `config` is [task.config] with what the arm changes.
"""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

HIDDEN = 32


def train(config: Any, run: Any) -> None:
    """Train one network under one seed, and report what it comes to."""
    draw = np.random.default_rng(run.seed)  # all randomness: equal seeds of two arms are a pair
    images, labels, test_images, test_labels = digits()
    if config.normalize:
        mean, spread = images.mean(axis=0), images.std(axis=0) + 0.1
        images, test_images = (images - mean) / spread, (test_images - mean) / spread
    weights = [draw.normal(0, 0.1, size) for size in ((64, HIDDEN), (HIDDEN, 10))]
    run.fingerprint("initial weights", weights[0])  # `icckd check` compares them between arms
    speeds = [np.zeros_like(weight) for weight in weights]
    for epoch in range(1, config.epochs + 1):
        losses = []
        for batch in np.array_split(draw.permutation(len(labels)), 8):
            loss, gradients = step(weights, images[batch], labels[batch])
            losses.append(loss)
            for weight, speed, gradient in zip(weights, speeds, gradients, strict=True):
                speed *= config.momentum
                speed -= config.lr * gradient
                weight += speed
        run.log(step=epoch, loss=float(np.mean(losses)))
    found = forward(weights, test_images)[1].argmax(axis=1)
    right = found == test_labels
    run.summary(top1=100 * float(right.mean()), right=right)


def digits() -> tuple[Any, Any, Any, Any]:
    """Return 450 training and 900 test images with their labels: the same for every seed."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    train, test = order[:450], order[450:1350]
    images = data.data / 16
    return images[train], data.target[train], images[test], data.target[test]


def forward(weights: list[Any], inputs: Any) -> tuple[Any, Any]:
    """Return the hidden layer and the probabilities of the classes."""
    hidden = np.maximum(inputs @ weights[0], 0)
    scores = hidden @ weights[1]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, powers / powers.sum(axis=1, keepdims=True)


def step(weights: list[Any], inputs: Any, labels: Any) -> tuple[float, list[Any]]:
    """Return the cross-entropy of a batch and its gradient for each layer's weights."""
    hidden, chances = forward(weights, inputs)
    rows = np.arange(len(labels))
    loss = -float(np.log(chances[rows, labels] + 1e-12).mean())
    error = chances.copy()
    error[rows, labels] -= 1
    error /= len(labels)
    behind = (error @ weights[1].T) * (hidden > 0)
    return loss, [inputs.T @ behind, hidden.T @ error]
