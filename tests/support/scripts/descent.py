"""A function that icckd runs: noisy gradient descent on two numbers, from the seed alone."""

import json
import random
import time
from pathlib import Path

HURRY = Path(__file__).with_name("hurry")
"""Where this file is, nothing pauses."""


def train(config, run):
    """Minimise a bowl; `noise` and `momentum` are the parts that a study takes away."""
    draw = random.Random(run.seed)
    x, y = draw.uniform(-1, 1), draw.uniform(-1, 1)
    speed_x = speed_y = 0.0
    first = 1
    state = run.folder / "state.json"
    if run.resume and state.exists():
        x, y, speed_x, speed_y, first = json.loads(state.read_text())
    run.fingerprint("start", [x, y])
    for step in range(1, config.steps + 1):
        push = random.Random(f"{run.seed} {step}").gauss(0, 1) if config.noise else 0.0
        if step < first:
            continue
        speed_x = config.momentum * speed_x - config.lr * (x + 0.01 * push)
        speed_y = config.momentum * speed_y - config.lr * (2 * y - 0.01 * push)
        x, y = x + speed_x, y + speed_y
        run.log(step=step, loss=x * x + y * y)
        state.write_text(json.dumps([x, y, speed_x, speed_y, step + 1]))
        time.sleep(0.0 if HURRY.exists() else config.pause)
        if run.should_stop:
            return
    run.summary(distance=(x * x + y * y) ** 0.5)
