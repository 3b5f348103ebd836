"""A logistic regression on scikit-learn's iris data, configured by Hydra, logged to TensorBoard."""

import hydra
import numpy as np
from omegaconf import DictConfig
from sklearn.datasets import load_iris
from torch.utils.tensorboard import SummaryWriter


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    random = np.random.default_rng(cfg.seed)
    rows, labels = load_iris(return_X_y=True)
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    targets = np.eye(3)[labels]
    order = random.permutation(len(rows))
    train, test = order[:90], order[90:]
    weights = random.normal(0, 0.01, (4, 3))
    speed = np.zeros_like(weights)
    writer = SummaryWriter("events")
    for epoch in range(1, cfg.epochs + 1):
        seen = rows[train]
        if cfg.augment.enabled:
            seen = seen + random.normal(0, cfg.augment.noise, seen.shape)
        shares = np.exp(seen @ weights)
        shares /= shares.sum(axis=1, keepdims=True)
        slope = seen.T @ (shares - targets[train]) / len(train)
        slope = slope + cfg.optimizer.weight_decay * weights
        speed = cfg.optimizer.momentum * speed + slope
        weights = weights - cfg.optimizer.lr * speed
        loss = float(-np.log(shares[targets[train] == 1]).mean())
        right = (rows[test] @ weights).argmax(axis=1) == labels[test]
        writer.add_scalar("train/loss", loss, epoch)
        writer.add_scalar("test/accuracy", 100 * right.mean(), epoch)
    writer.close()


if __name__ == "__main__":
    main()
