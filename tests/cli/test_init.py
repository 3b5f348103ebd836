"""`icckd init` makes a study of a script, images, a table or an example, and overwrites nothing."""

import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icckd.study.arms import expand
from icckd.study.load import load
from tests.support.desk import Desk
from tests.support.terminal import Terminal

SCRIPTS = Path(__file__).parents[1] / "tasks"


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path)


def test_a_study_is_printed_and_what_is_left_is_told(desk):
    shutil.copy(SCRIPTS / "argparse_csv.py", desk.folder / "train.py")

    done = desk.run("init", "--from", "train.py", "--out", "-")

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
        assert "is there already, and nothing is overwritten" in done.stderr
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

    done = desk.run("init", "--from", name, "--out", "-")

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


TEMPLATES = {"digits": 18, "mnist": 18, "cifar100": 18, "task": 24, "blank": 12}
"""How many trials the study of each template has."""


@pytest.mark.parametrize(("name", "trials"), TEMPLATES.items())
def test_a_template_is_written_by_its_name_and_can_be_planned(desk, name, trials):
    done = desk.run("init", "--template", name)

    assert f"next: icckd plan {name}.toml" in done.stderr
    written = desk.folder / f"{name}.toml"
    assert load(written).study.name == name
    assert "@" not in written.read_text()
    assert f"= {trials} trials" in desk.run("plan", f"{name}.toml", "--device", "cpu").stdout


def test_without_anything_it_is_a_small_study_of_digits_called_after_its_file(desk):
    done = desk.run("init", "--out", "first.toml")

    assert "wrote first.toml: a small study of digits" in done.stderr
    assert "next: icckd plan first.toml" in done.stderr
    assert load(desk.folder / "first.toml").study.name == "first"
    design = expand(load(desk.folder / "first.toml"))
    assert [arm.name for arm in design.arms] == ["full", "no-distillation", "no-shift"]
    printed = desk.run("init", "--out", "-").stdout
    assert tomllib.loads(printed)["study"]["name"] == "digits"
    assert not (desk.folder / "digits.toml").exists()


def test_a_template_with_a_script_leaves_both_alone_where_one_is_there(desk):
    (desk.folder / "train_digits.py").write_text("mine")

    done = desk.run("init", "--template", "task", code=2)

    assert "train_digits.py is there already, and nothing is overwritten" in done.stderr
    assert [path.name for path in desk.folder.iterdir()] == ["train_digits.py"]
    assert "has files beside it" in desk.run("init", "--template", "task", "-o", "-", code=2).stderr


@pytest.mark.slow
def test_the_code_of_the_task_template_runs_and_uses_its_seed(desk):
    desk.run("init", "--template", "task")

    checked = desk.run("check", "task.toml").stdout
    assert "two runs under one seed agree in all" in checked
    assert "nothing contradicts the claims" in checked
    done = desk.run("run", "task.toml", "--seeds", "0:1", "task.config.epochs=2")
    assert "3 of 3 trials complete" in done.stdout


def drawn_images(folder, classes=3, images=40):
    draw = np.random.default_rng(0)
    for place in range(classes):
        (folder / f"class{place}").mkdir(parents=True)
        for number in range(images):
            pixels = draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"class{place}" / f"{number}.png")


def test_a_folder_of_images_becomes_a_study_that_can_be_planned(desk):
    drawn_images(desk.folder / "sets" / "birds")

    done = desk.run("init", "--data", "sets/birds")

    assert "a small study of 120 images of 3 classes" in done.stderr
    assert "next: icckd plan birds.toml --data sets" in done.stderr
    study = load(desk.folder / "birds.toml")
    assert study.data.folder == "birds"
    assert study.study.smallest_effect >= 100 / 24  # one of its 24 test images
    desk.environment["ICCKD_DATA_DIR"] = "sets"  # as --data, in a process that other tests share
    planned = desk.run("plan", "birds.toml", "--device", "cpu").stdout
    assert "3 arms x 6 seeds = 18 trials" in planned


def test_a_folder_below_the_data_folder_needs_no_option(desk):
    drawn_images(desk.folder / "data" / "birds")

    done = desk.run("init", "--data", "data/birds")

    assert "next: icckd plan birds.toml   " in done.stderr
    assert "      icckd run birds.toml   " in done.stderr


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("none", 2, "there is no folder none"),
        ("my birds", 2, "a study cannot hold the name of the folder 'my birds'"),
        ("empty", 4, "empty cannot be trained on: "),
    ],
)
def test_a_folder_that_no_study_could_train_on_is_one_error(desk, name, code, words):
    drawn_images(desk.folder / "my birds")
    (desk.folder / "empty").mkdir()

    done = desk.run("init", "--data", name, code=code)

    assert done.stderr.startswith(f"icckd: {words}")
    assert not list(desk.folder.glob("*.toml"))


RUNS = """Method;rng_seed;minutes;val loss;accuracy
full;0;12;0.21;93.4
full;1;12;0.23;92.9
plain;0;11;0.30;91.8
plain;1;11;;
"""


def test_a_table_is_imported_by_columns_that_are_guessed_and_told(desk):
    desk.write(RUNS, "results.csv")

    done = desk.run("init", "--csv", "results.csv")

    assert (
        "icckd import csv results.csv --arm Method --seed rng_seed --metric accuracy"
        " --metric 'val loss'" in done.stderr
    )
    assert "imported 4 runs of 2 arms" in done.stderr
    assert "observed.accuracy" in done.stdout
    assert "observed.minutes" not in done.stdout


def test_a_table_of_steps_is_imported_by_its_last_ones(desk):
    runs = [(arm, seed, step) for arm in ("full", "plain") for seed in (0, 1) for step in (1, 2)]
    rows = [f"{arm},{seed},{step},{90 + step}" for arm, seed, step in runs]
    desk.write("\n".join(["arm,seed,epoch,acc", *rows]), "curves.csv")

    done = desk.run("init", "--csv", "curves.csv")

    assert "--step epoch --rule last" in done.stderr
    assert "92.0" in done.stdout


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            "a,b\n1,2\n",
            "it is not clear which column of runs.csv is the arm and the seed; there are: a, b",
        ),
        ("arm,seed,note\nx,0,good\ny,0,bad\n", "is a result; there are: arm, seed"),
        ("", "is the arm and the seed and a result; there are: none"),
    ],
)
def test_a_table_that_does_not_say_what_is_what_is_one_error(desk, table, words):
    desk.write(table, "runs.csv")

    done = desk.run("init", "--csv", "runs.csv", code=2)

    assert words in done.stderr
    assert "hint: icckd import csv runs.csv --arm NAME" in done.stderr
    assert not desk.state.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--data", "x", "--csv", "y"), "--data and --csv do not go together"),
        (("--csv", "results.csv", "-o", "x.toml"), "--csv writes no study file"),
        (("--csv", "none.csv"), "there is no table none.csv"),
    ],
)
def test_options_that_contradict_each_other_are_refused(desk, options, words):
    desk.write(RUNS, "results.csv")

    assert words in desk.run("init", *options, code=2).stderr


@pytest.mark.slow
def test_on_a_terminal_three_questions_lead_to_a_study(desk, monkeypatch):
    monkeypatch.chdir(desk.folder)
    command = (sys.executable, "-m", "icckd.cli.main", "init")
    with Terminal(desk.state, *command, size=(80, 24)) as terminal:
        terminal.until("What do you have?", "4  nothing yet: an example", "Number [4]: ")
        terminal.press("7\r")
        terminal.until("a number from 1 to 4")
        terminal.press("\r")
        terminal.until("Which of digits, mnist, cifar100, task, blank [digits]: ")
        terminal.press("blank\r")
        terminal.until("Write the study to [blank.toml]: ")
        terminal.press("mine.toml\r")

        assert terminal.wait() == 0

    assert load(desk.folder / "mine.toml").study.name == "mine"
    assert "next: icckd plan mine.toml" in terminal.text
