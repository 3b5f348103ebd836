"""Energy that the visible NVIDIA devices used, as their driver counts it."""

from icckd.resources import gpus


class EnergyMeter:
    """Counts from the moment it is made; it counts devices, not processes."""

    def __init__(self) -> None:
        self._start = _total()

    def joules(self) -> float | None:
        """Return the energy used since; None without a device or where one does not count."""
        now = None if self._start is None else _total()
        return None if self._start is None or now is None else now - self._start


def _total() -> float | None:
    """Return what the visible devices used since their driver was loaded, in joules."""
    with gpus._nvml() as nvml:
        if nvml is None:
            return None
        counts = [
            gpus._ask(nvml.nvmlDeviceGetTotalEnergyConsumption, nvml, device)
            for device in gpus._visible(nvml)
        ]
    known = [millijoules for millijoules in counts if millijoules is not None]
    return sum(known) / 1000 if known and len(known) == len(counts) else None
