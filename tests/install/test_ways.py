"""The ways to install of docs/install.md, each tried in an empty environment.

They fetch packages, or take them from uv's cache: minutes where it is empty.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.freeze import RUNS
from tests.support.blocks import blocks_of
from tests.support.studies import SMALL

ROOT = Path(__file__).parents[2]
MEBIBYTE = 1 << 20


def run(*command, cwd=None, code=0, **variables):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("VIRTUAL_ENV", "PYTHONPATH", "ICCKD_HOME", "PYTHONDONTWRITEBYTECODE")
    }
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env={**environment, **variables},
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, (command, done.stdout[-3000:], done.stderr[-3000:])
    return done


def sources(target):
    """Copy what git knows into a folder."""
    names = run("git", "ls-files", "-z", cwd=ROOT).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    return target


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The distributions of two builds: in other folders, at other times, with other rights."""
    found = []
    for name, mode in (("one", 0o644), ("two", 0o600)):
        copy = sources(tmp_path_factory.mktemp(name))
        for number, path in enumerate(sorted(copy.rglob("*"))):
            if path.is_file():
                path.chmod(mode)
                os.utime(path, (1_700_000_000 + number, 1_700_000_000 + len(name) * number))
        run("uv", "build", "--quiet", "--out-dir", copy / "dist", cwd=copy)
        found.append({path.suffix: path for path in (copy / "dist").glob("icckd*")})
    return found


@pytest.mark.long
def test_two_builds_have_the_same_bytes(built):
    first, second = built

    assert set(first) == {".whl", ".gz"}
    for kind, path in first.items():
        other = second[kind]
        assert path.name == other.name
        assert sha256(path) == sha256(other), kind


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.long
def test_the_shipped_studies_are_in_both_distributions_once(built):
    with zipfile.ZipFile(built[0][".whl"]) as wheel:
        in_wheel = [name for name in wheel.namelist() if ".dist-info/" not in name]
        digests = [hashlib.sha256(wheel.read(n)).hexdigest() for n in in_wheel if ".toml" in n]
    with tarfile.open(built[0][".gz"]) as sdist:
        in_sdist = [name.partition("/")[2] for name in sdist.getnames()]
    studies = ROOT / "studies"
    shipped = sorted(path.relative_to(studies).as_posix() for path in studies.rglob("*.toml"))

    assert shipped
    for names, place in ((in_wheel, "icckd/studies/"), (in_sdist, "studies/")):
        held = [name.removeprefix(place) for name in names if name.startswith(place)]
        assert sorted(name for name in held if name.endswith(".toml")) == shipped
    assert len(set(digests)) == len(digests)  # and none of them a second time elsewhere


# Without torch.


@dataclass
class Light:
    """An environment without torch, and a folder with a finished study."""

    bin: Path
    home: Path
    plans: dict = field(default_factory=dict)

    def run(self, *words, code=0):
        return run(self.bin / "icckd", *words, cwd=self.home, code=code, COLUMNS="120")


@pytest.fixture(scope="module")
def light(built, tmp_path_factory):
    """A study that was run with torch, looked at from an environment that pip made without it."""
    home, venv = tmp_path_factory.mktemp("desk"), tmp_path_factory.mktemp("light") / "venv"
    (home / "small.toml").write_text(SMALL)
    (home / "runs.csv").write_text(RUNS)
    here = [sys.executable, "-m", "icckd.cli.main"]
    run(*here, "run", "small.toml", "--device", "cpu", "-j", "1", cwd=home)
    made = Light(venv / "bin", home)
    made.plans["small"] = run(*here, "plan", "small.toml", "--device", "cpu", cwd=home).stdout
    made.plans["report"] = run(*here, "report", "--format", "md", cwd=home).stdout
    run(sys.executable, "-m", "venv", venv)
    pip = (venv / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "-q")
    run(*pip, "--no-deps", "--require-hashes", "-r", ROOT / "requirements-light.txt")
    run(*pip, "--no-deps", built[0][".whl"])
    return made


@pytest.mark.long
def test_the_light_installation_is_small_and_complete(light):
    size = sum(p.lstat().st_size for p in light.bin.parent.rglob("*") if not p.is_dir())

    assert size < 500 * MEBIBYTE, size
    names = {path.name for path in light.bin.parent.glob("lib/*/site-packages/*")}
    assert not {name for name in names if name.startswith(("torch", "nvidia_c", "triton"))}


@pytest.mark.long
def test_it_decides_what_is_complete_and_reports_as_the_full_one(light):
    assert light.run("plan", "small.toml", "--device", "cpu").stdout == light.plans["small"]
    assert light.run("report", "--format", "md").stdout == light.plans["report"]


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    ["plan shipped:ablations", "status", "ls", "du", "sql 'select count(*) from outcome'",
     "show full", "diff full no-cache", "compare full no-cache", "logs", "fsck", "clean",
     "report -o r.html", "published", "doctor", "--version"],
)  # fmt: skip
def test_what_looks_and_plans_needs_no_torch(light, command):
    done = light.run(*shlex.split(command))

    assert "Traceback" not in done.stderr
    assert done.stdout or done.stderr


@pytest.mark.long
def test_it_imports_archives_and_restores(light):
    light.run("import", "csv", "runs.csv", "--arm", "method", "--metric", "acc")
    light.run("archive", "runs", "-o", "runs.tar.zst")
    other = run(
        light.bin / "icckd", "restore", "runs.tar.zst", cwd=light.home,
        ICCKD_HOME=str(light.home / "other"),
    )  # fmt: skip
    assert other.stdout.startswith("restored runs")
    (light.home / "runs.tar.zst").unlink()


@pytest.mark.long
def test_the_monitor_draws_its_first_screen_without_torch(light):
    script = """
import asyncio, sys
from pathlib import Path
from icckd.journal.folder import StateFolder
from icckd_tui.app import WatchApp
from icckd_tui.feed import source_in
async def look():
    app = WatchApp(source_in(StateFolder(Path(".icckd"))), "small")
    async with app.run_test(size=(100, 30)) as pilot:
        for _ in range(100):
            await pilot.pause(0.1)
            if "no-cache" in app.export_screenshot():
                print("seen", "torch" in sys.modules)
                return
asyncio.run(look())
"""
    done = run(light.bin / "python", "-c", script, cwd=light.home)

    assert done.stdout == "seen False\n"


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("run small.toml --device cpu --seeds 7:9", "to be trained here, and torch is not instal"),
        ("convert a.pth a.safetensors", "this needs torch, which is not installed"),
        ("fetch mnist", "this needs torch"),
    ],
)
def test_what_needs_torch_says_so_in_one_error(light, command, told):
    error = light.run(*command.split(), code=4).stderr

    assert told in error
    assert "pip install torch torchvision" in error
    assert "Traceback" not in error
    assert "cancelled" not in error


# The page itself, and the image.


@pytest.mark.long
def test_the_commands_of_the_page_work_in_a_clean_copy(tmp_path):
    copy = sources(tmp_path / "copy")
    blocks = [b for b in blocks_of("docs/install.md", "sh") if "clean_copy" in b.run_by]

    assert len(blocks) == 3
    for block in blocks:
        done = run("bash", "-euc", block.text, cwd=copy)
        assert "study icc-ablations: 6 arms" in done.stdout, block


def dockerfile():
    """Return the RUN steps of each stage: those of the stages below it first."""
    stages, current = {}, None
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, name = rest.split(" AS ")
            stages[name] = current = list(stages.get(base, []))
        elif word == "RUN":
            current.append(rest)
    return stages


def test_the_image_has_the_dependencies_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [each for each in project["dependencies"] if each.startswith("torch")]
    stages = dockerfile()

    assert set(stages) == {"light", "cpu", "cuda"}
    for stage in ("cpu", "cuda"):
        assert all(f'"{each}"' in stages[stage][-1] for each in needed)
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    kept = (ROOT / ".dockerignore").read_text().split()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert f"!{name}" in kept


@pytest.mark.long
@pytest.mark.parametrize("stage", ["light", "cpu", "cuda"])
def test_each_step_of_the_image_works_in_an_empty_environment(stage, tmp_path):
    """What differs here: the environment's path, uv's cache, and torch for CUDA in both."""
    source, venv, base = sources(tmp_path / "src"), tmp_path / "icckd", tmp_path / "base"
    run(sys.executable, "-m", "venv", base)
    path = f"{venv}/bin:{base}/bin:/usr/local/bin:/usr/bin:/bin"
    for step in dockerfile()[stage]:
        here = step.replace("/opt/icckd", str(venv)).replace("--no-cache ", "")
        here = here.replace("--torch-backend=cpu ", "")
        run("bash", "-euc", here, cwd=source, PATH=path, VIRTUAL_ENV=str(venv))

    done = run(venv / "bin" / "icckd", "plan", "shipped:ablations", "--device", "cpu",
               cwd=tmp_path)  # fmt: skip
    assert "study icc-ablations: 6 arms" in done.stdout
    if stage != "light":
        said = json.loads(run(venv / "bin" / "icckd", "doctor", "--format", "json").stdout)
        assert all(check["advice"] == "" for check in said["around"] if "torch" in check["what"])


def test_the_pins_of_the_light_installation_are_those_of_the_full_one():
    run(sys.executable, ROOT / ".ci" / "light.py", "--check")


# The oldest versions that are allowed.

LOWEST = (
    "tests/stats", "tests/journal/test_journal_file.py", "tests/journal/test_archive.py",
    "tests/results/test_store.py", "tests/results/test_results.py",
    "tests/results/test_frozen_state.py", "tests/results/test_sandbox.py",
    "tests/cli/test_look.py", "tests/train/test_training.py", "tests/tui/test_tui_view_model.py",
)  # fmt: skip
"""Tests of what each dependency is for: statistics, journals, SQL, verbs, training, screen."""
WITHOUT_YARDSTICK = (
    "tests/stats/test_power.py::test_power_agrees_with_statsmodels[0.008333333333333333-1.5-20]"
)
"""With SciPy before 1.17 statsmodels itself has no number here: it answers NaN."""
TOOLS = ("pytest>=9", "pytest-xdist>=3.8", "hypothesis>=6.130", "statsmodels>=0.15", "polars>=1.30",
         "pyarrow>=20", "jsonschema>=4.23")  # fmt: skip


@pytest.mark.long
def test_the_oldest_versions_allowed_pass_the_tests_of_what_each_is_for(tmp_path):
    copy, venv = sources(tmp_path / "copy"), tmp_path / "venv"
    run("uv", "venv", "--quiet", venv)
    install = ("uv", "pip", "install", "--quiet", "--python", venv)
    run(*install, "--resolution", "lowest-direct", "-e", copy, cwd=copy)
    python = venv / "bin" / "python"
    before = versions_in(python)
    run(*install, *TOOLS)
    needed = {requirement.partition(">=")[0] for requirement in direct() if ">=" in requirement}

    assert {name: version for name, version in versions_in(python).items() if name in needed} == {
        name: version for name, version in before.items() if name in needed
    }, "a tool of the tests has replaced one"
    done = run(
        python, "-m", "pytest", "-q", "-n", "0", "-W", "default", *LOWEST,
        "--deselect", WITHOUT_YARDSTICK, cwd=copy,
    )  # fmt: skip
    print(done.stdout.splitlines()[-1])


def direct():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def versions_in(python):
    script = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
    )
    return json.loads(run(python, "-c", script).stdout)
