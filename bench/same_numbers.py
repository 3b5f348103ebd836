"""Whether training code that was changed gives the numbers that it gave before.

    uv run python bench/same_numbers.py             # names the source that is not known to
    uv run python bench/same_numbers.py --record    # proves it, and lists it as known

`core/icckd/study/source.json` lists source that is known to give equal numbers (see
`icckd.study.source`); a test fails when training code is not in it. `--record` takes the newest
commit that changed the list, trains small studies with the package as it was there and as it is in
the working tree, and compares every weight and every number recorded, bit by bit, times and memory
apart; what only the working tree records is named. Only what is equal is listed. It takes about a
minute on two cores.

After a training version was raised there is nothing to be equal to: the list begins anew, without a
run.

    --because TEXT    lists source that no study here can run (a GPU's, a downloaded data set's)
                      with this reason instead of a run; the rest is proved all the same

In a conflict: `git checkout --ours core/icckd/study/source.json` while rebasing (the other side's),
then `--record` again.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from icckd.study import source
from icckd.study.arms import expand
from icckd.study.load import load
from icckd.train.contract import EAGER_FP32_ON_A_CPU, EVERYTHING_ELSE

ROOT = Path(__file__).parents[1]
LIST = "core/icckd/study/source.json"
EPOCHS = [EAGER_FP32_ON_A_CPU, EVERYTHING_ELSE]
IMAGES = {"train": 160, "validation": 40, "test": 60, "size": 16}
TERMS = '{ kind = "sum", terms = { a = { kind = "kd" }, b = { kind = "rkd" } } }'
NOT_SET_BY_SEED = ("seconds", "memory", "energy", "images_per", "data_share")
"""In the names of what differs from run to run: times, memory, energy."""
STUDY = """
[study]
name = "equality"
baseline = "base"
seeds = { count = 1 }
[numerics]
compile = "off"
[data]
kind = "synthetic"
train = 160
validation = 40
test = 60
size = 16
[teacher]
views = 2
[teacher.intra]
weight = 0.5
[teacher.training]
epochs = 2
batch_size = 32
[student.training]
epochs = 2
batch_size = 32
[[arm]]
name = "base"
"""
ARMS = {
    "plain": '{ "teacher.intra" = "off", "teacher.views" = 1 }',
    "no-cache": '{ "teacher.intra.cache" = "off" }',
    "no-margin": '{ "teacher.intra.margin" = "off" }',
    "supcon": '{ "teacher.intra" = "off", "teacher.supcon" = { weight = 0.5 } }',
    "sampler": '{ "teacher.sampler" = { classes = 4, per_class = 8 } }',
    "smooth": '{ "teacher.label_smoothing" = 0.1 }',
    "both-views": '{ "teacher.views_in_ce" = 2 }',
    "adam": '{ "teacher.training.optimizer" = { kind = "adamw" },'
    ' "teacher.training.schedule" = { kind = "multistep", milestones = [1] } }',
    "alone": '{ "student.distiller" = "off" }',
    "standardized": '{ "student.distiller" = { kind = "kd", standardize = "on" } }',
    "digits": '{ "data" = { kind = "digits" }, "teacher.training.epochs" = 1 }',
    "folder": '{ "data" = { kind = "image-folder", folder = "pictures", size = 32 },'
    ' "student.model" = { kind = "torchvision", name = "resnet18" } }',
    "resnet": '{ "student.model" = { kind = "cifar", name = "resnet8x4" } }',
}
DISTILLERS = ("at", "cc", "ckd", "crd", "dist", "dkd", "fitnet", "nkd", "pkt", "reviewkd", "rkd",
              "sp", "vid")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--record", action="store_true", help="prove it equal, and list it")
    parser.add_argument("--because", metavar="TEXT", default="", help="why it cannot be run here")
    options = parser.parse_args()
    unknown = not_listed()
    for name in unknown:
        print(f"not known to give equal numbers: {source.path_text(name)}")
    if not options.record:
        print(f"{len(unknown)} changed modules" if unknown else "all source is known")
        return 1 if unknown else 0
    if source.known_file().get("epochs") != EPOCHS:
        write_list({}, dict.fromkeys(unknown, f"first of training versions {EPOCHS}"))
        return 0
    reasons = {}
    if unknown:
        new = [name for name in unknown if name not in source.known_file()["modules"]]
        reasons = dict.fromkeys(new, "a new part")
        if changed := set(unknown) - set(new):
            with tempfile.TemporaryDirectory() as folder:
                reasons |= prove(changed, Path(folder), options.because)
        if set(reasons) != set(unknown):
            return 1
    write_list(source.known_file()["modules"], reasons)
    return 0


def not_listed() -> list[str]:
    """Return the modules whose source is not known to give equal numbers, sorted."""
    found = source.digests(source.own_modules())
    if source.known_file().get("epochs") != EPOCHS:
        return list(found)
    known = source.known_digests()
    return [name for name, digest in found.items() if digest not in known.get(name, ())]


def write_list(before: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    """Write the list anew: what was known, and the source of now with how it is known."""
    modules = {}
    for name in sorted(source.own_modules()):
        path = source.file_of(name)
        assert path is not None
        read = source.parse_module(path.read_bytes(), name, is_package=path.stem == "__init__")
        equal = dict(before.get(name, {}).get("equal", {}))
        if name in reasons:
            equal[read.digest] = reasons[name]
        file = {"bytes": read.bytes, "digest": read.digest, "imports": list(read.imports)}
        modules[name] = {"equal": equal, "file": file}
    lines = (f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in modules.items())
    text = ",\n".join(lines)
    (ROOT / LIST).write_text(
        f'{{"epochs": {json.dumps(EPOCHS)}, "modules": {{\n{text}\n}}}}\n', encoding="utf-8"
    )
    print(f"wrote {LIST}: {len(reasons)} modules listed")


def prove(changed: set[str], folder: Path, because: str) -> dict[str, str]:
    """Return how each changed module is known to give equal numbers; those that do not, are not."""
    study = write_study(folder)
    run_by = modules_run(study)
    if left := sorted(changed - run_by):
        for name in left:
            print(f"no study here runs {source.path_text(name)}")
        if not because:
            print('raise the training version, or say why its numbers are equal: --because "..."')
            return {}
    base = git("log", "-1", "--format=%H", "--", LIST).strip()
    before = folder / "before"
    before.mkdir()
    archive = subprocess.run(
        ["git", "archive", base, "core/icckd"], cwd=ROOT, check=True, capture_output=True
    )
    subprocess.run(["tar", "-x", "-C", str(before)], input=archive.stdout, check=True)
    print(f"comparing commit {base[:12]} with the working tree", flush=True)
    with ThreadPoolExecutor() as pool:
        old, new = pool.map(lambda tree: numbers(tree, study, folder), (before, ROOT))
    new = {key: value for key, value in new.items() if key[0] in {key[0] for key in old}}
    differing = sorted(key for key in old if old[key] != new.get(key))
    if more := sorted({key[-1] for key in new.keys() - old.keys()}):
        print(f"recorded for the first time: {', '.join(more)}")
    stages = len({key[:4] for key in new})
    if differing or not new:
        for key in differing[:20]:
            print(f"differs: {' '.join(key)}: {old.get(key)} -> {new.get(key)}")
        print(f"{len(differing)} of {len(new)} numbers of {stages} stages differ: raise the code"
              " epoch in core/icckd/train/contract.py")  # fmt: skip
        return {}
    today = datetime.datetime.now(datetime.UTC).date()
    proof = f"{stages} stages equal to {base[:12]}, torch {version('torch')}, {today}"
    print(proof)
    return {name: proof if name in run_by else f"not run: {because}" for name in sorted(changed)}


def write_study(folder: Path) -> Path:
    """Write the study and the images that it reads."""
    distillers = {kind: f'{{ "student.distiller" = {{ kind = "{kind}" }} }}' for kind in DISTILLERS}
    arms = {**ARMS, **distillers, "sum": f'{{ "student.distiller" = {TERMS} }}'}
    text = "".join(f'[[arm]]\nname = "{name}"\nset = {change}\n' for name, change in arms.items())
    path = folder / "equality.toml"
    path.write_text(STUDY + text)
    write_pictures(folder / "data" / "pictures")
    return path


def write_pictures(folder: Path) -> None:
    """Write an image folder of two classes, the same images always."""
    import numpy as np
    from PIL import Image

    drawn = np.random.default_rng(0)
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        for number in range(40):
            pixels_HWC = drawn.integers(0, 256, (20, 18, 3), dtype=np.uint8)
            Image.fromarray(pixels_HWC).save(folder / name / f"{number:02}.png")


def modules_run(study: Path) -> set[str]:
    """Return the modules that train some stage of the study."""
    found: set[str] = set()
    for method in expand(load(study)).methods.values():
        teacher = source.part_modules((method.teacher, method.data))
        student = source.part_modules((method.student, method.data))
        found |= source.modules("teacher", (*teacher, source.pack_entry("teacher")))
        found |= source.modules("student", (*student, source.pack_entry("student")))
    return found


def numbers(tree: Path, study: Path, folder: Path) -> dict[tuple[str, ...], Any]:
    """Train the study with the package of a tree; return what it gave, by stage and name.

    It is trained stage by stage, and once more in packs where the package has these.
    """
    if not (tree / "core" / "icckd" / "study" / "packing.py").exists():
        return {("off", *key): value for key, value in trained(tree, study, folder, "").items()}
    return {
        (packing, *key): value
        for packing in ("off", "auto")
        for key, value in trained(tree, study, folder, packing).items()
    }


def trained(tree: Path, study: Path, folder: Path, packing: str) -> dict[tuple[str, ...], Any]:
    """Train the study with the package of a tree, its stages packed or not."""
    state = folder / f"state-{tree.name}-{packing}-{os.getpid()}"
    variables = {
        **os.environ, "PYTHONPATH": str(tree / "core"), "ICCKD_HOME": str(state),
        "ICCKD_DATA_DIR": str(folder / "data"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "icckd.cli.main", "run", str(study), "--device", "cpu", "-j", "1",
         *([f"numerics.packing={packing}"] if packing else [])],
        cwd=folder, env=variables, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"the study failed with the package in {tree}:\n{done.stderr[-3000:]}")
    return dict(read_numbers(state))


def read_numbers(state: Path) -> list[tuple[tuple[str, ...], Any]]:
    """Return every number in the journals and every digest of weights, by trial and name."""
    session = next((state / "sessions").glob("*/journal.jsonl"))
    plan = next(line for line in bodies(session) if line.get("k") == "p")
    trials = {
        stage: (trial["arm"], str(trial["seed"]))
        for trial in reversed(plan["trials"])
        for stage in trial["stages"]
    }
    found: list[tuple[tuple[str, ...], Any]] = []
    for path in (state / "attempts").glob("*/journal.jsonl"):
        lines = bodies(path)
        head = lines[0]
        key = (*trials[head["stage"]], head["kind"])
        for line in lines:
            for name, value in line.get("values", {}).items():
                if not any(word in name for word in NOT_SET_BY_SEED):
                    found.append(((*key, str(line.get("epoch", "outcome")), name), value))
        weights = state / "artifacts" / head["stage"] / "model.safetensors"
        found.append(((*key, "weights"), sha256(weights.read_bytes()).hexdigest()))
    return found


def bodies(journal: Path) -> list[dict[str, Any]]:
    """Return the events of a journal."""
    from icckd.journal.file import read_chunk

    return [{**line.body, "k": line.kind} for line in read_chunk(journal).lines]


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
