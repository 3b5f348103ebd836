"""Have each library write the runs of `runs.py`, in an environment of its own.

`python tests/imports/writers/write.py` packs what they wrote into `tests/imports/written/`, one
archive a library and store, named by the version that wrote it. `tests/imports/test_libraries.py`
(lane `long`) has them write again.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
WRITTEN = HERE.parent / "written"
PACKAGES = {
    "wandb": ["wandb>=0.31"],
    "tensorboard": ["tensorboard>=2.20"],
    "mlflow": ["mlflow-skinny>=3.17", "sqlalchemy>=2.0,<2.1", "alembic>=1.13"],
    "optuna": ["optuna>=4"],
    "trackio": ["trackio>=0.43"],
}
STORES = {
    "wandb": ("wandb", "wandb_offline.py", ()),
    "tensorboard": ("tensorboard", "tensorboard_events.py", ()),
    "mlflow-files": ("mlflow", "mlflow_store.py", ("file",)),
    "mlflow-sqlite": ("mlflow", "mlflow_store.py", ("sqlite",)),
    "optuna-sqlite": ("optuna", "optuna_storage.py", ("sqlite",)),
    "optuna-journal": ("optuna", "optuna_storage.py", ("journal",)),
    "trackio": ("trackio", "trackio_project.py", ()),
}
"""By store: the library, its script, further arguments."""


def environment(library: str, home: Path) -> Path:
    """Return the interpreter of a new environment with a library."""
    subprocess.run(["uv", "venv", "-q", "--python", sys.executable, home], check=True)
    python = home / "bin" / "python"
    command = ["uv", "pip", "install", "-q", "--python", str(python), *PACKAGES[library]]
    subprocess.run(command, check=True)
    return python


def write(store: str, python: Path, folder: Path) -> str:
    """Have a library write into a folder; return its version."""
    _, script, more = STORES[store]
    variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [python, str(HERE / script), str(folder), *more], cwd=folder, env=variables, check=True,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return done.stdout.split()[-1]


def archive(store: str) -> Path:
    """Return the archive of what a library wrote once."""
    found = [p for p in WRITTEN.glob("*.tar.gz") if re.match(rf"{store}-[0-9]", p.name)]
    assert len(found) == 1, found
    return found[0]


def main() -> None:
    """Write all archives anew."""
    WRITTEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="runs-") as home:
        pythons = {name: environment(name, Path(home, "env", name)) for name in PACKAGES}
        for store, (library, _, _) in STORES.items():
            folder = Path(home, store)
            folder.mkdir()
            version = write(store, pythons[library], folder)
            for old in WRITTEN.glob("*.tar.gz"):
                if re.match(rf"{store}-[0-9]", old.name):
                    old.unlink()
            with tarfile.open(WRITTEN / f"{store}-{version}.tar.gz", "w:gz") as packed:
                packed.add(folder, arcname=".", filter=_plain)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out logs, links and who wrote it."""
    is_log = "wandb" in info.name and info.name.endswith(".log")
    if info.issym() or is_log:
        return None
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


if __name__ == "__main__":
    main()
