"""The steps of bench/gpu.py: each adds to its findings what it checked and measured."""

import hashlib
import importlib.util
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_stages import (
    ROOT,
    Findings,
    Fresh,
    NotRunError,
    Setting,
    Stage,
    digits,
    per_step,
    student,
    synthetic,
    tail,
    teacher,
    train,
)
from gpu_times import step_times
from timing import ratio

STEPS_BETWEEN_CHECKS = {"cpu": 1, "cuda": 32}
"""Training steps after which a stage reads whether its values are finite, for which it waits."""
COPIES_OF_A_STREAMED_STEP = 3
"""Small copies to the GPU that a step waits for where images are decoded as they are needed."""


def need_compiler() -> None:
    """Raise NotRunError where torch.compile has no C compiler to work with."""
    if not any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")):
        raise NotRunError("torch.compile not run: there is no C compiler")


def is_able(precision: str, device: str) -> bool:
    """Say whether the device computes in a precision."""
    if device == "cpu":
        return precision in ("fp32", "bf16")
    import torch

    return precision in ("fp32", "fp16") or torch.cuda.get_device_capability() >= (8, 0)


def shipped_study(setting: Setting, found: Findings) -> None:
    """Run the shipped study with one seed: workers see a GPU each and train on it."""
    home = _study(setting, "one", found, jobs=1)
    used = _workers(setting.folder / "one.seen")
    if setting.device == "cpu":
        found.check("workers see no GPU", used and not any(used), used)
        return
    found.check("the worker sees one GPU, by its UUID", len(used) == 1 and _is_uuid(used[0]), used)
    peaks = (
        "select metric, min(value) as least from recorded where metric like '%.memory_allocated'"
    )
    rows = _sql(home, f"{peaks} group by metric order by metric")
    is_allocated = len(rows) == 2 and all(row["least"] > 0 for row in rows)
    found.check("teachers and students allocated memory on it", is_allocated, rows)
    with found.part():
        if _cuda_devices() < 2:
            raise NotRunError("a study over two GPUs not run: one is visible")
        both = _study(setting, "two", found, jobs=2)
        used = _workers(setting.folder / "two.seen")
        found.check("two workers see a GPU each", len(set(used)) == 2, used)
        one, two = _artifacts(home), _artifacts(both)
        found.check("two GPUs give the weights of one", one == two, f"{len(one)} stages")


def _study(setting: Setting, name: str, found: Findings, *, jobs: int) -> Path:
    """Run the shipped study into a state folder of its own and check that all is complete."""
    home, seen = setting.folder / name, setting.folder / f"{name}.seen"
    start = time.perf_counter()
    done = run_study(setting, home, seen, fault="", jobs=jobs)
    found.measured[f"seconds with {jobs} at once"] = round(time.perf_counter() - start, 1)
    found.check("icckd run ends with exit 0", done.returncode == 0, tail(done.stderr))
    states = _sql(home, "select state, count(*) as stages from stage_state group by state")
    found.check("all stages are complete", [row["state"] for row in states] == ["complete"], states)
    rows = _sql(home, "select distinct json_extract_string(numerics, '$.device') as d from attempt")
    devices = [row["d"] for row in rows]
    found.check("they trained on the device asked for", devices == [setting.device], devices)
    return home


def whole_study(setting: Setting, found: Findings) -> None:
    """Run the shipped study with all its seeds, in packs: how long a user waits."""
    home, jobs = setting.folder / "home", 2 if setting.tiny else 4
    few = ["--seeds", "0:1", "teacher.training.epochs=1", "student.training.epochs=1"]
    start = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable, "-m", "icckd.cli.main", "run", str(ROOT / "studies/ablations.toml"),
            "--device", setting.device, "--jobs", str(jobs), "numerics.packing=on",
            *(few if setting.tiny else []),
        ],
        env={**os.environ, "ICCKD_HOME": str(home),
             "PYTHONPATH": os.pathsep.join([str(ROOT / "core"), str(ROOT)])},
        cwd=setting.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    found.check("icckd run ends with exit 0", done.returncode == 0, tail(done.stderr))
    states = _sql(home, "select state, count(*) as stages from stage_state group by state")
    found.check("all stages are complete", [row["state"] for row in states] == ["complete"], states)
    rows = _sql(home, "select distinct json_extract_string(numerics, '$.packed') as p from attempt")
    found.check("all were packed", [row["p"] for row in rows] == ["true"], rows)
    found.measured[f"seconds of the whole study, packed, {jobs} workers"] = round(seconds, 1)


WATCH = '''
"""Of bench/gpu.py: tells what a worker sees, and provokes one fault in the first stage."""
import os, sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
here = os.path.dirname(os.path.abspath(__file__))
spec = PathFinder.find_spec("sitecustomize", [p for p in sys.path if os.path.abspath(p) != here])
if spec is not None and spec.loader is not None:  # the machine's own, which this one hides
    spec.loader.exec_module(module_from_spec(spec))
if sys.orig_argv[1:4] == ["-P", "-m", "icckd.run.worker"]:
    from pathlib import Path
    seen = Path(os.environ["ICCKD_BENCH_SEEN"])
    seen.mkdir(exist_ok=True)
    (seen / str(os.getpid())).write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "not set"))
    fault, marker = os.environ["ICCKD_BENCH_FAULT"], seen.with_suffix(".done")
    if fault:
        import torch
        from torch.nn import functional
        original = functional.cross_entropy
        def once(logits, *rest, **named):
            if not marker.exists():
                marker.touch()
                if fault == "memory" and logits.is_cuda:
                    quarter = torch.cuda.mem_get_info()[1] // 4
                    torch.cuda.set_per_process_memory_fraction(0.05)
                    try:
                        torch.empty(quarter, dtype=torch.uint8, device="cuda")
                    finally:
                        torch.cuda.set_per_process_memory_fraction(1.0)
                elif fault == "memory":
                    torch.empty(1 << 60, dtype=torch.uint8)
                else:
                    index = torch.full((1,), 7, device=logits.device)
                    logits = logits + torch.zeros(4, device=logits.device)[index]
            return original(logits, *rest, **named)
        functional.cross_entropy = once
'''
"""A sitecustomize module: Python runs it at the start of each process that finds it."""


def run_study(
    setting: Setting, home: Path, seen: Path, *, fault: str, jobs: int
) -> subprocess.CompletedProcess[str]:
    """Run the shipped study with one seed, with a fault in its first stage or with none.

    Each worker writes what it sees as CUDA_VISIBLE_DEVICES into the folder `seen`; it is started by
    itself, since one that is forked runs no such hook, and its stages one by one.
    """
    hook = setting.folder / "hook"
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(WATCH)
    few = ["teacher.training.epochs=2", "student.training.epochs=2", "numerics.packing=off"]
    paths = [str(hook), str(ROOT / "core"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [
            sys.executable, "-m", "icckd.cli.main", "run", str(ROOT / "studies/ablations.toml"),
            "--device", setting.device, "--seeds", "0:1", "--jobs", str(jobs),
            *(few if setting.tiny or fault else []),
        ],
        env={
            **os.environ, "ICCKD_HOME": str(home), "ICCKD_BENCH_SEEN": str(seen),
            "ICCKD_BENCH_FAULT": fault, "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "ICCKD_WORKERS": "spawn",
        },
        cwd=setting.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _sql(home: Path, query: str) -> list[dict[str, Any]]:
    """Ask the database of a state folder."""
    done = subprocess.run(
        [sys.executable, "-m", "icckd.cli.main", "report", "--format", "json", "--sql", query],
        env={**os.environ, "ICCKD_HOME": str(home),
             "PYTHONPATH": os.pathsep.join([str(ROOT / "core"), str(ROOT)])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"icckd report: {tail(done.stderr)}")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def _workers(seen: Path) -> list[str]:
    """Return what each worker saw as CUDA_VISIBLE_DEVICES."""
    return sorted(file.read_text() for file in seen.glob("*"))


def _is_uuid(text: str) -> bool:
    return text.startswith(("GPU-", "MIG-")) and "," not in text


def _artifacts(home: Path) -> dict[str, str]:
    """Return the SHA-256 of each stage's weights, by the stage's digest."""
    files = sorted(home.glob("artifacts/*/model.safetensors"))
    return {f.parent.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def marked_tests(setting: Setting, found: Findings) -> None:
    """Run the tests marked gpu, but for those that repeat the steps of this script."""
    setting.need_cuda("the ordinary suite has the CPU form of these tests")
    if not importlib.util.find_spec("pytest") or not (ROOT / "tests").is_dir():
        raise NotRunError("not run: pytest and the folder tests/ are needed")
    parallel = ["-n", "4", "--dist=load"] if importlib.util.find_spec("xdist") else []
    # A warning of torch on this machine is no verdict on icckd: it is shown, and fails nothing.
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-m", "gpu and not long", "-W", "default",
            "-p", "no:cacheprovider", "-rsfE", *parallel, "--ignore=tests/bench",
            f"--basetemp={setting.folder / 'pytest'}",
        ],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(done.stdout, done.stderr)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    found.check("pytest -m gpu passes", done.returncode == 0, "; ".join(failed))
    found.measured["pytest"] = tail(done.stdout)


def host_waits(setting: Setting, found: Findings) -> None:
    """Count by torch's sync debug mode for how many operations of a step the host waits."""
    steps = STEPS_BETWEEN_CHECKS["cuda"] if setting.device == "cuda" else 4
    once = 1 / STEPS_BETWEEN_CHECKS[setting.device]
    training = {"epochs": 1, "batch_size": 16, "diagnose_epochs": []}
    for name, precision in WAITING.items():
        stages = []
        for times in (1, 2):
            data: Any = synthetic(16 * steps * times)
            if "streamed" in name:
                folder = _image_folder(setting.folder, 16 * steps * times)
                data = {"kind": "image-folder", "folder": folder, "size": 12, "resident_bytes": 0}
            label = f"{name.replace(' ', '-')}-{times}"
            graphs = {"graphs": "on"} if "captured" in name else {}
            counted = {"numerics": {"precision": precision, **graphs}, "count": "waits"}
            if name.startswith("teacher"):
                stages.append(teacher(label, data, training, **counted))
                continue
            distiller = {"kind": name.partition(",")[0]}
            stages += [
                teacher(f"of-{label}", data, training),
                student(label, f"of-{label}", data, training,
                        settings={"distiller": distiller}, **counted),
            ]  # fmt: skip
        results = [train(stage, setting)["counts"] for stage in stages]
        half = len(results) // 2
        waits = per_step(results[half - 1], results[-1], steps)
        allowed = once + (COPIES_OF_A_STREAMED_STEP if "streamed" in name else 0)
        found.check(
            f"{name}: at most {allowed:g} waits a step", sum(waits.values()) <= allowed + 1e-9,
            ", ".join(f"{place} x {count:g}" for place, count in waits.items()) or "none",
        )  # fmt: skip
        found.measured[f"{name}: waits a step"] = waits


WAITING = {
    "kd": "fp32",
    "crd": "fp32",
    "teacher with cache": "fp32",
    "teacher with cache, bf16": "bf16",
    "teacher with cache, fp16": "fp16",
    "kd, fp16": "fp16",
    "teacher with cache, streamed": "fp32",
    "teacher with cache, captured": "fp32",
}
"""Stages whose waits are counted, each with its precision."""


def _image_folder(root: Path, images: int) -> str:
    """Make a folder of pictures of two classes, and return its name below the root."""
    import numpy as np
    from PIL import Image

    folder, stream = root / f"images-{images}", np.random.default_rng(0)
    for split, count in (("train", images), ("val", 32), ("test", 32)):
        for number in range(count):
            file = folder / split / f"class{number % 2}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = stream.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file)
    return folder.name


def repeats(setting: Setting, found: Findings) -> None:  # noqa: C901  # a branch a combination
    """Train equal stages in two fresh processes.

    They have reverse orders and compiler caches of their own: what a worker did before, and what
    the compiler kept, must not matter either.
    """
    training = {"epochs": 2, "batch_size": 32}
    able = [p for p in ("fp32", "bf16", "tf32") if is_able(p, setting.device)]
    modes = ["off"]
    with found.part():
        if setting.tiny:
            raise NotRunError("torch.compile not repeated: tiny")
        need_compiler()
        modes.append("on")
    variants = [(precision, mode) for precision in able for mode in modes]
    # Processes side by side where they compile, for that takes time.
    shares = [[v for v in variants if v[0] == p] for p in able] if "on" in modes else [variants]
    running = []
    for share in shares:
        for order in (1, -1):
            stages = []
            for precision, mode in share[::order]:
                label = f"{precision}-{mode}-{order}"
                numerics = {"precision": precision, "compile": mode}
                stages += [
                    teacher(f"t-{label}", digits(), training, numerics=numerics),
                    student(f"s-{label}", f"t-{label}", digits(), training, numerics=numerics),
                ]
            name = f"repeat-{share[0][0]}-{order}"
            cache = str(setting.folder / f"compiler-{name}")
            run = Fresh(name, stages, setting, TORCHINDUCTOR_CACHE_DIR=cache)
            running.append((share[::order], run))
    weights: dict[tuple[str, str, str], list[str]] = {}
    for share, run in running:
        results = iter(run.results())
        for precision, mode in share:
            for kind in ("teacher", "student"):
                weights.setdefault((kind, precision, mode), []).append(next(results)["weights"])
    for (kind, precision, mode), (first, again) in weights.items():
        found.check(f"{kind}, {precision}, compile {mode}: equal bits", first == again != "")
    eager = {p: weights["teacher", p, "off"][0] for p in able}
    if "bf16" in able:
        found.check("bf16 has other bits than fp32", eager["bf16"] != eager["fp32"])
    if "tf32" in able:  # maps of this size may not reach the tensor cores
        found.measured["tf32 has other bits than fp32"] = eager["tf32"] != eager["fp32"]
    if "on" in modes:
        compiled = weights["teacher", "fp32", "on"][0]
        found.measured["compiled has other bits than eager"] = compiled != eager["fp32"]


def many_shapes(setting: Setting, found: Findings) -> None:
    """Compile more widths in one process than dynamo's limit; late ones equal a fresh process."""
    need_compiler()
    limit, widths = (1, range(4, 8, 2)) if setting.tiny else (8, range(4, 24, 2))
    training = {"epochs": 1, "batch_size": 32}

    def stages(where: str, chosen: Sequence[int], compiling: str) -> list[Stage]:
        return [
            teacher(
                f"{where}-{width}", digits(64), training, recompile_limit=limit,
                numerics={"compile": compiling},
                settings={"intra": "off", "views": 1,
                          "model": {"kind": "cnn", "widths": [width, width, width]}},
            )
            for width in chosen
        ]  # fmt: skip

    compared = [*widths][limit:]
    last = compared[-1]
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(setting.folder / "compiler")}
    together = Fresh("worker", stages("worker", widths, "on"), setting, **cache).results()
    fresh = {w: Fresh(f"own-{w}", stages(f"own-{w}", [w], "on"), setting, **cache)
             for w in compared}  # fmt: skip
    eager = train(stages("eager", [last], "off")[0], setting)
    for width, result in zip(widths, together, strict=True):
        if width in fresh:
            own = fresh[width].results()[0]
            found.check(
                f"stage {[*widths].index(width) + 1} of {len(widths)}: bits of a fresh process",
                result["weights"] == own["weights"],
            )
    found.measured["compiled has other bits than eager"] = (
        eager["weights"] != together[-1]["weights"]
    )


def resume(setting: Setting, found: Findings) -> None:
    """Stop stages after two of four epochs and go on in a fresh process: bits of the whole."""
    training = {"epochs": 4, "batch_size": 32}
    crd = {"distiller": {"kind": "crd", "dimensions": 16}}
    wholes: list[Stage] = [teacher("teacher", digits(), training)]
    wholes.append(student("crd", "teacher", digits(), training, settings=crd))
    wholes.append(teacher("fp16", digits(), training, numerics={"precision": "fp16"}))
    wholes.append(teacher("captured", digits(), training, numerics={"graphs": "on"}))
    if is_able("bf16", setting.device):
        adam = {"training": {**training, "lr": 0.01, "optimizer": {"kind": "adamw"}}}
        bf16 = {"precision": "bf16"}
        wholes.append(teacher("bf16, adamw", digits(), training, settings=adam, numerics=bf16))
    parts = [{**w, "resumes": w["name"], "name": f"{w['name']}, stopped", "stop_after": 2}
             for w in wholes]  # fmt: skip
    rests = [{**w, "resumes": w["name"], "name": f"{w['name']}, resumed"} for w in wholes]
    first = Fresh("first", [*wholes, *parts], setting).results()
    second = Fresh("second", rests, setting).results()
    for whole, result, part, rest in zip(
        wholes, first[: len(wholes)], first[len(wholes) :], second, strict=True
    ):
        is_resumed = part["state"] == "paused" and rest["resumed_after"] == 2
        found.check(f"{whole['name']}: was stopped and resumed", is_resumed, rest["lines"])
        is_equal = rest["weights"] == result["weights"] != ""
        found.check(f"{whole['name']}: bits of a stage never stopped", is_equal)


def speed(setting: Setting, found: Findings) -> None:
    """Measure steps a second in eager mode, compiled and in bf16, and launches a step."""
    per_epoch, epochs, batch = (2, 2, 16) if setting.tiny else (24, 6, 64)
    small, large = ("resnet8", "resnet8") if setting.tiny else ("resnet20", "resnet56")
    variants: dict[str, dict[str, str]] = {"eager": {}}
    if is_able("bf16", setting.device):
        variants["bf16"] = {"precision": "bf16"}
    with found.part():
        if setting.tiny:
            raise NotRunError("compiled stages not timed: tiny")
        need_compiler()
        variants["compile"] = {"compile": "on"}
    variants["graphs"] = {"graphs": "on"}
    brief = {"epochs": epochs, "batch_size": batch, "diagnose_epochs": []}
    cifar = {"size": 16 if setting.tiny else 32, "classes": 20, "subclasses": 1}

    def kd(name: str, times: int, **more: Any) -> Stage:
        model = {"model": {"kind": "cifar", "name": small}}
        data, training = synthetic(batch * per_epoch * times, **cifar), more.pop("training", brief)
        return student(name, "kd-teacher", data, training, settings=model, **more)

    def intra(name: str, times: int, **more: Any) -> Stage:
        data, training = synthetic(batch * per_epoch * times), more.pop("training", brief)
        return teacher(name, data, training, **more)

    model = {"model": {"kind": "cifar", "name": large}, "intra": "off", "views": 1}
    once = {**brief, "epochs": 1}
    first = [teacher("kd-teacher", synthetic(2 * batch, **cifar), once, settings=model)]
    for key, what, make, before in (
        ("kd", f"{small} <- {large}, kd", kd, first),
        ("intra", "cnn, intra-class loss, cache", intra, []),
    ):
        stages = [*before]
        for variant, numerics in variants.items():
            stages.append(make(f"{key}-{variant}", 1, numerics=numerics))
        for size in (1, 2):
            stages.append(make(f"{key}-counted-{size}", size, training=once, count="launches"))
        results = Fresh(key, stages, setting).results()[len(before) :]
        times: dict[str, list[float]] = {}
        for variant, result in zip(variants, results, strict=False):
            values = result["epochs"]
            [name] = [each for each in values[0] if each.endswith(".train_seconds")]
            seconds = [epoch[name] for epoch in values]
            times[variant] = [b - a for a, b in itertools.pairwise(seconds)]
            found.measured[f"{what}, {variant}: steps/s, times those of eager"] = [
                round(per_epoch / statistics.median(times[variant]), 1),
                round(ratio(times, "eager", variant), 2),
            ]
            losses = [v for e in values for k, v in e.items() if k.endswith(".ce")]
            found.check(f"{what}, {variant}: trains", len(losses) == epochs, losses)
        short, long = (result["counts"] for result in results[-2:])
        unit = "launches" if setting.device == "cuda" else "torch operations"
        total = sum(per_step(short, long, per_epoch).values())
        found.measured[f"{what}: {unit} a step"] = round(total, 1) or "the profiler saw none"


def provoked(setting: Setting, found: Findings) -> None:
    """Let the first stage of a study run out of memory, then fail an assertion on the device."""
    home = setting.folder / "memory"
    done = run_study(setting, home, setting.folder / "memory.seen", fault="memory", jobs=1)
    attempts = _attempts(home)
    causes = [a["cause"] for a in attempts if a["state"] == "failed"]
    found.check("out of memory: one attempt failed, of that cause", causes == ["out-of-memory"],
                attempts[:1])  # fmt: skip
    again = [a["state"] for a in attempts if a["stage"] == attempts[0]["stage"]]
    found.check("its retry completes", again == ["failed", "complete"], again)
    states = {a["state"] for a in attempts[1:]}
    found.check("the stages after it complete", states == {"complete"} and done.returncode == 0,
                tail(done.stderr))  # fmt: skip

    home = setting.folder / "assert"
    done = run_study(setting, home, setting.folder / "assert.seen", fault="assert", jobs=1)
    attempts = _attempts(home)
    failed = [a for a in attempts if a["state"] == "failed"]
    words = [(a["cause"], a["reason"]) for a in failed]
    found.measured["device assert: cause and reason"] = words
    is_told = bool(failed) and failed[0] == attempts[0] and bool(failed[0]["cause"])
    found.check("device assert: its attempt fails with a cause", is_told, words)
    others = {a["state"] for a in attempts if a["stage"] != attempts[0]["stage"]}
    found.check("other stages complete", others == {"complete"}, others)
    if setting.device == "cuda":
        later = {a["pid"] for a in attempts[1:]}
        found.check("in a fresh worker", bool(later) and attempts[0]["pid"] not in later)


def _attempts(home: Path) -> list[dict[str, Any]]:
    return _sql(
        home,
        "select attempt_state.stage, attempt_state.state, cause, reason, attempt.pid"
        " from attempt_state join attempt using (attempt) order by attempt.ordinal",
    )


def memory_and_energy(setting: Setting, found: Findings) -> None:
    """Compare memory peaks with few and many validation images, and energy with NVML's counter."""
    setting.need_cuda("the peak of allocated memory and energy are measured on GPUs")
    peaks, extra = {}, (1024 - 16) * 32 * 32
    for images in (16, 1024):
        stage = teacher(
            f"memory-{images}", synthetic(256, size=32, validation=images),
            {"epochs": 2, "batch_size": 16},
            settings={"model": {"kind": "cifar", "name": "resnet20"}, "intra": "off", "views": 1},
        )  # fmt: skip
        [result] = Fresh(f"memory-{images}", [stage], setting).results()
        peaks[images] = result["values"]["teacher.memory_allocated"]
        for name in ("allocated", "reserved"):
            value = result["values"][f"teacher.memory_{name}"]
            found.measured[f"{images} validation images: {name}, MiB"] = round(value / 2**20, 1)
    more = peaks[1024] - peaks[16]
    found.check("the peak does not depend on validation", abs(more) <= extra + 2**21,
                f"{more / 2**20:.1f} MiB more, of which images {extra / 2**20:.1f}")  # fmt: skip
    with found.part():
        _energy(setting, found)


def _energy(setting: Setting, found: Findings) -> None:
    counter = _energy_counter()
    training = {"epochs": 4 if setting.tiny else 60, "batch_size": 32}
    train(teacher("warm", digits(), {"epochs": 2, "batch_size": 32}), setting)
    before, start = counter(), time.perf_counter()
    result = train(teacher("energy", digits(1280), training), setting)
    outer, seconds = counter() - before, time.perf_counter() - start
    inner = result["values"].get("teacher.energy")
    if inner is None:
        found.check("energy is recorded where NVML counts it", False)
        return
    found.measured["energy of a stage, J"] = round(inner, 1)
    found.measured["NVML's counter around it, J"] = round(outer, 1)
    found.measured["mean power, W"] = round(outer / seconds, 1)
    found.check("a stage's energy is that of its own GPU, and most of what NVML counts around it",
                0.5 * outer <= inner <= outer, f"{inner:.1f} of {outer:.1f} J")  # fmt: skip


def _energy_counter() -> Callable[[], float]:
    """Return a function that reads the energy of this process's GPU in joules, by NVML itself."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(os.environ["CUDA_VISIBLE_DEVICES"])
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except (pynvml.NVMLError, KeyError) as error:
        raise NotRunError(f"energy not compared: NVML does not count it here ({error})") from error
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000


def _cuda_devices() -> int:
    import torch

    return torch.cuda.device_count()


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of this script.

    Attributes:
        number: As the table shows it.
        run: Adds to the findings what it finds.
        seconds: How long it may take.
        is_alone: Whether it measures, so that nothing else may run beside it.
        all_gpus: Whether it sees every visible GPU; the others see the first alone.
        is_slow_on_cpu: Whether a dry run leaves it out unless it is named.
    """

    number: int
    run: Callable[[Setting, Findings], None]
    seconds: int
    is_alone: bool = False
    all_gpus: bool = False
    is_slow_on_cpu: bool = False


STEPS = {
    "study": Step(number=1, run=shipped_study, seconds=180, all_gpus=True),
    "tests": Step(number=2, run=marked_tests, seconds=280, all_gpus=True),
    "waits": Step(number=3, run=host_waits, seconds=120),
    "repeats": Step(number=4, run=repeats, seconds=200),
    "shapes": Step(number=5, run=many_shapes, seconds=200, is_slow_on_cpu=True),
    "resume": Step(number=6, run=resume, seconds=120),
    "speed": Step(number=7, run=speed, seconds=240, is_alone=True),
    "times": Step(number=10, run=step_times, seconds=60, is_alone=True),
    "whole": Step(number=11, run=whole_study, seconds=120, is_alone=True, is_slow_on_cpu=True),
    "faults": Step(number=8, run=provoked, seconds=150),
    "memory": Step(number=9, run=memory_and_energy, seconds=100, is_alone=True),
}
