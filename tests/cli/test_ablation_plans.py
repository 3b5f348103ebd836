"""Ablation plans on the command line: imported, planned, bound, run, covered, written back."""

import json
import subprocess
import sys
import tomllib

import pytest

from icckd.study.load import load
from tests.support.blocks import blocks_of
from tests.support.desk import Desk
from tests.support.pages import SEED, entry, misread, page
from tests.support.terminal import Terminal

SHORT = ("teacher.training.epochs=2", "student.training.epochs=2", "--seeds", "0:1", "-j", "1")
OPEN = page(
    entry("Filter", "margin-based filtering", "REMOVE"),
    entry("Values", "margin threshold", "REPLACE", ["0.1", "0.5"]),
    entry("Elsewhere", "selection of anchors", "REMOVE", metrics="accuracy, BLEU"),
)


@pytest.fixture
def desk(tmp_path, fresh_process) -> Desk:
    desk = Desk(tmp_path)
    desk.write(SEED, "seed.md")
    desk.write(OPEN, "open.md")
    return desk


def test_a_plan_is_printed_as_a_study_and_what_was_done_is_told_beside_it(desk):
    (desk.folder / "bad.md").write_bytes(misread(SEED))

    done = desk.run("import", "plan", "bad.md")

    assert [a["arm"] for a in tomllib.loads(done.stdout)["ablation"]] == ["no-margin", "no-cache"]
    assert "its UTF-8 had been read as Mac Roman: undone" in done.stderr
    assert "2 ablations of by-hand/nobody/Seed: 2 bound to 2 arms, 0 open" in done.stderr
    assert "Margin filter (δ)" in done.stdout
    assert {path.name for path in desk.folder.iterdir()} == {"bad.md", "seed.md", "open.md"}


def test_the_entries_are_printed_as_json_with_the_arms_made_from_each(desk):
    done = desk.run("import", "plan", "open.md", "--format", "json")

    assert json.loads(done.stdout)["entries"][1] == {
        "name": "Values",
        "action": "REPLACE",
        "component": "margin threshold",
        "replacements": [0.1, 0.5],
        "metrics": ["accuracy"],
        "arm": ["threshold=0.1"],
    }
    assert [each["arm"] for each in json.loads(done.stdout)["entries"]] == [
        ["no-margin"], ["threshold=0.1"], [],
    ]  # fmt: skip
    assert "open: Elsewhere: no part of the study is called so" in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty.md, line 1: the ablation plan is empty"),
        ("# prose\n", "line 2: the page ends without the heading"),
        (OPEN.replace("### Values", "### Filter"), "line 25: two ablations are called 'Filter'"),
        (OPEN.replace("REPLACE", "\x1b[31mX\u202e"), "no known action '[31mX'"),
    ],
)
def test_what_is_no_plan_is_one_error_with_its_line(desk, content, words):
    desk.write(content, "empty.md")

    done = desk.run("import", "plan", "empty.md", code=3)

    assert words in done.stderr
    assert "hint: " in done.stderr
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    assert "\u202e" not in done.stderr


def test_what_is_no_text_is_one_error_with_its_line(desk):
    (desk.folder / "x.md").write_bytes(SEED.encode() + b"\n\xff\xfe")

    done = desk.run("import", "plan", "x.md", code=3)

    assert "x.md, line 31: an ablation plan is text in UTF-8" in done.stderr


def test_nothing_is_overwritten(desk):
    desk.write("mine", "own.toml")

    done = desk.run("import", "plan", "seed.md", "-o", "own.toml", code=2)

    assert "own.toml is there already, and nothing is overwritten" in done.stderr
    assert (desk.folder / "own.toml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan", "seed.md", "--metric", "acc"), "--metric does not go with an ablation plan"),
        (
            ("csv", "seed.md", "--metric", "acc", "--for", "x.toml"),
            "--for does not go with runs of",
        ),
        (("plan", "seed.md", "--format", "json", "-o", "x"), "it goes without -o"),
        (("plan", "seed.md", "--for", "shipped:nothing"), "no study 'nothing' comes with icckd"),
    ],
)
def test_options_that_do_not_go_together_are_refused(desk, arguments, words):
    assert words in desk.run("import", *arguments, code=2).stderr


def test_what_is_open_is_listed_by_plan_which_exits_with_3_and_run_refuses_it(desk):
    desk.run("import", "plan", "open.md", "-o", "open.toml")

    planned = desk.run("plan", "open.toml", code=3)
    refused = desk.run("run", "open.toml", code=3)

    assert "Elsewhere: open: no part of the study is called so" in planned.stdout
    assert "left out: 0.5: the baseline has it" in planned.stdout
    assert "stages:" in planned.stdout
    for done in (planned, refused):
        assert "1 requested ablation is open: 'Elsewhere'" in done.stderr
    assert not desk.state.exists()
    desk.run("run", "open.toml", "-n", "--bound-only", code=0)


def test_a_plan_given_to_a_verb_of_studies_is_told_from_a_broken_study(desk):
    done = desk.run("plan", "seed.md", code=3)

    assert "this is an ablation plan: icckd import plan FILE makes a study of it" in done.stderr


def test_without_a_terminal_bind_names_what_is_open_and_exits_with_3(desk):
    desk.run("import", "plan", "open.md", "-o", "open.toml")
    before = (desk.folder / "open.toml").read_bytes()

    done = desk.run("bind", "open.toml", code=3)

    assert "1 requested ablation is open: 'Elsewhere'" in done.stderr
    assert (desk.folder / "open.toml").read_bytes() == before


def test_what_is_open_is_bound_by_name_and_the_study_then_has_a_plan(desk):
    desk.run("import", "plan", "open.md", "-o", "open.toml")

    done = desk.run("bind", "open.toml", "--set", "Elsewhere=teacher.intra.cache")

    assert "Elsewhere: no-cache" in done.stderr
    desk.run("plan", "open.toml")
    assert load(desk.folder / "open.toml").ablation[-1].part == "teacher.intra.cache"


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ("Elsewhere", 2, "--set 'Elsewhere' is not NAME=PART"),
        ("Elsewhere=teacher.intra.margn", 3, "there is no part 'teacher.intra.margn'"),
        ("Filter=teacher.intra.cache", 3, "'Filter' is bound already, to no-margin"),
    ],
)
def test_what_cannot_be_bound_leaves_the_file_as_it_was(desk, given, code, words):
    desk.run("import", "plan", "open.md", "-o", "open.toml")
    before = (desk.folder / "open.toml").read_bytes()

    done = desk.run("bind", "open.toml", "--set", given, code=code)

    assert words in done.stderr
    assert (desk.folder / "open.toml").read_bytes() == before


def test_coverage_is_a_table_markdown_or_json(desk):
    table = desk.run("coverage", "shipped:ablations", "seed.md", "open.md").stdout
    md = desk.run("coverage", "shipped:ablations", "open.md", "--format", "md").stdout
    rows = json.loads(
        desk.run("coverage", "shipped:ablations", "open.md", "--format", "json").stdout
    )

    assert "5 ablations of 2 plans: 3 wholly, 0 in part, 2 not" in table
    assert "| by-hand/nobody/A\\_Paper | Filter | wholly | no-margin | - |" in md
    assert [each["answer"] for each in rows] == ["wholly", "not", "not"]


def test_a_plan_comes_back_from_its_study_with_equal_entries(desk):
    text = page(entry("a", "p (q)", "REPLACE", ["0", "0.0", "False", "None", "(1, 2)", "x, y"]),
                entry("b", "margin filter", "REMOVE", metrics="accuracy (a, b), c"))  # fmt: skip
    desk.write(text, "in.md")
    desk.run("import", "plan", "in.md", "-o", "out.toml")

    lines = desk.run("export", "plan", "out.toml").stdout
    desk.run("export", "plan", "out.toml", "-o", "back.jsonl")

    assert (desk.folder / "back.jsonl").read_text() == lines
    first, again = (
        json.loads(desk.run("import", "plan", name, "--format", "json").stdout)
        for name in ("in.md", "back.jsonl")
    )
    assert json.dumps(first) == json.dumps(again)
    assert '"replacement": [0, 0.0, false, null, [1, 2], "x, y"]' in lines
    assert '"replacement": null' in lines


def test_the_ablations_of_a_study_that_no_plan_asked_for_are_written_too(desk):
    lines = desk.run("export", "plan", "shipped:ablations").stdout.splitlines()

    assert [json.loads(line)["action"] for line in lines] == ["REMOVE", "REMOVE", "REPLACE"]
    assert json.loads(lines[0])["ablated_part"] == "teacher.intra.margin"


@pytest.mark.slow
def test_a_plan_is_read_from_standard_input(desk):
    done = subprocess.run(
        desk.command("import", "plan", "-", "--format", "json"), cwd=desk.folder,
        env=desk.variables(), input=SEED, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert [e["arm"] for e in json.loads(done.stdout)["entries"]] == [["no-margin"], ["no-cache"]]


@pytest.mark.slow
def test_on_a_terminal_bind_asks_for_the_part_of_each_open_ablation(desk):
    desk.run("import", "plan", "open.md", "-o", "open.toml")
    command = [sys.executable, "-m", "icckd.cli.main", "bind", str(desk.folder / "open.toml")]

    with Terminal(desk.state, *command) as terminal:
        terminal.until("Enter leaves it open")
        terminal.press("teacher.intra.wrong\r")
        terminal.until("there is no part 'teacher.intra.wrong'")
        terminal.press("teacher.intra.cache\r")
        assert terminal.wait() == 0
        assert "0 requested ablations are open" in terminal.text

    assert load(desk.folder / "open.toml").requested[2].arm == ("no-cache",)


@pytest.mark.slow
def test_the_flow_of_the_documentation_runs_and_its_report_answers_what_was_asked(
    tmp_path, fresh_process
):
    desk = Desk(tmp_path)
    example, *_ = blocks_of("docs/plans.md", "text")
    desk.write(example.text.removesuffix("\n"), "seed.md")
    commands = blocks_of("docs/plans.md", "sh")[0].commands()
    assert [words[1] for words in commands] == ["import", "plan", "run", "coverage"]
    assert (desk.folder / "seed.md").read_text() == SEED

    for _, *words in commands:
        if words[0] == "run":  # the same study, shortened
            done = desk.train(*words, *SHORT)
            assert "What arm no-margin does to teacher.top1" in done.stdout
        else:
            done = desk.run(*words)
    assert "2 ablations of 1 plans: 2 wholly, 0 in part, 0 not" in done.stdout

    for name, words in (
        ("md", "### Requested ablations"),
        ("html", "Requested ablations</h2>"),
        ("latex", "\\paragraph{Requested ablations.}"),
        ("json", '"requested"'),
    ):
        report = desk.run("report", "--format", name).stdout
        assert words in report
        assert "Without the pipeline cache" in report


@pytest.mark.slow
def test_what_is_left_out_of_a_run_stands_in_its_report_and_journal(desk):
    desk.run("import", "plan", "open.md", "-o", "open.toml")

    desk.train("run", "open.toml", "--bound-only", *SHORT)

    report = " ".join(desk.run("report").stdout.split())
    assert "Elsewhere: not run, it was open: no part of the study is called so" in report
    assert "Values: 0.5 was not run: the baseline has it" in report
    assert json.loads(desk.run("export", "plan", "nobody-a-paper").stdout.splitlines()[2])[
        "name"
    ] == ("Elsewhere")
    [session] = (desk.state / "sessions").glob("*/journal.jsonl")
    assert "--bound-only" in session.read_text()
