"""Memory of one stage, from its start on, in bytes."""

import torch

from icckd.resources import PeakMemory, gpu_memory_of_this_process


class StageMemory:
    """Peaks since this object was made; blocks that an earlier stage left cached are freed."""

    def __init__(self, device: str) -> None:
        self._on_cuda = device == "cuda"
        if self._on_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self._resident = PeakMemory()

    @property
    def is_exact(self) -> bool:
        """Say whether the resident peak is the stage's own, not an upper bound."""
        return self._resident.is_exact

    def outcomes(self) -> dict[str, float]:
        """Return the memory outcomes by name, without the stage kind."""
        values: dict[str, float] = {"memory_rss": self._resident.peak_bytes()}
        if self._on_cuda:
            values["memory_allocated"] = torch.cuda.max_memory_allocated()
            values["memory_reserved"] = torch.cuda.max_memory_reserved()
            held = gpu_memory_of_this_process()
            if held is not None:
                values["memory_nvml"] = held
        return values
