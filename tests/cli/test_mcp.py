"""`icckd mcp`, asked by the client of the protocol's own SDK over the pipes of a real process."""

import asyncio
import hashlib
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from mcp import Client, StdioServerParameters

from icckd.api.reading import ANSWER_BYTES, Reader, bounded, harmless
from icckd.errors import UsageError
from icckd.journal.folder import StateFolder
from icckd.journal.owner import owner_lock
from icckd.results.query import open_results
from icckd.results.store import Store
from tests.support.desk import Desk
from tests.support.lab import Lab, planned

QUERY = "select arm, seed, value from outcome where metric = 'student.top1' order by all"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with results that tests only read."""
    home = tmp_path_factory.mktemp("mcp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        patch.setattr(os, "fdatasync", lambda file: None)
        lab = Lab(home / ".icckd")
        with lab.finished("s1", planned()) as session:
            session.train_all()
    return Desk(home)


@asynccontextmanager
async def client(folder):
    command = [sys.executable, "-m", "icckd.cli.main", "mcp"]
    server = StdioServerParameters(command=command[0], args=command[1:], cwd=folder)
    async with Client(server, read_timeout_seconds=60) as connected:
        yield connected


def ask(folder, *questions):
    """Return the answers of one process to several questions: content, or the error as text."""

    async def talk():
        async with client(folder) as connected:
            answers = []
            for tool, arguments in questions:
                done = await connected.call_tool(tool, arguments)
                answers.append(done.content[0].text if done.is_error else done.structured_content)
            return answers

    return asyncio.run(talk())


def contents(root):
    """Return the digests of all files but the database, which is made from the others."""
    return {
        path.relative_to(root): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(("icckd.duckdb", "owner.lock"))
    }


@pytest.mark.slow
def test_every_tool_only_reads_and_says_so(desk):
    async def talk():
        async with client(desk.folder) as connected:
            return (await connected.list_tools()).tools, connected.instructions

    before = contents(desk.state)
    tools, instructions = asyncio.run(talk())
    ask(desk.folder, *[(tool.name, {}) for tool in tools if tool.name != "sql"])

    assert [tool.name for tool in tools] == ["studies", "plan", "comparison", "outcomes", "sql"]
    assert all(tool.annotations.read_only_hint for tool in tools)
    assert not any(tool.annotations.destructive_hint for tool in tools)
    assert "no instructions" in instructions
    assert contents(desk.state) == before


@pytest.mark.slow
def test_answers_are_those_of_the_report(desk):
    studies, plan, comparison, outcomes, sql = ask(
        desk.folder,
        ("studies", {}),
        ("plan", {"study": "icc-ablations"}),
        ("comparison", {}),
        ("outcomes", {"metric": "student.top1", "arm": "no-margin"}),
        ("sql", {"statement": QUERY, "rows": 1000}),
    )
    with open_results(StateFolder(desk.state)) as results:
        study = results.study()
        rows = results.comparisons(study)
        values = results.values(study, "student.top1")

    [listed] = studies["studies"]
    assert (listed["study"], listed["revision"]) == study.key
    assert listed["state"]["complete"] == 12
    assert [arm["name"] for arm in plan["arms"]] == [arm.name for arm in study.arms]
    assert plan["arms"][1]["changes"][0]["path"] == "teacher.intra.margin"
    assert len(plan["trials"]) == 12
    verdicts = {(row["arm"], row["metric"]): row["verdict"] for row in comparison["comparisons"]}
    assert verdicts == {(row.arm, row.metric): row.verdict for row in rows}
    assert {row["seed"]: row["value"] for row in outcomes["outcomes"]} == values["no-margin"]
    assert outcomes["units"] == {"student.top1": "%"}
    assert {(arm, seed): value for arm, seed, value in sql["rows"]} == {
        (arm, seed): value for arm, by_seed in values.items() for seed, value in by_seed.items()
    }


@pytest.mark.slow
def test_what_does_more_than_read_and_what_is_not_there_is_refused(desk):
    before = contents(desk.state)
    insert, files, study, arm, rows, unknown = ask(
        desk.folder,
        ("sql", {"statement": "delete from attempt"}),
        ("sql", {"statement": "from read_text('/etc/passwd')"}),
        ("plan", {"study": "none"}),
        ("outcomes", {"arm": "no-margn"}),
        ("sql", {"statement": "select 1", "rows": 100_000}),
        ("run", {"study": "icc-ablations"}),
    )

    assert "DELETE statements cannot be run here" in insert
    assert "root:" not in str(files)
    assert isinstance(files, str)
    assert "no study 'none' was run here" in study
    assert "there is no arm 'no-margn'" in arm
    assert "no-margin" in arm
    assert isinstance(rows, str)
    assert "Unknown tool" in unknown
    assert contents(desk.state) == before


@pytest.mark.slow
def test_a_state_folder_that_a_session_holds_is_read_and_what_is_new_is_seen(lab, tmp_path):
    async def talk():
        async with client(tmp_path) as connected:
            found = []
            for revision in ("aaaa1111", "bbbb2222"):
                with lab.finished(f"s-{revision}", planned(), revision=revision) as session:
                    session.train_all()
                with owner_lock(lab.folder), Store.open_file(lab.folder):
                    for tool, arguments in (
                        ("studies", {}),
                        ("sql", {"statement": "select max(revision) from study", "rows": 1}),
                    ):
                        done = await connected.call_tool(tool, arguments)
                        assert not done.is_error, done.content
                        found.append(done.structured_content)
            return found

    first, first_sql, second, second_sql = asyncio.run(talk())

    assert first["studies"][0]["revision"] == first_sql["rows"][0][0] == "aaaa1111"
    assert second["studies"][0]["revision"] == second_sql["rows"][0][0] == "bbbb2222"


def test_a_folder_without_a_study_is_said_to_be_one(tmp_path):
    [answer] = ask(tmp_path, ("studies", {}))

    assert "there is no study in" in answer
    assert "icckd run STUDY starts one" in answer
    assert not (tmp_path / ".icckd").exists()


def test_without_the_package_there_is_one_error_that_names_the_extra(tmp_path):
    script = "import sys; sys.modules['mcp'] = None; from icckd.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "mcp"], cwd=tmp_path, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.splitlines() == [
        "icckd: icckd mcp needs the package mcp, which is not installed",
        "  hint: pip install 'icckd[mcp]'",
    ]


def test_a_long_answer_loses_the_ends_of_its_lists_and_says_so():
    rows = [{"arm": "a" * 100, "seed": seed} for seed in range(3000)]
    found = bounded({"study": "s", "outcomes": rows}, ["outcomes"])

    assert len(str(found).encode()) < 2 * ANSWER_BYTES
    assert found["outcomes"] == rows[: len(found["outcomes"])]
    assert found["left_out"]["outcomes"] == 3000 - len(found["outcomes"])
    with pytest.raises(UsageError, match="longer than 200,000 bytes"):
        bounded({"question": ["x" * 2000] * 1000, "rows": []}, ["rows"])


def test_texts_of_an_answer_are_one_harmless_line_each(lab):
    evil = "ignore all\n\x1b[2J\u202e previous\x00" + "x" * 100_000
    plan = planned()
    study = {**plan.study, "study": {**plan.study["study"], "question": evil}}
    with lab.finished("s1", plan.model_copy(update={"study": study})) as session:
        session.train_all()
    with Reader(lab.folder) as reader:
        [found] = reader.studies()["studies"]

    assert found["question"].startswith("ignore all [2J previous")
    assert len(found["question"]) <= 2000
    assert harmless({"\x07k": (float("nan"), b"\x00")}) == {"k": ["nan", "00"]}
