"""Whether icckd works on this machine's GPU: `python bench/gpu.py [--out FILE]`.

Eleven steps, each in a process of its own with a time limit, so that a crash or an error that stays
with a GPU ends one step only. Prints a table and writes a JSON file. The exit code is 0 if no step
failed, 1 if one did, 4 without a usable GPU; it never depends on how fast anything is.

Steps 7 and 9 to 11 measure time and energy: nothing else should use the GPU meanwhile.
`--device cpu --tiny` goes through the same steps in a minute or two, to check the script itself;
what has no meaning on a CPU is not run there. docs/not-shown.md says what to look for.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from gpu_stages import (
    ROOT,
    Findings,
    NotRunError,
    Setting,
    last_line,
    own_command,
    tail,
    train_requested,
)
from gpu_steps import STEPS

FORMAT = 1
"""Of the JSON file; raised when a reader of it would have to change."""
SLOWER_ON_CPU = 3
"""Times the limit of a step: a dry run shares its cores with others."""
LOG_CHARACTERS = 20_000
"""What the JSON file keeps of the output of a step that failed, counted from its end."""


def run_step(name: str, setting: Setting) -> dict[str, Any]:
    """Run one step in this process; return what the JSON file says of it."""
    found, reason, state = Findings(), "", ""
    start = time.perf_counter()
    try:
        STEPS[name].run(setting, found)
    except NotRunError as told:
        state, reason = "not run", str(told)
    except Exception as error:
        traceback.print_exc()
        words = str(error).strip() or "no message"
        state, reason = "failed", f"{type(error).__name__}: {words.splitlines()[0][:500]}"
    broken = [each for each in found.checks if not each["met"]]
    if not state:
        state = "failed" if broken or not found.checks else "passed"
    if state == "failed" and not reason:
        told_first = [f"{each['check']}: {each['detail'] or 'no'}" for each in broken]
        reason = "; ".join(told_first) or "nothing was checked"
    return _step(name, state, reason, time.perf_counter() - start, found)


def _step(name: str, state: str, reason: str, seconds: float, found: Findings) -> dict[str, Any]:
    return {
        "step": name, "number": STEPS[name].number, "state": state, "reason": reason,
        "seconds": round(seconds, 1), **asdict(found),
    }  # fmt: skip


def in_own_process(name: str, setting: Setting, gpu: str | None) -> dict[str, Any]:
    """Run one step in a process group of its own, ended after the step's time limit."""
    step = STEPS[name]
    folder = setting.folder / name
    folder.mkdir(parents=True)
    own = Setting(device=setting.device, tiny=setting.tiny, folder=folder)
    answer, log = folder / "step.json", folder / "step.log"
    environment = {
        "TORCHINDUCTOR_COMPILE_THREADS": "4", **os.environ,
        "TORCHINDUCTOR_CACHE_DIR": str(setting.folder / "compiler"),
        "ICCKD_DATA_DIR": str(folder / "data"),
    }  # fmt: skip
    if gpu is not None and not step.all_gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    limit = step.seconds * (SLOWER_ON_CPU if setting.device == "cpu" else 1)
    start = time.perf_counter()
    with log.open("wb") as output:
        child = subprocess.Popen(
            [*own_command(own), "--step", name], stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, env=environment, start_new_session=True,
        )  # fmt: skip
    CHILDREN.add(child.pid)
    try:
        code: int | None = child.wait(limit)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        end_step(child.pid)
        child.wait()
        CHILDREN.discard(child.pid)
    with contextlib.suppress(OSError, ValueError):
        told: dict[str, Any] = json.loads(answer.read_text())
        if told["state"] == "failed":
            told["log"] = log.read_text(errors="replace")[-LOG_CHARACTERS:]
        return told
    ended = f"no end within {limit} s" if code is None else f"it ended with exit {code}"
    seconds = time.perf_counter() - start
    step_log = log.read_text(errors="replace")[-LOG_CHARACTERS:]
    failed = _step(name, "failed", f"{ended}: {last_line(log)}", seconds, Findings())
    return {**failed, "log": step_log}


CHILDREN: set[int] = set()
"""Process groups of steps that run now."""


def end_step(group: int) -> None:
    """End what is left of a step: its process group, and workers, which have their own."""
    left: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        left = psutil.Process(group).children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()


def machine(device: str) -> dict[str, Any]:
    """Return versions, names, and `gpu`: the CUDA_VISIBLE_DEVICES that leaves the first GPU."""
    import torch

    packages = {}
    for package in ("icckd", "numpy", "torchvision", "triton"):
        with contextlib.suppress(PackageNotFoundError):
            packages[package] = version(package)
    told: dict[str, Any] = {
        "python": platform.python_version(), "platform": platform.platform(),
        "cpus": os.cpu_count(), "torch": torch.__version__, "torch_cuda": torch.version.cuda,
        **packages, "driver": "", "gpus": [], "gpu": None, "error": "",
    }  # fmt: skip
    if device == "cpu":
        return told
    try:
        torch.ones(1, device="cuda").sum().item()
    except Exception as error:
        told["error"] = tail(str(error)) or type(error).__name__
        return told
    told["cudnn"] = torch.backends.cudnn.version()
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        told["gpus"].append({
            "name": found.name, "memory": found.total_memory,
            "capability": f"{found.major}.{found.minor}",
        })  # fmt: skip
    uuid = str(getattr(torch.cuda.get_device_properties(0), "uuid", ""))
    with contextlib.suppress(Exception):  # NVML may be absent: then every step sees all GPUs
        import pynvml

        pynvml.nvmlInit()
        told["driver"] = pynvml.nvmlSystemGetDriverVersion()
        for prefix in ("", "GPU-", "MIG-"):
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlDeviceGetHandleByUUID(prefix + uuid)
                told["gpu"] = prefix + uuid
                break
    return told


def report_of(steps: Sequence[dict[str, Any]], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole JSON document."""
    ordered = sorted(steps, key=lambda step: step["number"])
    return {
        "format": FORMAT, **told, "steps": ordered,
        "failed": [step["step"] for step in ordered if step["state"] == "failed"],
    }  # fmt: skip


def exit_code(report: Mapping[str, Any]) -> int:
    """Return 0 if all steps that were asked for came back and none failed, else 1."""
    missing = set(report["asked"]) - {step["step"] for step in report["steps"]}
    return 1 if report["failed"] or missing else 0


def table(report: Mapping[str, Any]) -> str:
    """Return a table of the steps, then what was measured, not run or broken."""
    told = report["machine"]
    gpus = ", ".join(gpu["name"] for gpu in told["gpus"]) or "no GPU"
    lines = [
        f"icckd on {report['device']}{', tiny' if report['tiny'] else ''}, {report['date']},"
        f" commit {report['commit']}",
        f"{gpus}; driver {told['driver'] or '-'}, torch {told['torch']}, CUDA"
        f" {told['torch_cuda'] or '-'}, Python {told['python']}",
        "",
        "| step | | state | seconds | checks met |",
        "| --- | --- | --- | --- | --- |",
    ]
    for step in report["steps"]:
        met = sum(check["met"] for check in step["checks"])
        lines.append(
            f"| {step['number']} | {step['step']} | {step['state']} | {step['seconds']:g} |"
            f" {met} of {len(step['checks'])} |"
        )
    for step in report["steps"]:
        lines += ["", f"{step['number']} {step['step']}: {step['state']}"]
        lines += [f"  {step['reason']}"] if step["reason"] else []
        lines += [f"  {reason}" for reason in step["left_out"]]
        lines += [f"  {name}: {value}" for name, value in step["measured"].items()]
    return "\n".join(lines)


def commit() -> str:
    """Return the commit of this checkout, with `+` where files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def run_all(arguments: argparse.Namespace, folder: Path) -> int:
    """Run the steps asked for, print the table, write the JSON file; return the exit code."""
    setting = Setting(device=arguments.device, tiny=arguments.tiny, folder=folder)
    target = arguments.out.absolute().parent
    if not (target.is_dir() and os.access(target, os.W_OK)):
        print(f"gpu.py: cannot write --out: {target} is no writable folder", file=sys.stderr)
        return 2
    asked = subprocess.run(
        [*own_command(setting), "--machine"], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if asked.returncode != 0:
        print(f"gpu.py: torch cannot be asked: {tail(asked.stderr)}", file=sys.stderr)
        return 4
    told = json.loads(asked.stdout.splitlines()[-1])
    if told["error"]:
        print(f"gpu.py: torch cannot use a GPU here: {told['error']}", file=sys.stderr)
        print(
            "gpu.py: icckd doctor says more; --device cpu --tiny tries the script", file=sys.stderr
        )
        return 4
    gpu = told.pop("gpu")
    names = arguments.only or list(STEPS)
    about = {
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit(), "command": ["python", *sys.orig_argv[1:]],
        "device": setting.device, "tiny": setting.tiny, "machine": told, "asked": names,
    }  # fmt: skip
    done: list[dict[str, Any]] = []
    writing = threading.Lock()

    def one(name: str) -> None:
        if setting.device == "cpu" and STEPS[name].is_slow_on_cpu and not arguments.only:
            reason = f"not run on cpu: it takes a minute; --only {name} runs it"
            step = _step(name, "not run", reason, 0.0, Findings())
        else:
            step = in_own_process(name, setting, gpu)
        with writing:  # the file holds what is known, whatever ends this process
            done.append(step)
            arguments.out.write_text(json.dumps(report_of(done, about), indent=1) + "\n")
            print(f"{name}: {step['state']} {step['reason']}", file=sys.stderr, flush=True)

    at_once = 1 if setting.device == "cpu" else max(1, min(4, (os.cpu_count() or 1) // 4))
    start = time.perf_counter()
    for alone, workers in ((False, at_once), (True, 1)):
        chosen = [name for name in names if STEPS[name].is_alone == alone]
        pool = ThreadPoolExecutor(workers)
        try:
            list(pool.map(one, chosen))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(CHILDREN):
                end_step(child)
            raise
        pool.shutdown()
    about["seconds"] = round(time.perf_counter() - start, 1)
    report = report_of(done, about)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))
    return exit_code(report)


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="the JSON file")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes")
    parser.add_argument("--only", choices=STEPS, action="append", metavar="STEP",
                        help=f"only this step; may be repeated: {', '.join(STEPS)}")  # fmt: skip
    for own in ("--step", "--stages", "--folder"):
        parser.add_argument(own, help=argparse.SUPPRESS)
    parser.add_argument("--machine", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.machine:
        print(json.dumps(machine(arguments.device)))
        return 0
    if arguments.folder is None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                return run_all(arguments, Path(folder))
            except KeyboardInterrupt:
                return 130
    setting = Setting(device=arguments.device, tiny=arguments.tiny, folder=Path(arguments.folder))
    if arguments.stages is not None:
        train_requested(Path(arguments.stages), setting)
        return 0
    (setting.folder / "step.json").write_text(json.dumps(run_step(arguments.step, setting)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
