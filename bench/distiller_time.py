"""Time of a student's step by distiller: `python bench/distiller_time.py [ROUNDS]`.

CPU time at one thread, alternatives interleaved in one process, medians of per-round ratios.

- step: the digits' student of the shipped study with every distiller at its defaults, against KD.
- negatives: CRD's contrast with negatives drawn once for the batch, against negatives drawn for
  each anchor apart (the original's shape, its slow draw without replacement left out), forward and
  backward. Both give the same expected loss; the values are compared here.
"""

import sys
from pathlib import Path

import torch
from own import student_epoch
from pydantic import TypeAdapter
from timing import interleaved, ratio, write_result

from icckd.study.distillers import DISTILLERS, Distiller
from icckd.study.load import load
from icckd.train.data.batch import Batch
from icckd.train.distillers import build_distiller
from icckd.train.distillers.base import Pairing
from icckd.train.distillers.crd import Crd, CrdDistiller
from icckd.train.networks.base import Output

STEPS = 7
STUDY = load(Path(__file__).parents[1] / "studies" / "distillers.toml")
IMAGES, BATCH, FEATURES = 50_000, 64, 256
NEGATIVES = (1024, 4096)


def step_rows(rounds: int) -> list[str]:
    """Return a table row for each distiller."""
    runs = {"off": student_epoch("off")}
    for kind in DISTILLERS:
        if kind != "sum":
            runs[kind] = student_epoch(TypeAdapter(Distiller).validate_python({"kind": kind}))
    summed = next(arm.set["student.distiller"] for arm in STUDY.arm if arm.name == "kd+rkd")
    runs["kd+rkd"] = student_epoch(TypeAdapter(Distiller).validate_python(summed))
    times = interleaved(runs, rounds=rounds)
    return [
        f"| {name} | {sorted(times[name])[rounds // 2] * 1e3 / STEPS:.2f} |"
        f" {ratio(times, name, 'kd'):.2f} |"
        for name in runs
    ]


def negatives_row(negatives: int, rounds: int) -> str:
    """Return the table row of one number of negatives."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(100, (IMAGES,), generator=generator)
    student, teacher = (_output(generator) for _ in range(2))
    crd = build_distiller(
        CrdDistiller(kind="crd", negatives=negatives),
        Pairing(student=student, teacher=teacher, labels=labels, key=("bench",)),
    )
    assert isinstance(crd, Crd)
    ids = torch.randperm(IMAGES, generator=generator)[:BATCH]
    batch = Batch(images=torch.empty(0), labels=labels[ids], ids=ids, largest_class=BATCH)
    start = {name: value.clone() for name, value in crd.state_dict().items()}

    def shared() -> float:
        crd.load_state_dict(start)
        terms = crd.own_terms(student, teacher, batch, step=0)
        torch.stack(list(terms.values())).sum().backward()
        return sum(term.item() for term in terms.values())

    def apart() -> float:
        crd.load_state_dict(start)
        total = _apart(crd, student, teacher, batch, negatives)
        total.backward()
        return total.item()

    assert abs(shared() / apart() - 1) < 0.02, (shared(), apart())
    times = interleaved({"shared": shared, "apart": apart}, rounds=rounds)
    own = sorted(times["shared"])[rounds // 2] * 1e3
    return f"| {negatives} | {own:.1f} | {ratio(times, 'apart', 'shared'):.1f} |"


def _apart(
    crd: Crd, student: Output, teacher: Output, batch: Batch, negatives: int
) -> torch.Tensor:
    """Return both directions' loss with negatives of each anchor's own."""
    drawn_BM = torch.randint(IMAGES, (BATCH, negatives))
    other_BM = (batch.labels[:, None] != crd.labels[drawn_BM]).float()
    share_BM = other_BM / other_BM.sum(dim=1, keepdim=True)
    sides = ((crd.student, student, crd.teacher_bank), (crd.teacher, teacher, crd.student_bank))
    total = torch.zeros(())
    for embed, output, bank_NE in sides:
        anchors_BE = torch.nn.functional.normalize(embed(output.features))
        positive_B = (anchors_BE * bank_NE[batch.ids]).sum(dim=1) / 0.07
        scores_BM = torch.bmm(bank_NE[drawn_BM], anchors_BE[:, :, None]).squeeze(2) / 0.07
        log_z = crd._first_log_z(positive_B, scores_BM, share_BM)
        total = total + crd._contrast(positive_B, scores_BM, share_BM, log_z)
    return total


def _output(generator: torch.Generator) -> Output:
    features = torch.randn(BATCH, FEATURES, generator=generator).relu()
    return Output(features, (), (), torch.randn(BATCH, 100, generator=generator))


def main() -> None:
    """Measure and write the result."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    torch.set_num_threads(1)
    write_result(
        "distiller-time",
        [
            f"CPU milliseconds at one thread, medians of {rounds} interleaved rounds; ratios are"
            " medians of per-round ratios.",
            "",
            "| digits step, batch 64, validation excluded | ms | over KD |",
            "| --- | --- | --- |",
            *step_rows(rounds),
            "",
            f"| CRD's contrast, {IMAGES} images, batch {BATCH}, embeddings of 128: negatives |"
            " shared ms | drawn apart / shared |",
            "| --- | --- | --- |",
            *(negatives_row(negatives, rounds) for negatives in NEGATIVES),
        ],
    )


if __name__ == "__main__":
    main()
