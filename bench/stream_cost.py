"""Cost of a random stream: `python bench/stream_cost.py [ROUNDS]`.

CPU time at one thread, alternatives interleaved in one process. A stream whose whole state comes
from its key is compared with one whose generator gets a seed of 32 bits by `manual_seed`: to make
it, to make it and draw 4,000 numbers, and how many of 100,000 begin with the same 62 bits.
"""

import json
import statistics
import sys
from collections.abc import Callable
from hashlib import blake2b

import torch
from timing import interleaved, write_result
from torch import Generator

from icckd.train.seeding import Key, generator

STREAMS, MANY, NUMBERS = 2_000, 100_000, 4_000
Make = Callable[[Key], Generator]


def seeded(key: Key) -> Generator:
    """Return a generator with a seed of 32 bits made from the key."""
    digest = blake2b(json.dumps(key).encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def making(make: Make, numbers: int) -> Callable[[], None]:
    """Return what makes streams and draws from each."""

    def run() -> None:
        for seed in range(STREAMS):
            stream = make(("teacher", seed, "view1.crop", 3))
            if numbers:
                torch.rand(numbers, generator=stream)

    return run


def equal_streams(make: Make) -> int:
    """Return how many of many streams begin as another one does."""
    begun = {
        torch.randint(2**62, (1,), generator=make(("teacher", seed, "order", 1))).item()
        for seed in range(MANY)
    }
    return MANY - len(begun)


def main() -> None:
    """Measure and write the result."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    torch.set_num_threads(1)
    ways: dict[str, Make] = {"whole state from the key": generator, "seed of 32 bits": seeded}
    runs = {
        f"{name}, {numbers}": making(make, numbers)
        for name, make in ways.items()
        for numbers in (0, NUMBERS)
    }
    times = interleaved(runs, rounds=rounds)
    micro = {name: 1e6 * statistics.median(found) / STREAMS for name, found in times.items()}
    lines = [
        f"| stream | us to make one | with {NUMBERS:,} numbers | equal among {MANY:,} |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {micro[f'{name}, 0']:.1f} | {micro[f'{name}, {NUMBERS}']:.1f}"
            f" | {equal_streams(make)} |"
            for name, make in ways.items()
        ),
    ]
    write_result("stream-cost", lines)


if __name__ == "__main__":
    main()
