"""Plug-ins through the command line: the page's own example trained, reported, edited, missing."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.support.blocks import blocks_of

BLOCKS = blocks_of("docs/plugins.md")
pytestmark = pytest.mark.slow


class Place:
    """A folder with the files of the page, and a state folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        code, tests, formats = (b.text for b in BLOCKS if b.language == "python")
        study = next(b.text for b in BLOCKS if "[study]" in b.text)
        (folder / "my_parts.py").write_text(f"{code}\n{formats}")
        (folder / "own-parts.toml").write_text(study)
        (folder / "test_own.py").write_text(tests)

    def icckd(self, *arguments, **variables):
        return self.python("-m", "icckd.cli.main", *arguments, **variables)

    def python(self, *arguments, **variables):
        environment = {
            **os.environ,
            "ICCKD_HOME": str(self.folder / "home"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            **variables,
        }
        return subprocess.run(
            [sys.executable, *arguments],
            env=environment, cwd=self.folder, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    def ok(self, *arguments, **variables):
        done = self.icckd(*arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def edit(self, old, new):
        file = self.folder / "my_parts.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The page followed to its end."""
    made = Place(tmp_path_factory.mktemp("page"))
    made.planned = made.ok("plan", "own-parts.toml")
    made.ran = made.ok("run", "own-parts.toml")
    return made


def test_the_page_says_which_commands_and_they_work(place):
    [commands] = [b.commands() for b in BLOCKS if b.text.startswith("icckd plan")]
    assert [words[1:] for words in commands[:3]] == [
        ["plan", "own-parts.toml"], ["run", "own-parts.toml"], ["report", "own-parts"],
    ]  # fmt: skip
    report = place.ok("report", "own-parts")
    answer = json.loads(place.ok("sql", "--format", "json", *commands[3][2:]))

    assert "distiller logit-error, metric overconfidence, model perceptron" in place.planned
    assert "data set parity" in place.planned
    assert "2 arms x 6 seeds, 12 of 12 trials complete" in report
    assert sorted(row["arm"] for row in answer) == ["centred", "raw"]
    assert all(-50 < row["mean"] < 50 for row in answer)


def test_the_parts_of_the_page_keep_all_laws_with_pytest_and_without(place):
    commands = [b.commands()[0] for b in BLOCKS if b.text.startswith("python -m")]
    assert [words[2:4] for words in commands] == 2 * [["icckd.testing", "my_parts.py"]]
    alone = place.python(*commands[1][1:])
    with_pytest = place.python("-m", "pytest", "-q", "-c", "/dev/null", "test_own.py")

    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert 'model perceptron {"hidden": 8}' in alone.stdout
    assert "41 laws hold, 0 are broken, 0 were not tried" in alone.stdout
    assert "41 passed" in with_pytest.stdout, with_pytest.stdout


def test_the_report_says_whose_code_it_was(place):
    report = " ".join(place.ok("report", "own-parts").split())

    assert re.search(r"From the plug-in my_parts\.py \(my_parts [0-9a-f]{12}\) came", report)
    assert "code of this study's author" in report
    assert "student.overconfidence" in report


def test_a_format_of_the_plug_in_is_written_by_a_helper(place):
    printed = place.ok("report", "own-parts", "--format", "bullets")
    place.ok("report", "own-parts", "--format", "bullets", "-o", "r.txt")

    assert printed.startswith("* ")
    assert (place.folder / "r.txt").read_text() == printed
    assert place.icckd("report", "own-parts", "--format", "bulets").returncode == 2


def test_report_and_status_need_neither_file_nor_helper(place):
    before = place.ok("report", "own-parts", "--format", "json")
    hidden = place.folder / "my_parts.py"
    hidden.rename(place.folder / "hidden")
    try:
        after = place.ok("report", "own-parts", "--format", "json", XDG_CACHE_HOME="/dev/null")
        methods = place.ok("report", "own-parts", "--section", "methods")
        status = place.ok("status")
        gone = place.icckd("report", "own-parts", "--format", "bullets")
    finally:
        (place.folder / "hidden").rename(hidden)

    assert after == before
    assert "perceptron" in methods
    assert "own-parts" in status
    assert gone.returncode == 3
    assert "plug-in 'my_parts.py'" in gone.stderr


def test_an_edited_plug_in_trains_anew_and_is_named(place):
    place.edit("hidden: int = Field(default=24", "hidden: int = Field(default=8 + 16")
    try:
        planned = place.ok("plan", "own-parts.toml")
        accepted = place.ok("plan", "own-parts.toml", "--accept-code")
    finally:
        place.edit("default=8 + 16", "default=24")

    assert "my_parts changed since it was run: 6 teacher stages are run again" in planned
    assert "6 teacher stages, 6 of them shared by several trials; 0 already" in planned
    assert "12 student stages; 12 already" in accepted
    assert "accepted as giving the same numbers" in accepted
    assert "12 already complete" in place.ok("plan", "own-parts.toml")


def test_a_comment_in_a_plug_in_trains_nothing_anew(place):
    with (place.folder / "my_parts.py").open("a") as file:
        file.write("\n# a remark\n")

    assert "12 already complete" in place.ok("plan", "own-parts.toml")


def test_the_schema_command_knows_the_parts(place):
    text = place.ok("schema", "own-parts.toml")

    assert "PerceptronModel" in text
    assert "PerceptronModel" not in place.ok("schema")


def test_a_killed_worker_of_a_plug_in_resumes_to_the_same_numbers(place, tmp_path):
    whole = json.loads(place.ok("sql", "--format", "json", QUERY))
    other = Place(tmp_path)
    (tmp_path / "kill.py").write_text(KILLER)
    head = "def losses(self, student, teacher, batch, *, step):"
    other.edit(head, f"{head}\n        import kill; kill.at(step)")
    done = other.icckd("run", "own-parts.toml", "-j", "1", "--seeds", "0:1",
                       ICCKD_CHECKPOINT_SECONDS="0")  # fmt: skip
    assert done.returncode == 0, done.stderr

    stages = "select count(*) as attempts, count(distinct stage) as stages from attempt"
    [counted] = json.loads(other.ok("sql", "--format", "json", stages))
    again = json.loads(other.ok("sql", "--format", "json", QUERY))
    assert counted == {"attempts": 4, "stages": 3}
    assert again == [row for row in whole if row["seed"] == 0]
    journals = (tmp_path / "home" / "attempts").glob("*/journal.jsonl")
    assert sum('"k":"c"' in journal.read_text() for journal in journals) == 1


QUERY = (
    "select arm, seed, metric, value from outcome where metric not like '%seconds%' and metric not"
    " like '%memory%' and metric not like '%per_second' and metric not like '%data_share'"
    " order by all"
)
KILLER = '''"""Kills the first worker whose student has a checkpoint: in its third epoch."""
import os, signal
from pathlib import Path

mark = Path(__file__).with_name("killed")

def at(step):
    if step == 14 and not mark.exists():
        mark.write_text("x")
        os.kill(os.getpid(), signal.SIGKILL)
'''
