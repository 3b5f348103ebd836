"""`icckd.testing`: every law finds the part that was made to break it, and spares the others."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from icckd.testing import datasets, distillers, losses, metrics, models, runs
from icckd.testing.laws import sentence

PLUGINS = Path(__file__).parents[1] / "support" / "plugins"
SORTS = {
    "model": (*models.LAWS, *runs.LAWS),
    "distiller": distillers.LAWS,
    "teacher loss": losses.LAWS,
    "data set": datasets.LAWS,
    "metric": (*metrics.LAWS, runs.runs_with_one_seed_are_equal),
}
pytestmark = pytest.mark.slow


def try_parts(file, *options, folder=PLUGINS):
    return subprocess.run(
        [sys.executable, "-m", "icckd.testing", file, *options],
        cwd=folder, capture_output=True, text=True, timeout=500,
    )  # fmt: skip


def verdicts(printed):
    """Return the verdict of each law, by part and sentence, and what was said of it."""
    found, part = {}, ""
    for line in printed.splitlines()[:-1]:
        if not line.startswith(" "):
            part = line
        elif match := re.match(r"  (holds|broken|not tried) +(.*)", line):
            found[part, match[2]] = match[1]
    return found


@pytest.fixture(scope="module")
def tried():
    """What is said of all parts that break a law, and of one of each sort that does not."""
    done = [try_parts(name) for name in ("broken_parts.py", "broken_metrics.py")]
    assert [each.returncode for each in done] == [1, 1], done[0].stderr
    return verdicts(done[0].stdout) | verdicts(done[1].stdout)


@pytest.mark.parametrize(
    ("sort", "law"), [(sort, law) for sort, laws in SORTS.items() for law in laws],
    ids=lambda value: getattr(value, "__name__", value),
)  # fmt: skip
def test_a_part_that_breaks_a_law_is_found_by_that_law(tried, sort, law):
    is_setting = sort in ("metric", "teacher loss")  # their kinds are names of settings
    kind = law.__name__ if is_setting else law.__name__.replace("_", "-")

    assert tried[f"{sort} {kind}", sentence(law)] == "broken"


@pytest.mark.parametrize("sort", SORTS)
def test_a_part_that_keeps_all_laws_is_not_accused(tried, sort):
    mine = {
        text: verdict
        for (part, text), verdict in tried.items()
        if part == f"{sort} good"
        and not (sort == "metric" and text in map(sentence, runs.LAWS))  # others measure runs, too
    }

    assert len(mine) >= len(SORTS[sort]) - (sort == "metric")
    assert {text for text, verdict in mine.items() if verdict != "holds"} == set()


LOSS = """
from icckd.plugins import LossSettings, LossValue, TeacherLoss, precise, teacher_loss, torch

class LargestSettings(LossSettings):
    title = "the largest feature"
    about = "mean square of the largest feature"

@teacher_loss("largest", LargestSettings)
class Largest(TeacherLoss):
    def __init__(self, settings, inputs):
        super().__init__(settings)

    def term(self, seen):
        with torch.autocast("cpu", enabled=False):
            return LossValue(precise(seen.features).amax(dim=1).square().mean())
"""


def test_a_file_that_imports_torch_is_told_so():
    done = try_parts("eager_torch.py")

    assert done.returncode == 1
    assert "broken     importing it loads no torch" in done.stdout
    assert "take torch, nn and functional from icckd.plugins" in done.stdout
    assert "1 are broken" in done.stdout


def test_settings_that_are_given_are_tried_and_wrong_ones_refused(tmp_path):
    loss = ("teacher loss largest", "{ weight = 0.5 }")
    (tmp_path / "loss.py").write_text(LOSS)
    chosen = try_parts("loss.py", "--settings", *loss, folder=tmp_path)
    without = try_parts("loss.py", folder=tmp_path)
    wrong = try_parts("loss.py", "--settings", "model nobody", "{}", folder=tmp_path)
    torn = try_parts("loss.py", "--settings", loss[0], "{ weight", folder=tmp_path)
    image = try_parts("loss.py", "--image", "3x32", folder=tmp_path)

    assert 'teacher loss largest {"weight": 0.5}' in chosen.stdout
    assert "12 laws hold, 0 are broken, 0 were not tried" in chosen.stdout, chosen.stdout
    assert without.returncode == 0
    assert "weight: Field required; give settings of 'teacher loss largest'" in without.stdout
    assert (wrong.returncode, torn.returncode, image.returncode) == (3, 2, 2)
    assert "settings are given for 'model nobody', which the plug-in does not register" in (
        wrong.stderr
    )
    assert "--settings takes an inline table of TOML" in torn.stderr
    assert "--image takes channels, height and width, not '3x32'" in image.stderr


def test_a_plug_in_that_is_not_there_or_raises_is_one_clear_error(tmp_path):
    (tmp_path / "raises.py").write_text("import icckd\n\n1 / 0\n")
    raises = try_parts("raises.py", folder=tmp_path)

    assert try_parts("absent.py", folder=tmp_path).returncode == 3
    assert raises.returncode == 3
    assert "plug-in 'raises.py': ZeroDivisionError: division by zero (raises.py, line 3)" in (
        raises.stderr
    )
    assert "Traceback" not in raises.stderr


def test_pytest_has_a_test_of_each_part_and_law(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "from icckd.testing import contract_tests\n"
        f"test_parts = contract_tests({str(PLUGINS / 'broken_metrics.py')!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", ".", "-rf", "."],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 1, done.stdout
    assert "test_parts[metric it_is_a_finite_number: it_is_a_finite_number]" in done.stdout
    assert "of test it is nan" in done.stdout
    assert "test_parts[metric good: it_is_a_finite_number]" not in done.stdout
    assert "Traceback" not in done.stdout


def test_a_part_that_ends_the_process_fails_its_test_and_no_other(tmp_path):
    (tmp_path / "leaves.py").write_text(
        "import os\n"
        "from icckd.plugins import metric\n"
        "@metric('leaves', unit='1', direction='none', about='leaves')\n"
        "def leaves(evaluation):\n    os._exit(7)\n"
    )
    (tmp_path / "test_mine.py").write_text(
        "from icckd.testing import contract_tests\ntest_parts = contract_tests('leaves.py')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", ".", "-rf", "."],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip

    assert "ended the process that tries it, with exit code 7" in done.stdout
    assert "1 passed" in done.stdout
