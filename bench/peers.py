"""What we are compared with: forms of the loss, and a training loop, as the field writes them.

The loop has the shape of RepDistiller's and mdistiller's: images go through PIL and torchvision
transforms one by one in a DataLoader, every step's loss and accuracy are read by the host, the
teacher is forwarded at every student step.
"""

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from icckd.train.losses.base import unit
from icckd.train.losses.contrastive import EmbeddingCache

CLASSES = 5


def dense_intra(
    h_BD: Tensor, k_BD: Tensor, labels_B: Tensor, ids_B: Tensor, cache: EmbeddingCache,
    *, temperature: float,
) -> Tensor:  # fmt: skip
    """Every sample against the whole batch and the whole cache, masked."""
    z_BD, k_BD = unit(h_BD) / temperature, unit(k_BD)
    keys_ND = torch.cat([k_BD, cache.Q_emb.flatten(0, 1)])
    per_class = cache.Q_id.shape[1]
    label_N = torch.cat([labels_B, torch.arange(len(cache.Q_id)).repeat_interleave(per_class)])
    id_N = torch.cat([ids_B, cache.Q_id.flatten()])
    scores_BN = z_BD @ keys_ND.T
    negative_BN = (labels_B[:, None] == label_N) & (ids_B[:, None] != id_N) & (id_N >= 0)
    positive_B = scores_BN.diagonal()[: len(h_BD)]
    own_BN = torch.zeros_like(negative_BN)
    own_BN.diagonal().fill_(True)
    loss_B = torch.where(negative_BN | own_BN, scores_BN, -torch.inf).logsumexp(1) - positive_B
    return torch.where(negative_BN.any(1), loss_B, 0.0).sum() / len(h_BD)


def looped_intra(
    h_BD: Tensor, k_BD: Tensor, labels_B: Tensor, ids_B: Tensor, cache: EmbeddingCache,
    *, temperature: float,
) -> Tensor:  # fmt: skip
    """One sample after another, each a handful of tensor operations."""
    z_BD, k_BD = unit(h_BD) / temperature, unit(k_BD)
    losses = []
    for i in range(len(h_BD)):
        others = (labels_B == labels_B[i]) & (ids_B != ids_B[i])
        stored = (cache.Q_id[labels_B[i]] != ids_B[i]) & (cache.Q_id[labels_B[i]] >= 0)
        keys_ND = torch.cat([k_BD[i : i + 1], k_BD[others], cache.Q_emb[labels_B[i]][stored]])
        scores_N = keys_ND @ z_BD[i]
        if len(scores_N) > 1:
            losses.append(scores_N.logsumexp(0) - scores_N[0])
    return torch.stack(losses).sum() / len(h_BD) if losses else h_BD.sum() * 0


class PeerNet(nn.Module):
    """The study's network, written plainly."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for number, width in enumerate(widths):
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
            layers += [nn.ReLU(), *([nn.MaxPool2d(2)] if number < 2 else [])]
            before = width
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(widths[-1], CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits."""
        features = self.body(x)
        return features, self.head(features)


class PilDigits(Dataset[tuple[object, int, int]]):
    """450 of the digits as PIL images with transforms, as torchvision's data sets give them."""

    def __init__(self, views: int) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        self._images = [Image.fromarray((i * 15).astype("uint8")) for i in digits.images[:450]]
        self._labels = [int(label) // 2 for label in digits.target[:450]]
        self._views = views
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(8, padding=1),
                transforms.ToTensor(),
                transforms.Normalize((0.3,), (0.35,)),
            ]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[object, int, int]:
        views = [self._transform(self._images[index]) for _ in range(self._views)]
        return (views if self._views > 1 else views[0]), self._labels[index], index


def _loader(views: int, workers: int) -> DataLoader[tuple[object, int, int]]:
    return DataLoader(
        PilDigits(views), batch_size=64, shuffle=True, drop_last=True, num_workers=workers
    )


def _sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)


def peer_teacher_epoch(workers: int = 0, device: str = "cpu") -> Callable[[], float]:
    """Return a function that trains one epoch of a two-view teacher, with loader processes."""
    model, cache = PeerNet((16, 32, 64)).to(device), EmbeddingCache(CLASSES, 64, 64).to(device)
    optimiser, loader = _sgd(model), _loader(2, workers)

    def epoch() -> float:
        model.train()
        total = 0.0
        for views, *told in loader:
            labels_B, ids_B = (each.to(device) for each in told)
            h_BD, logits_BC = model(torch.cat(views).to(device))
            view1_BD, view2_BD = h_BD.chunk(2)
            logits_BC = logits_BC[: len(labels_B)]
            intra = looped_intra(view1_BD, view2_BD, labels_B, ids_B, cache, temperature=0.1)
            loss = functional.cross_entropy(logits_BC, labels_B) + 0.02 * intra
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            _push(cache, unit(view2_BD.detach()), labels_B, ids_B)
            total += loss.item() + (logits_BC.argmax(1) == labels_B).float().mean().item()
        return total

    return epoch


def peer_student_epoch(workers: int = 0, device: str = "cpu") -> Callable[[], float]:
    """Return a function that distils one epoch of a student, with loader processes."""
    teacher, student = PeerNet((16, 32, 64)).to(device).eval(), PeerNet((4, 8, 16)).to(device)
    optimiser, loader = _sgd(student), _loader(1, workers)

    def epoch() -> float:
        student.train()
        total = 0.0
        for images, labels, _ in loader:
            x, labels_B = images.to(device), labels.to(device)
            with torch.no_grad():
                _, teacher_BC = teacher(x)
            _, logits_BC = student(x)
            kd = functional.kl_div(
                (logits_BC / 4).log_softmax(1), (teacher_BC / 4).softmax(1), reduction="batchmean"
            )
            loss = 0.1 * functional.cross_entropy(logits_BC, labels_B) + 0.9 * 16 * kd
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() + (logits_BC.argmax(1) == labels_B).float().mean().item()
        return total

    return epoch


def _push(cache: EmbeddingCache, keys_BD: Tensor, labels_B: Tensor, ids_B: Tensor) -> None:
    for key_D, label, sample in zip(keys_BD, labels_B.tolist(), ids_B.tolist(), strict=True):
        slot = int(cache.Q_ptr[label])
        cache.Q_emb[label, slot] = key_D
        cache.Q_id[label, slot] = sample
        cache.Q_ptr[label] = (slot + 1) % cache.Q_id.shape[1]
