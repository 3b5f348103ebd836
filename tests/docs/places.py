"""The folders in which blocks of the documentation run: what each page speaks of is there."""

import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.support.blocks import ROOT
from tests.support.desk import Desk
from tests.support.lab import Lab, planned
from tests.support.pages import entry, page

SLOW_PAGES = {
    "docs/export.md",
    "docs/figures.md",
    "docs/howto/elsewhere.md",
    "docs/howto/script.md",
    "docs/metrics.md",
}
"""Pages that take seconds: they load TensorBoard or torch, or train very little."""
_OF_A_STUDY_THAT_RAN = {"docs/ci.md", "docs/export.md", "docs/figures.md", "docs/state-folder.md"}


@dataclass
class Place:
    """A folder for one page, and the names that its Python knows."""

    desk: Desk
    names: dict[str, Any] = field(default_factory=dict)


def prepared(page_name: str, folder: Path, lab: Lab) -> Place:
    """Return the place of a page: short studies, and what its own function adds.

    Args:
        page_name: The page, from the root of the repository.
        folder: An empty folder, or the one with the lab's state.
        lab: Where a study that has run is written to, where the page speaks of one.
    """
    place = Place(Desk(folder))
    shutil.copytree(ROOT / "studies", folder / "studies")
    for file in (folder / "studies").glob("*.toml"):
        file.write_text(shortened(file.read_text()))
    if page_name in _OF_A_STUDY_THAT_RAN:
        with lab.finished("s1", planned(seeds=range(12))) as session:
            session.train_all()
    if page_name in _MAKE:
        _MAKE[page_name](place)
    return place


def shortened(study: str) -> str:
    """Return a study of few seeds, images and epochs."""
    for pattern, number in (
        (r"^(seeds = \{ first = 0, count =) \d+", r"\1 2"),
        (r"^(calibration_seeds = \{ first = 1000, count =) \d+", r"\1 1"),
        (r"^seeds = \d+", "seeds = 1" if "[task]" in study else "seeds = 2"),
        (r"^(train =) \d+", r"\1 90"),
        (r"(\bepochs =) \d+", r"\1 16" if "stop_epoch" in study else r"\1 2"),
        (r"threshold = 0\.5", "threshold = -0.5"),  # or so short a training has no anchor
    ):
        study = re.sub(pattern, number, study, flags=re.MULTILINE)
    return study


def with_rest(tables: Mapping[str, Any], page_name: str) -> dict[str, Any]:
    """Return the tables of a block, completed by a study where they are a piece of one."""
    if "name" in tables.get("study", {}):
        return dict(tables)
    name = "own-method" if "task" in tables or page_name in _OF_TASKS else "ablations"
    rest = tomllib.loads((ROOT / "studies" / f"{name}.toml").read_text())
    rest = _REST.get(page_name, rest)
    if "factor" in tables:
        rest = {key: value for key, value in rest.items() if key not in ("arm", "ablation")}
        rest["study"] = {key: value for key, value in rest["study"].items() if key != "family"}
    if name == "own-method" and is_several(tables.get("task", {})):
        rest = {"study": {**rest["study"], "primary": "finetune.top1", "metrics": []},
                "arm": [{"name": "full"}]}  # fmt: skip
    if "command" in tables.get("task", {}):  # instead of a function
        rest["task"] = {key: each for key, each in rest["task"].items() if key != "entry"}
        rest["task"]["metrics"] = {"top1": {"direction": "higher", "json": "result.json"}}
        rest["study"] = {**rest["study"], "metrics": []}
    if tables.get("task", {}).get("items"):
        metric = {"unit": "1", "direction": "higher"}
        rest = laid_over(rest, {"task": {"metrics": {"score": metric}}})
    return laid_over(rest, tables)


def is_several(task: Mapping[str, Any]) -> bool:
    """Whether these are tasks by name, not the keys of one."""
    return any("command" in each for each in task.values() if isinstance(each, dict))


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables with others laid over them; lists of tables are joined by their names."""
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and is_alike(old, value):
            found[key] = laid_over(old, value)
        elif isinstance(value, list) and isinstance(old, list) and key in ("arm", "ablation"):
            names = {each.get("arm", each.get("name")) for each in value}
            kept = [each for each in old if each.get("arm", each.get("name")) not in names]
            found[key] = [*kept, *value]
        else:
            found[key] = value
    return found


def is_alike(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a table goes on with another: it is of the same kind, or names none."""
    return "kind" not in new or new["kind"] == old.get("kind")


_OF_TASKS = ("docs/your-own-method.md",)
_REST: dict[str, dict[str, Any]] = {
    page_name: {
        "study": {"name": "s", "baseline": "full", "seeds": 2},
        "data": {"kind": "cifar10"},
        "arm": [{"name": "full"}],
    }
    for page_name in ("docs/data.md", "docs/models.md", "docs/study-in-short.md")
}
"""What a page's pieces of studies are beside, where it is not a shipped study."""


def _pictures(place: Place) -> None:
    """Make folders of images with colours of their own."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("owl", "wren", "finch")):
        folder = place.desk.folder / "data" / "photos" / "birds" / name
        folder.mkdir(parents=True)
        for image in range(12):
            pixels = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
            pixels[..., number] += 150
            Image.fromarray(pixels).save(folder / f"{image}.png")
    shutil.copytree(place.desk.folder / "data" / "photos", place.desk.folder / "photos")
    place.desk.write(
        '[study]\nname = "birds"\nbaseline = "full"\nseeds = 2\n\n'
        '[data]\nkind = "image-folder"\nfolder = "photos/birds"\n\n[[arm]]\nname = "full"\n',
        "studies/birds.toml",
    )


def _executor_types(place: Place) -> None:
    from icckd.run import executors

    place.names |= vars(executors)


def _script(place: Place) -> None:
    place.desk.write(
        "import argparse\n\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--lr', type=float, default=0.1)\n"
        "parser.add_argument('--seed', type=int, default=0)\n"
        "options = parser.parse_args()\n"
        "print(f'accuracy: {80 + options.lr}')\n",
        "train.py",
    )


def _open_plan(place: Place) -> None:
    names = ("Ablation A", "Ablation B")
    place.desk.write(page(*(entry(n, "of another method", "REMOVE") for n in names)), "plan.md")
    place.desk.run("import", "plan", "plan.md", "-o", "study.toml")


def _config_class(place: Place) -> None:
    code = (ROOT / "studies" / "own_method.py").read_text()
    fields = "epochs: int = 30\n    lr: float = 0.05\n    dropout: float = 0.25"
    fields += "\n    augment: bool = True\n    batch_norm: bool = True"
    text = (
        f"{code}\n\nimport dataclasses\n\n\n@dataclasses.dataclass\nclass Config:\n    {fields}\n"
    )
    place.desk.write(text, "own_method.py")


def _losses_of_steps(place: Place) -> None:
    from safetensors.numpy import save_file

    losses = np.linspace(2, 1, 40, dtype=np.float32)
    path = place.desk.folder / "steps.safetensors"
    save_file({"ce": losses}, path, {"steps_per_epoch": "10"})


def _frames(place: Place) -> None:
    rows = [
        {"method": method, "seed": seed, "acc": 90 + seed % 3 - 2 * (method != "full"), "loss": 1.0}
        for method in ("full", "no-cache")
        for seed in range(8)
    ]
    answers = [
        {"arm": arm, "question": f"q{n}", "document": f"d{n % 8}", "right": (n + len(arm)) % 3 > 0}
        for arm in ("full", "no-tool")
        for n in range(40)
    ]
    place.names |= {"frame": rows, "answers": answers}


_MAKE: dict[str, Callable[[Place], None]] = {
    "docs/data.md": _pictures,
    "docs/executors.md": _executor_types,
    "docs/from-a-script.md": _script,
    "docs/plans.md": _open_plan,
    "docs/your-own-method.md": _config_class,
    "docs/metrics.md": _losses_of_steps,
    "docs/python.md": _frames,
}
