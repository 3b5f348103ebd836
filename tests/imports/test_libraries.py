"""What each library wrote is read back with equal numbers: kept files, and files written now."""

import runpy
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.imports.conftest import curve, values
from tests.support.desk import Desk
from tests.support.lanes import slow_but

WRITERS = Path(__file__).parent / "writers"
WRITE = runpy.run_path(str(WRITERS / "write.py"))
RUNS = runpy.run_path(str(WRITERS / "runs.py"))
LAST, BEST = 4, 3
OPTUNA = ("optuna-sqlite", "optuna-journal")
MLFLOW = ("mlflow-files", "mlflow-sqlite")
NAMED = ("wandb", *MLFLOW, "trackio")

# By store: what of it is imported, the arguments, the metric's name, whether it is a curve.
IMPORTS = {
    "wandb": ("wandb", "", ("--arm", "method", "--seed", "training.seed"), "acc"),
    "tensorboard": ("tensorboard", "", ("--runs", "{arm}/seed-{seed}"), "eval/acc"),
    "mlflow-files": ("mlflow", "mlruns", ("--arm", "method"), "acc"),
    "mlflow-sqlite": ("mlflow", "mlflow.db", ("--arm", "method"), "acc"),
    "optuna-sqlite": ("optuna", "optuna.db", ("--arm", "method"), "value"),
    "optuna-journal": ("optuna", "optuna.log", ("--arm", "method"), "value"),
    "trackio": ("trackio", "", ("--arm", "method"), "acc"),
}


def expected(step: int, *, single: bool = False) -> dict[tuple[str, int], float]:
    import numpy as np

    found = {(arm, seed): RUNS["accuracy"](arm, seed, step) for arm, seed in RUNS["RUNS"]}
    return {k: float(np.float32(v)) for k, v in found.items()} if single else found


def imported(desk: Desk, store: str, folder: Path, *more: str):
    kind, inside, arguments, metric = IMPORTS[store]
    path = str(folder / inside) if inside else str(folder)
    return desk.run("import", kind, path, *arguments, "--metric", metric, *more)


def check(desk: Desk, store: str, folder: Path) -> None:
    metric = IMPORTS[store][3].replace(".", "_")
    is_single = store == "tensorboard"  # event files hold numbers of single precision
    if store.startswith("optuna"):
        done = imported(desk, store, folder, "--name", "x")
        assert values(desk, f"observed.{metric}") == expected(LAST)
        assert "chosen by a search" in done.stdout.lower()
        return
    imported(desk, store, folder, "--name", "x", "--rule", "last")
    assert values(desk, f"observed.{metric}") == expected(LAST, single=is_single)
    (full, _) = curve(desk, f"observed.{metric}")
    assert full.epochs_E.tolist() == list(RUNS["STEPS"])
    imported(desk, store, folder, "--name", "y", "--rule", "best:val_acc")
    assert values(desk, f"observed.{metric}") == expected(BEST, single=is_single)


@pytest.fixture(params=list(IMPORTS))
def kept(request, tmp_path) -> tuple[str, Path]:
    """A store, and a folder with what its library wrote once."""
    return request.param, unpacked(request.param, tmp_path / "written")


def unpacked(store: str, folder: Path) -> Path:
    with tarfile.open(WRITE["archive"](store)) as packed:
        packed.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module", params=list(IMPORTS))
def once(request, tmp_path_factory) -> tuple[str, Path, Desk]:
    """A store, its folder, and a desk that it was imported on; tests leave them as they are."""
    desk = Desk(tmp_path_factory.mktemp("once"))
    folder = unpacked(request.param, desk.folder / "written")
    imported(desk, request.param, folder, "--name", "x", "--rule", "last")
    return request.param, folder, desk


@pytest.mark.parametrize("kept", slow_but(IMPORTS, "wandb", "mlflow-sqlite"), indirect=True)
def test_what_a_library_wrote_is_read_back_with_equal_numbers(desk, kept):
    store, folder = kept
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    check(desk, store, folder)

    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


@pytest.mark.long
@pytest.mark.parametrize("library", list(WRITE["PACKAGES"]))
def test_what_a_library_writes_now_is_read_back_with_equal_numbers(tmp_path, library):
    python = WRITE["environment"](library, tmp_path / "environment")
    for store, (own, _, _) in WRITE["STORES"].items():
        if own == library:
            folder = tmp_path / store
            folder.mkdir()
            WRITE["write"](store, python, folder)
            home = tmp_path / f"desk-{store}"
            home.mkdir()
            check(Desk(home), store, folder)


@pytest.mark.slow
def test_journals_name_the_run_behind_every_number_and_no_path(once):
    _, folder, desk = once

    logs = desk.run("logs", "full/1").stdout
    told = b"".join(p.read_bytes() for p in desk.state.glob("*/*/journal.jsonl"))
    assert str(folder).encode() not in told
    assert any(word in logs for word in ("full-s1", "trial 1", "full/seed-1"))


@pytest.mark.slow
def test_the_same_files_twice_add_nothing(once):
    store, folder, desk = once

    again = imported(desk, store, folder, "--name", "x", "--rule", "last")

    assert "nothing new in" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kept", [*NAMED, *OPTUNA], indirect=True)
def test_a_setting_that_a_run_lacks_is_named_with_the_nearest(desk, kept):
    store, folder = kept
    kind, inside, _, metric = IMPORTS[store]
    path = str(folder / inside) if inside else str(folder)

    error = desk.run("import", kind, path, "--arm", "metod", "--metric", metric, code=3).stderr

    assert "has no setting 'metod'" in error
    assert "method" in error.split("hint:")[1]


@pytest.mark.parametrize("kept", ["tensorboard"], indirect=True)
def test_folders_that_do_not_look_like_the_pattern_are_named(desk, kept):
    _, folder = kept

    error = desk.run("import", "tensorboard", str(folder), "--metric", "eval/acc", code=3).stderr

    assert "run 'full/seed-0' does not look like '{arm}/{seed}'" in error


@pytest.mark.slow
@pytest.mark.parametrize("kept", NAMED, indirect=True)
def test_names_of_runs_can_tell_arm_and_seed(desk, kept):
    store, folder = kept
    kind, inside, _, _ = IMPORTS[store]
    path = str(folder / inside) if inside else str(folder)

    desk.run("import", kind, path, "--runs", "{arm}-s{seed}", "--metric", "acc", "--rule", "last")

    assert values(desk) == expected(LAST)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [*NAMED, *OPTUNA], indirect=True)
def test_a_group_that_is_not_there_is_refused_with_those_that_are(desk, kept):
    store, folder = kept
    kind, inside, arguments, metric = IMPORTS[store]
    path = str(folder / inside) if inside else str(folder)

    error = desk.run(
        "import", kind, path, *arguments, "--metric", metric, "--experiment", "none", code=2
    ).stderr

    assert "none is 'none'" in error
    assert "digits" in error


@pytest.mark.parametrize("kept", OPTUNA, indirect=True)
def test_what_a_search_chose_has_no_verdict_without_repeated_seeds(desk, kept):
    store, folder = kept
    out = imported(desk, store, folder, "--name", "x").stdout

    assert "the part helps" not in out
    assert "too few seeds" in out
    assert "Chosen by a search" in out
    assert "chosen by a search" in desk.run("report", "--format", "latex").stdout
    assert "no-cache lacks" in out or "full lacks" in out  # the trial that failed


@pytest.mark.slow
@pytest.mark.parametrize("once", MLFLOW, indirect=True)
def test_runs_that_were_deleted_are_left_out(once):
    *_, desk = once

    assert values(desk) == expected(LAST)  # the deleted one is of full and seed 0, too


# Damaged and hostile files.


def damaged(data: bytes) -> dict[str, bytes]:
    middle = len(data) // 2
    flipped = bytearray(data)
    for place in range(len(data) // 3, len(data) // 3 + 64):
        if place < len(flipped):
            flipped[place] ^= 0xFF
    return {
        "empty": b"",
        "cut": data[:middle],
        "flipped": bytes(flipped),
        "zeros": b"\0" * len(data),
        "noise": bytes((i * 7919) % 251 for i in range(4096)),
        "deep": b"[" * 200_000,
    }


@pytest.mark.slow
@pytest.mark.parametrize("how", ["empty", "cut", "flipped", "zeros", "noise", "deep"])
def test_damage_gives_equal_numbers_or_one_clear_error(desk, kept, how):
    store, folder = kept
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)
    path = max(paths, key=lambda p: p.stat().st_size)
    path.write_bytes(damaged(path.read_bytes())[how])
    kind, inside, arguments, metric = IMPORTS[store]
    command = ["import", kind, str(folder / inside) if inside else str(folder), *arguments]
    command += ["--metric", metric, "--rule", "last", "--name", "x"]

    done = desk._run_here(tuple(command))

    if done.returncode == 0:
        known = expected(LAST, single=store == "tensorboard")
        got = values(desk, f"observed.{metric}")
        assert {k: v for k, v in known.items() if got.get(k) == v}  # the runs of other files
        return
    assert done.returncode in (2, 3)
    assert done.stderr.count("icckd: ") == 1
    assert "Traceback" not in done.stderr
    assert not desk.state.exists()


def test_a_view_in_the_place_of_a_table_is_not_asked(desk, tmp_path):
    import sqlite3

    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute(
        "create view metrics as with recursive n(i) as (select 1 union all select i + 1 from n)"
        " select i as id, i as run_name, i as step, '{}' as metrics from n"
    )
    connection.execute("create table configs (id, run_name, config)")
    connection.close()

    error = desk.run("import", "trackio", str(tmp_path / "x.db"), "--metric", "acc", code=3).stderr

    assert "it has no table 'metrics'" in error


def test_yaml_of_a_store_makes_no_objects(desk, tmp_path):
    run = tmp_path / "mlruns" / "1" / "abc"
    run.mkdir(parents=True)
    (tmp_path / "mlruns" / "1" / "meta.yaml").write_text("name: x\n")
    (run / "meta.yaml").write_text("!!python/object/apply:os.mkdir [made]\n")

    error = desk.run("import", "mlflow", str(tmp_path), "--metric", "acc", code=3).stderr

    assert "is no YAML of MLflow" in error
    assert not (desk.folder / "made").exists()


def test_links_out_of_a_folder_are_not_followed(desk, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "events.out.tfevents.1").write_bytes(b"x")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "secret")

    error = desk.run("import", "tensorboard", str(tmp_path / "runs"), "--metric", "acc", code=3)

    assert "holds no event files" in error.stderr


def test_event_files_without_tensorboard_name_the_extra(tmp_path):
    (tmp_path / "a" / "0").mkdir(parents=True)
    (tmp_path / "a" / "0" / "events.out.tfevents.1").write_bytes(b"x")
    code = (
        "import sys; sys.modules['tensorboard'] = None\n"
        "from icckd.cli.main import main\n"
        f"sys.argv = ['icckd', 'import', 'tensorboard', {str(tmp_path)!r}, '--metric', 'acc']\n"
        "main()"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )

    assert done.returncode == 4
    assert "event files are read by TensorBoard, which is not installed" in done.stderr
    assert "icckd[export-tensorboard]" in done.stderr


@pytest.mark.parametrize("kept", ["wandb"], indirect=True)
def test_two_runs_of_one_arm_and_seed_are_refused_with_both_named(desk, kept):
    store, folder = kept
    (first, *_) = sorted(folder.rglob("*.wandb"))
    (folder / "again").mkdir()
    (folder / "again" / "run-again.wandb").write_bytes(first.read_bytes())

    error = imported_with_code(desk, store, folder, 3)

    assert "two values for one arm, seed and metric" in error
    assert first.name in error
    assert "run-again.wandb" in error


@pytest.mark.parametrize("kept", ["wandb"], indirect=True)
def test_a_run_that_was_killed_amid_a_record_counts_so_far_and_is_named(desk, kept):
    store, folder = kept
    (first, *_) = sorted(folder.rglob("*.wandb"))
    first.write_bytes(first.read_bytes()[:-30])

    done = imported(desk, store, folder, "--rule", "last", "--name", "x")

    assert values(desk) == expected(LAST)
    assert "Runs that did not come to their end" in " ".join(done.stdout.split())


def imported_with_code(desk: Desk, store: str, folder: Path, code: int) -> str:
    kind, inside, arguments, metric = IMPORTS[store]
    path = str(folder / inside) if inside else str(folder)
    command = ("import", kind, path, *arguments, "--metric", metric, "--rule", "last")
    return desk.run(*command, code=code).stderr
