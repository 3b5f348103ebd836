"""Time of one training step and of the intra-class loss: `python bench/step_time.py [ROUNDS]`.

CPU time at one thread, alternatives interleaved in one process, medians of per-round ratios.

- loss: our grouped form against a masked dense form and a Python loop over samples, all computing
  the same values (checked here), forward and backward.
- step: the study's teacher and student step against a peer-shaped loop: a DataLoader without
  workers (its best setting on data this small), torchvision transforms per image, values read by
  the host at every step.
"""

import sys
from collections.abc import Callable

import torch
from own import student_epoch, teacher_epoch
from peers import dense_intra, looped_intra, peer_student_epoch, peer_teacher_epoch
from timing import interleaved, ratio, write_result

from icckd.train.losses.base import group_by_class
from icckd.train.losses.contrastive import EmbeddingCache, IntraLoss, intra_class_contrastive

SHAPES = [(64, 64, 5, 64), (64, 256, 100, 64), (256, 256, 100, 64), (1024, 256, 100, 32)]


def loss_row(shape: tuple[int, int, int, int], rounds: int) -> str:
    """Return the table row of one shape; all three forms must agree."""
    batch, features, classes, per_class = shape
    generator = torch.Generator().manual_seed(0)
    labels_B = torch.randint(classes, (batch,), generator=generator)
    ids_B = torch.arange(batch)
    h_BD, k_BD = (torch.randn(batch, features, generator=generator) for _ in range(2))
    margin_B = torch.ones(batch)
    settings = IntraLoss(temperature=0.1, margin="off")
    cache = EmbeddingCache(classes, per_class, features)
    capacity = int(labels_B.bincount().max())
    groups = group_by_class(labels_B, classes, capacity)
    for step in range(per_class):
        cache.push(torch.nn.functional.normalize(k_BD.roll(step, 0)), ids_B + batch, step, groups)

    def grouped(leaf_BD: torch.Tensor) -> torch.Tensor:
        return intra_class_contrastive(
            leaf_BD, k_BD, margin_B, ids_B, group_by_class(labels_B, classes, capacity),
            settings=settings, cache=cache.entries(),
        ).loss  # fmt: skip

    def dense(leaf_BD: torch.Tensor) -> torch.Tensor:
        return dense_intra(leaf_BD, k_BD, labels_B, ids_B, cache, temperature=0.1)

    def looped(leaf_BD: torch.Tensor) -> torch.Tensor:
        return looped_intra(leaf_BD, k_BD, labels_B, ids_B, cache, temperature=0.1)

    def timed(form: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            loss = form(h_BD.clone().requires_grad_())
            loss.backward()
            return loss.detach()

        return run

    runs = {"grouped": timed(grouped), "dense": timed(dense), "loop": timed(looped)}
    values = [run() for run in runs.values()]
    assert torch.allclose(values[0], values[1], atol=1e-4), values
    assert torch.allclose(values[0], values[2], atol=1e-4), values
    times = interleaved(runs, rounds=rounds)
    own = sorted(times["grouped"])[rounds // 2] * 1e3
    return (
        f"| {batch}, {features}, {classes}, {per_class} | {own:.2f} |"
        f" {ratio(times, 'dense', 'grouped'):.1f} | {ratio(times, 'loop', 'grouped'):.1f} |"
    )


def step_rows(rounds: int) -> list[str]:
    """Return a table row for teacher and student."""
    rows = []
    for name, ours, peer in (
        ("teacher, two views, intra-class loss", teacher_epoch(), peer_teacher_epoch()),
        ("student, KD, the teacher asked in each step", student_epoch(asked=True),
            peer_student_epoch()),
        ("student, KD, as it is: the teacher's table, which took about 0.1 s before",
            student_epoch(), peer_student_epoch()),
    ):  # fmt: skip
        times = interleaved({"icckd": ours, "peer": peer}, rounds=rounds)
        steps = 7
        own, other = (sorted(times[n])[rounds // 2] * 1e3 / steps for n in ("icckd", "peer"))
        rows.append(f"| {name} | {own:.2f} | {other:.2f} | {ratio(times, 'peer', 'icckd'):.1f} |")
    return rows


def main() -> None:
    """Measure and write the result."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    torch.set_num_threads(1)
    write_result(
        "step-time",
        [
            f"CPU milliseconds at one thread, medians of {rounds} interleaved rounds; ratios are"
            " medians of per-round ratios (peer / icckd, so more is better for icckd).",
            "",
            "| loss, forward + backward: B, D, C, cache per class | grouped ms | dense / grouped |"
            " loop / grouped |",
            "| --- | --- | --- | --- |",
            *(loss_row(shape, rounds) for shape in SHAPES),
            "",
            "| digits step, batch 64, validation excluded | icckd ms | peer ms | peer / icckd |",
            "| --- | --- | --- | --- |",
            *step_rows(rounds),
        ],
    )


if __name__ == "__main__":
    main()
