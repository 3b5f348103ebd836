"""The runs that every writer writes by its library, and that are read back: plain Python."""

ARMS = ("full", "no-cache")
SEEDS = (0, 1, 2)
STEPS = (1, 2, 3, 4)


def accuracy(arm: str, seed: int, step: int) -> float:
    """Return a number that single precision does not hold."""
    return 80.1 + 3.7 * step + 0.013 * seed - (1.23 if arm == "no-cache" else 0.0)


def validation(arm: str, seed: int, step: int) -> float:
    """Return a number that is best at the third step."""
    return 70.3 + step - (5.5 if step == 4 else 0.0) + 0.1 * seed


RUNS = [(arm, seed) for arm in ARMS for seed in SEEDS]
