"""A method of one's own: a small convolutional network on scikit-learn's 8x8 digits.

`own-method.toml` takes dropout, augmentation and batch normalization away from it, one at a time.
Nothing in this file knows icckd but the two arguments of `train`.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional


def digits():
    """Return 450 training and 900 test images with their labels: the same for every seed."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(data.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order[:450], order[450:1350]
    return images[train], labels[train], images[test], labels[test]


def network(config):
    """Return two convolutions and a linear layer."""
    norm = nn.BatchNorm2d if config.batch_norm else lambda channels: nn.Identity()
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), norm(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), norm(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(config.dropout), nn.Linear(128, 10),
    )  # fmt: skip


def shifted(images, draw):
    """Return images moved by up to one pixel in each direction."""
    x, y = torch.randint(0, 3, (2,), generator=draw).tolist()
    return functional.pad(images, (1, 1, 1, 1))[:, :, y : y + 8, x : x + 8]


def train(config, run):
    """Train one network under one seed, and report what it comes to."""
    torch.set_num_threads(1)
    torch.manual_seed(run.seed)  # initial weights, dropout
    draw = torch.Generator().manual_seed(run.seed)  # data order, augmentation: the same in all arms
    images, labels, test_images, test_labels = digits()
    net = network(config)
    run.fingerprint("initial weights of the last layer", net[-1].weight.detach())
    optimizer = torch.optim.SGD(net.parameters(), lr=config.lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)
    for epoch in range(1, config.epochs + 1):
        net.train()
        found = 0
        for batch in torch.randperm(len(labels), generator=draw).split(64):
            moved = shifted(images[batch], draw)
            logits = net(moved if config.augment else images[batch])
            loss = functional.cross_entropy(logits, labels[batch])
            found += int((logits.argmax(dim=1) == labels[batch]).sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        run.log(step=epoch, loss=loss.item(), train_top1=100 * found / len(labels))
    net.eval()
    with torch.no_grad():
        right = net(test_images).argmax(dim=1) == test_labels
    run.summary(top1=100 * right.float().mean().item(), right=right)
