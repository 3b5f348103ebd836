"""`icckd init` makes a study file, of a script or to begin with, and overwrites nothing."""

import shutil
import tomllib
from pathlib import Path

import pytest

from icckd.study.arms import expand
from icckd.study.load import load
from tests.support.desk import Desk

SCRIPTS = Path(__file__).parents[1] / "tasks"


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path)


def test_a_study_is_printed_and_what_is_left_is_told(desk):
    shutil.copy(SCRIPTS / "argparse_csv.py", desk.folder / "train.py")

    done = desk.run("init", "--from", "train.py")

    assert tomllib.loads(done.stdout)["task"]["command"][:2] == ["python", "train.py"]
    assert "6 options of train.py (argparse); 1 line is left to you: 7" in done.stderr
    assert "TO DO" in done.stdout.splitlines()[7 - 1]
    assert [path.name for path in desk.folder.iterdir()] == ["train.py"]


def test_a_study_is_written_and_names_the_script_as_its_folder_sees_it(desk):
    (desk.folder / "code").mkdir()
    (desk.folder / "studies").mkdir()
    shutil.copy(SCRIPTS / "entry_function.py", desk.folder / "code" / "train.py")

    done = desk.run("init", "--from", "code/train.py", "--out", "studies/own.toml")

    found = tomllib.loads((desk.folder / "studies" / "own.toml").read_text())
    assert found["task"]["entry"] == "../code/train.py:train"
    assert done.stdout == ""
    assert "next: icckd plan studies/own.toml" in done.stderr


def test_an_existing_file_is_never_overwritten(desk):
    (desk.folder / "study.toml").write_text("mine")
    (desk.folder / "link.toml").symlink_to("gone.toml")

    for name in ("study.toml", "link.toml"):
        done = desk.run("init", "--out", name, code=2)
        assert "is there already, and init overwrites nothing" in done.stderr
        assert "hint: name another file" in done.stderr
    assert (desk.folder / "study.toml").read_text() == "mine"
    assert not (desk.folder / "gone.toml").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the script train.py: No such file or directory"),
        (b"x = '\xff'", "the script train.py is not UTF-8 (line 1)"),
        (b"x = 1\ndef f(:\n", "the script train.py, line 2 is not valid Python"),
        (b"print('hello')\n", "the script train.py has no options"),
    ],
)
def test_a_script_that_cannot_be_read_is_one_error_and_leaves_no_file(desk, content, words):
    if content is not None:
        (desk.folder / "train.py").write_bytes(content)

    done = desk.run("init", "--from", "train.py", "--out", "study.toml", code=2)

    first, hint = done.stderr.splitlines()
    assert first.startswith(f"icckd: {words}")
    assert hint.startswith("  hint: ")
    assert not (desk.folder / "study.toml").exists()


def test_a_folder_that_is_not_there_is_an_error(desk):
    done = desk.run("init", "--out", "none/study.toml", code=2)

    assert "cannot write none/study.toml: No such file or directory" in done.stderr


def test_a_script_that_would_write_on_import_writes_nothing(desk):
    (desk.folder / "train.py").write_text(
        "import argparse\nopen('ran', 'w').close()\np = argparse.ArgumentParser()\n"
        "p.add_argument('--lr', default=0.1)\np.parse_args()\n"
    )

    desk.run("init", "--from", "train.py", "--out", "-")

    assert not (desk.folder / "ran").exists()
    assert not (desk.folder / "__pycache__").exists()


def test_names_that_a_terminal_would_obey_are_shown_as_text(desk):
    name = "a\x1b]0;x\x07\n.py"
    (desk.folder / name).write_text("import argparse\nargparse.p.add_argument('--lr', default=1)\n")

    done = desk.run("init", "--from", name)

    assert "\x1b" not in done.stdout + done.stderr
    assert "\x07" not in done.stdout + done.stderr
    assert tomllib.loads(done.stdout)["task"]["command"][1] == name


@pytest.mark.parametrize(
    ("name", "arms"),
    [
        ("argparse_csv.py", ["full", "no-shuffle", "no-center"]),
        ("click_jsonl.py", ["full", "no-bias"]),
        ("typer_stdout.py", ["full", "no-scale", "no-vote"]),
        ("entry_function.py", ["full", "no-average"]),
        ("hydra_app/train.py", ["full", "no-augment"]),
    ],
)
def test_a_study_that_nobody_edited_can_be_planned(desk, name, arms):
    shutil.copytree(SCRIPTS, desk.folder, dirs_exist_ok=True)

    desk.run("init", "--from", name, "--out", "study.toml")

    assert [arm.name for arm in expand(load(desk.folder / "study.toml")).arms] == arms
    planned = desk.run("plan", "study.toml").stdout
    assert f"{len(arms)} arms x 8 seeds = {8 * len(arms)} trials" in planned


def test_a_class_that_nothing_fills_is_planned_once_the_lines_of_the_study_are_in_the_script(desk):
    script = desk.folder / "train.py"
    shutil.copy(SCRIPTS / "dataclass_json.py", script)
    desk.run("init", "--from", "train.py", "--out", "study.toml")
    refused = desk.run("plan", "study.toml", code=3)
    lines = (desk.folder / "study.toml").read_text().splitlines()
    begin = lines.index("#     def icckd_task(config, run):")
    adapter = "\n".join(line[6:] for line in lines[begin : begin + 3])
    script.write_text(f"{script.read_text()}\n\n{adapter}\n")

    planned = desk.run("plan", "study.toml")

    assert "icckd_task" in refused.stderr
    assert "2 arms x 8 seeds = 16 trials" in planned.stdout


def test_without_a_script_it_is_a_small_study_that_can_be_planned(desk):
    done = desk.run("init", "--out", "first.toml")

    assert "a small study of digits; next: icckd plan first.toml" in done.stderr
    design = expand(load(desk.folder / "first.toml"))
    assert [arm.name for arm in design.arms] == ["full", "no-distillation", "no-shift"]
    assert "3 arms x 6 seeds = 18 trials" in desk.run("plan", "first.toml").stdout
    assert desk.run("init").stdout == (desk.folder / "first.toml").read_text()
