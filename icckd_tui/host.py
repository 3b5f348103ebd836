"""The machine's load as text: a small panel, or one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from icckd_tui.text import Span, Spans, scale_for, width_of
from icckd_tui.theme import Glyphs

if TYPE_CHECKING:
    from icckd.resources import GpuSample, HostSample, ProcessSample
    from icckd.results.trials import StageStatus

    ProcessHistory = tuple[ProcessSample, ...]

MOST_GPUS = 3  # more are shown together, in one row
FULL = 90.0  # percent of memory from which on it is a warning
LOW_DISK = 5 * 2**30  # bytes free below which it is a warning
ENOUGH_SAMPLES = 20  # before a slope is told
_UNKNOWN = "no reading"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Samples of the machine.

    Attributes:
        sample: The newest one; None where sampling fails.
        past: The samples up to now, oldest first.
        processes: The samples of each process that trains.
    """

    sample: HostSample | None
    past: tuple[HostSample, ...] = ()
    processes: tuple[ProcessHistory, ...] = ()

    @property
    def history(self) -> tuple[float, ...]:
        """The CPU shares up to now in percent."""
        return tuple(sample.cpu for sample in self.past)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A line of the panel: label, share in percent, and a detail such as bytes."""

    label: str
    share: float | None
    detail: str
    tone: str = "good"


def host_rows(host: Host | None) -> int:
    """Return how many lines the panel takes."""
    gpus = len(host.sample.gpus) if host is not None and host.sample is not None else 0
    return 4 + (gpus if gpus <= MOST_GPUS else 1)


def host_panel(host: Host | None, width: int, glyphs: Glyphs) -> list[Spans]:
    """Return CPU with its last seconds, memory, each GPU and the disk, their columns lined up."""
    if host is None:
        return []
    if host.sample is None:
        return [(Span(f" {_UNKNOWN}", "muted"),)]
    cpu, memory = _cpu(host.sample), _memory(host.sample)
    rows = [cpu, memory, *_gpus(host.sample.gpus, MOST_GPUS)]
    label = max(len(row.label) for row in rows)
    detail = max(len(row.detail) for row in rows)
    bar = max(4, width - label - detail - 12)  # blanks, and the share in figures
    lines = [
        (
            Span(f" {row.label:<{label}}  ", "muted"),
            *_bar(row, bar, glyphs),
            _percent(row.share),
            Span(f"  {row.detail}"),
        )
        for row in rows
    ]
    blank = " " * (label + 3)
    history = sparkline(host.history, width - len(blank) - 1, glyphs)
    disk = (Span(f" {'disk':<{label}}  ", "muted"), _disk(host.sample))
    return [lines[0], (Span(blank), Span(history, "good")), *lines[1:], disk]


def host_line(host: Host | None, width: int, glyphs: Glyphs) -> Spans:
    """Return the machine's load in one line; what matters least is left out first."""
    if host is None:
        return ()
    if host.sample is None:
        return (Span(f" host: {_UNKNOWN}", "muted"),)
    sample = host.sample
    cpu, memory, gpus = _cpu(sample), _memory(sample), _gpus(sample.gpus, most=1)
    size = 10 if width >= 120 else 6
    spark = sparkline(host.history, 2 * size, glyphs)
    pieces: list[tuple[int, Spans]] = [
        (0, (Span(" CPU ", "muted"), *_bar(cpu, size, glyphs), _percent(cpu.share))),
        (5, (Span(f"  {spark}", "good"),)),
        (4, (Span("  load ", "muted"), Span(f"{sample.load:.1f}"))),
        (1, (Span("   memory ", "muted"), *_bar(memory, size, glyphs), Span(f" {memory.detail}"))),
        (3, (Span("   disk ", "muted"), _disk(sample))),
    ]
    for row in gpus:
        share = (*_bar(row, size, glyphs), _percent(row.share), Span(f"  {row.detail}"))
        pieces.insert(-1, (2, (Span(f"   {row.label} ", "muted"), *share)))
    room, chosen = width - 1, set[int]()
    for rank, spans in sorted(pieces, key=lambda piece: piece[0]):
        if width_of(spans) > room:
            break
        chosen.add(rank)
        room -= width_of(spans)
    return tuple(span for rank, spans in pieces if rank in chosen for span in spans)


def _cpu(sample: HostSample) -> _Row:
    return _Row(label="CPU", share=sample.cpu, detail=f"load {sample.load:.1f}")


def _memory(sample: HostSample) -> _Row:
    share = 100 * sample.memory_used / sample.memory_total if sample.memory_total else None
    return _Row(
        label="memory",
        share=share,
        detail=used_text(sample.memory_used, sample.memory_total),
        tone="warning" if share is not None and share >= FULL else "good",
    )


def _gpus(gpus: tuple[GpuSample, ...], most: int) -> list[_Row]:
    if len(gpus) <= most:
        numbered = len(gpus) > 1
        return [_gpu(f"GPU {i}" if numbered else "GPU", (gpu,)) for i, gpu in enumerate(gpus)]
    return [_gpu(f"{len(gpus)} GPUs", gpus)]


def _gpu(label: str, gpus: tuple[GpuSample, ...]) -> _Row:
    """Return one row for devices together: their mean use and all their memory."""
    rates = [gpu.utilisation for gpu in gpus if gpu.utilisation is not None]
    known = [
        (gpu.memory_used, gpu.memory_total)
        for gpu in gpus
        if gpu.memory_used is not None and gpu.memory_total is not None
    ]
    memory = used_text(*(sum(sizes) for sizes in zip(*known, strict=True))) if known else "-"
    return _Row(
        label=label,
        share=sum(rates) / len(rates) if rates else None,
        detail=memory,
    )


def _percent(share: float | None) -> Span:
    return Span(f"{'-' if share is None else f'{share:.0f}':>4} %")


def _bar(row: _Row, width: int, glyphs: Glyphs) -> Spans:
    """Return the bar, at least one cell of it full from 1 percent on."""
    share = min(100.0, max(0.0, row.share or 0.0))
    full = max(round(share / 100 * width), int(share >= 1))
    return (
        Span(glyphs.bar[0] * full, row.tone),
        Span(glyphs.bar[1] * (width - full), "faint"),
    )


def sparkline(history: tuple[float, ...], width: int, glyphs: Glyphs) -> str:
    """Return the newest shares, one cell each, on the right."""
    top = len(glyphs.levels) - 1
    cells = (round(min(100.0, max(0.0, share)) / 100 * top) for share in history[-width:])
    return "".join(glyphs.levels[cell] for cell in cells).rjust(width)


def _disk(sample: HostSample) -> Span:
    tone = "warning" if sample.disk_free < LOW_DISK else ""
    return Span(f"{size_text(sample.disk_free)} free", tone)


def used_text(used: int, total: int) -> str:
    """Return used and total bytes in one unit."""
    whole = size_text(total)
    scale = scale_for("bytes", [float(total)])
    return f"{used / scale.divisor:.{_decimals(total / scale.divisor)}f}/{whole}"


def size_text(size: int) -> str:
    """Return bytes in the largest binary unit that fits."""
    scale = scale_for("bytes", [float(size)])
    return f"{size / scale.divisor:.{_decimals(size / scale.divisor)}f} {scale.unit}"


def growth_text(past: ProcessHistory) -> str:
    """Return how much a process grows in a minute, "-" while there are too few samples.

    The slope of the least-squares line through its samples, which are about a second apart.
    """
    if len(past) < ENOUGH_SAMPLES:
        return "-"
    middle = (len(past) - 1) / 2
    mean = sum(sample.memory for sample in past) / len(past)
    above = sum((place - middle) * (sample.memory - mean) for place, sample in enumerate(past))
    slope = above / sum((place - middle) ** 2 for place in range(len(past))) * 60 / 2**20
    return f"{slope:+.1f} MiB" if abs(slope) >= 0.05 else "0.0 MiB"


def process_of(host: Host | None, stage: StageStatus) -> ProcessHistory | None:
    """Return the samples of the process that trains a stage, None where it is not sampled."""
    if host is None or stage.pid is None:
        return None
    return next((past for past in host.processes if past and past[-1].pid == stage.pid), None)


def _decimals(number: float) -> int:
    return 0 if number >= 100 else 1
