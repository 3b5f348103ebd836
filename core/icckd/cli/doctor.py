"""`icckd doctor`: what NVML and torch see, which device would train, and what to do about it.

What else matters on this machine is looked at by `icckd.cli.surroundings`.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from icckd.cli.studies import Device
from icckd.errors import MachineError

if TYPE_CHECKING:
    from icckd.cli.surroundings import Check


def doctor(
    device: Device = "auto",
    output: Annotated[
        Literal["table", "json"], typer.Option("--format", help="How to print.")
    ] = "table",
) -> None:
    """Show what this machine has, which device would train, and what to do.

    GPUs, torch, CPUs, disk, rights, clock, terminal, locale, versions. Exit code 4 if it could not
    train on the device asked for.
    """
    found = examine(device)
    lines = [json.dumps(_as_json(found), indent=2)] if output == "json" else list(_lines(found))
    sys.stdout.write("\n".join(lines) + "\n")
    if found.refusal is not None:
        raise found.refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What this machine can train on.

    Attributes:
        view: What NVML sees.
        variables: The settings of the environment that decide, None where not set.
        answers: What torch says, by model of GPU; under "" where no GPU is visible.
        wanted: The device asked for.
        choice: The device that a run would take; None where it would end with an error.
        refusal: That error.
        cpus: CPUs of this machine, and those that this process may use.
        around: What else was looked at.
    """

    view: Any
    variables: dict[str, str | None]
    answers: dict[str, Any]
    wanted: str
    choice: Any | None
    refusal: MachineError | None
    cpus: tuple[int, int]
    around: "list[Check]"

    def advice(self) -> list[str]:
        """Return what to do, most urgent first."""
        from icckd.resources import hint_for

        asked = [f"{name}: {hint_for(answer, self.view)}" for name, answer in self.answers.items()
                 if name and answer.error]  # fmt: skip
        notices = list(self.choice.notices) if self.choice else []
        refused = [self.refusal.hint] if self.refusal else []
        models = {gpu.name for gpu in self.view.visible}
        mixed = (
            "the GPUs are of different models: seconds, energy and memory of a study mix; name"
            " those of one model in CUDA_VISIBLE_DEVICES"
        )
        order = (
            "indices in CUDA_VISIBLE_DEVICES are read in PCI bus order, as nvidia-smi counts; other"
            " programs count the fastest GPU first unless CUDA_DEVICE_ORDER=PCI_BUS_ID"
        )
        by_index = (self.variables["CUDA_VISIBLE_DEVICES"] or "")[:1].isdecimal()
        kinds = {gpu.name for gpu in self.view.gpus}
        is_unclear = by_index and self.variables["CUDA_DEVICE_ORDER"] != "PCI_BUS_ID"
        return list(
            dict.fromkeys(
                [
                    *refused,
                    *asked,
                    *notices,
                    *([mixed] if len(models) > 1 else []),
                    *([order] if is_unclear and len(kinds) > 1 else []),
                    *(f"{check.what}: {check.advice}" for check in self.around if check.advice),
                ]
            )
        )


def examine(wanted: Device) -> Findings:
    """Return what this machine can train on; torch is asked in child processes."""
    from icckd.cli.surroundings import look_around
    from icckd.resources import ask_torch, available_cpus, choose_device, view_gpus

    view = view_gpus()
    choice = refusal = None
    try:
        choice = choose_device(wanted)
    except MachineError as error:
        refusal = error
    first = {gpu.name: gpu.uuid for gpu in reversed(view.visible)} or {"": ""}
    names = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "OMP_NUM_THREADS")
    return Findings(
        view=view,
        variables={name: os.environ.get(name) for name in names},
        answers={name: ask_torch(uuid) for name, uuid in first.items()},
        wanted=wanted,
        choice=choice,
        refusal=refusal,
        cpus=(os.cpu_count() or 1, available_cpus()),
        around=look_around(),
    )


def driver_text(driver: str, build: str) -> str:
    """Return whether a driver fits the CUDA version that torch was built for.

    Within a major version CUDA's runtime works on drivers of an older minor one.

    >>> driver_text("13.0", "13.2"), driver_text("12.4", "13.2")
    ('fits: same major version', 'too old: CUDA 13 needs a driver for CUDA 13.0 or newer')
    """
    if not (driver and build):
        return "unknown"
    major, needed = int(driver.partition(".")[0]), int(build.partition(".")[0])
    if major < needed:
        return f"too old: CUDA {needed} needs a driver for CUDA {needed}.0 or newer"
    return "fits: newer" if major > needed else "fits: same major version"


def _as_json(found: Findings) -> dict[str, Any]:
    choice = found.choice
    return {
        "nvml": asdict(found.view),
        "environment": found.variables,
        "torch": {name: asdict(answer) for name, answer in found.answers.items()},
        "wanted": found.wanted,
        "device": choice.device if choice else None,
        "why": choice.why if choice else str(found.refusal),
        "gpus": [gpu.uuid for gpu in choice.gpus] if choice else [],
        "cpus": {"all": found.cpus[0], "usable": found.cpus[1]},
        "around": [asdict(check) for check in found.around],
        "advice": found.advice(),
    }


def _lines(found: Findings) -> Iterator[str]:
    yield from _gpu_lines(found)
    yield from _torch_lines(found)
    yield f"device, under --device {found.wanted}"
    if found.choice:
        yield f"  {found.choice.device}: {_safe(found.choice.why)}"
    else:
        yield f"  none: {_safe(str(found.refusal))}"
    if found.choice and found.choice.gpus:
        yield f"  {len(found.choice.gpus)} workers, one a GPU, unless -j says otherwise"
    yield f"  {found.cpus[1]} CPUs usable of {found.cpus[0]}"
    if (threads := found.variables["OMP_NUM_THREADS"]) is not None:
        yield f"  OMP_NUM_THREADS={_safe(threads)} does not matter: workers set their own"
    yield ""
    yield "around it"
    width = max(len(check.what) for check in found.around)
    for check in found.around:
        sign = "!" if check.advice else " "
        yield f"{sign} {check.what.ljust(width)}  {_safe(check.found)}"
    yield ""
    yield "what to do"
    yield from (f"  - {_safe(text)}" for text in found.advice() or ["nothing"])


def _gpu_lines(found: Findings) -> Iterator[str]:
    view = found.view
    if view.failure:
        yield f"NVML cannot be asked: {_safe(view.failure)}"
    else:
        yield f"GPUs, by NVML: driver {view.driver or '?'}, for CUDA up to {view.cuda or '?'}"
    rows: list[tuple[str, ...]] = [("index", "model", "UUID", "memory", "capability", "use")]
    for gpu in view.gpus:
        rows += [_row(gpu, found), *(_row(part, found) for part in gpu.instances)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    if view.gpus:
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            yield f"  {'  '.join([*cells, row[5]])}".rstrip()
    elif not view.failure:
        yield "  none"
    variable = found.variables["CUDA_VISIBLE_DEVICES"]
    if variable is None:
        yield f"  CUDA_VISIBLE_DEVICES is not set: {len(view.visible)} visible"
    else:
        yield f"  CUDA_VISIBLE_DEVICES={_safe(variable)!r} leaves {len(view.visible)} visible"
    yield ""


def _row(gpu: Any, found: Findings) -> tuple[str, ...]:
    from icckd.report.numbers import bytes_text

    if gpu.lost:
        use = f"lost: {gpu.lost}"
    elif gpu.is_divided:
        use = f"MIG: {len(gpu.instances)} instances"
    elif gpu not in found.view.visible:
        use = "hidden"
    else:
        use = "torch cannot use it" if found.answers[gpu.name].error else "usable"
    return (
        str(gpu.index),
        _safe(gpu.name),
        _safe(gpu.uuid),
        "?" if gpu.memory is None else bytes_text(gpu.memory),
        "?" if gpu.capability is None else ".".join(map(str, gpu.capability)),
        _safe(use),
    )


def _torch_lines(found: Findings) -> Iterator[str]:
    any_answer = next(iter(found.answers.values()))
    build = f"built for CUDA {any_answer.cuda}" if any_answer.cuda else "built for CPUs"
    yield f"torch {any_answer.version or '?'}, {build}" if any_answer.version else "torch"
    if any_answer.archs:
        yield f"  kernels for {' '.join(any_answer.archs)}"
    if found.view.cuda and any_answer.cuda:
        fits = driver_text(found.view.cuda, any_answer.cuda)
        yield f"  driver for CUDA {found.view.cuda}, torch for CUDA {any_answer.cuda}: {fits}"
    for name, answer in found.answers.items():
        label = _safe(name) or "no GPU is visible"
        yield f"  {label}: {_safe(answer.error) if answer.error else 'can be used'}"
    yield ""


def _safe(text: str) -> str:
    from icckd.report.text import display

    return display(text)
