"""The workflow files of docs/ci.md: they are YAML, and their reports can be run."""

import shlex

import pytest
import yaml

from tests.support.blocks import blocks_of
from tests.support.desk import Desk
from tests.support.junit import read_junit
from tests.support.lab import planned

WORKFLOWS = [yaml.safe_load(block.text) for block in blocks_of("docs/ci.md", "yaml")]


def texts(value):
    if isinstance(value, str):
        yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from texts(inner)


def commands(workflow):
    """Return the arguments of every `icckd` command of a workflow."""
    found = [text.partition(">>")[0] for text in texts(workflow) if text.startswith("icckd ")]
    return [shlex.split(text)[1:] for text in found]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=["github", "gitlab"])
def test_the_reports_of_a_workflow_run_and_write_junit(workflow, lab, tmp_path):
    with lab.finished("s1", planned(seeds=range(12))) as session:
        session.train_all()
    desk = Desk(tmp_path)
    runs, reports = [], []
    for arguments in commands(workflow):
        (runs if arguments[0] == "run" else reports).append(arguments)

    assert runs == [["run", "studies/ablations.toml", "--device", "cpu"]]
    assert reports
    for arguments in reports:
        desk.run(*(str(tmp_path / a) if a == "icckd.xml" else a for a in arguments))
    gates = read_junit((tmp_path / "icckd.xml").read_text())[0]
    assert gates.get("name") == "icckd gates of icc-ablations"
    assert gates.get("failures") == "0"


def test_there_is_a_workflow_for_each_service_that_is_named():
    assert len(WORKFLOWS) == 2
