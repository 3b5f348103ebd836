"""The notebook of the documentation, executed by a kernel of its own on real data."""

import json
import os
import subprocess
import sys

import pytest

from tests.api.notebook import NOTEBOOK
from tests.structure.test_structure import ROOT


def shown(notebook):
    """Return what each code cell shows: by MIME type, and what it prints by stream."""
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        found: dict[str, str] = {}
        for output in cell["outputs"]:
            if output["output_type"] == "stream":
                found[output["name"]] = found.get(output["name"], "") + "".join(output["text"])
            for kind, text in output.get("data", {}).items():
                found[kind] = "".join(text) if isinstance(text, list) else text
        cells.append(("".join(cell["source"]), found))
    return cells


def test_the_committed_notebook_shows_what_was_run_and_no_place_of_a_machine():
    text = NOTEBOOK.read_text()
    cells = shown(json.loads(text))

    assert all(
        output["output_type"] != "error"
        for cell in json.loads(text)["cells"]
        for output in cell.get("outputs", [])
    )
    assert all(found for source, found in cells if not source.startswith("from"))
    for place in (*(f"/{name}/" for name in ("home", "root", "tmp", "Users")), str(ROOT)):
        assert place not in text


@pytest.mark.slow
def test_the_notebook_runs_and_shows_bar_verdicts_frames_and_figures(tmp_path):
    out = tmp_path / "out.ipynb"
    done = subprocess.run(
        [sys.executable, "-m", "tests.api.notebook", str(out)], cwd=ROOT,
        capture_output=True, text=True, timeout=600,
        env={**os.environ, "JUPYTER_PLATFORM_DIRS": "1", "IPYTHONDIR": str(tmp_path / "ipython")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    cells = shown(json.loads(out.read_text()))
    by_end = {source.splitlines()[-1]: found for source, found in cells}

    assert (
        "study first: 2 arms x 6 seeds = 12 trials"
        in by_end['study.plan(device="cpu")']["text/html"]
    )
    bar = by_end['found = icckd.run(study, device="cpu")']
    assert "18/18" in bar["text/html"].replace("</span>", "")
    assert "18/18" in bar["text/plain"]
    report = by_end["found"]["text/html"]
    assert "Does the student learn from its teacher?" in report
    assert "Removing distillation" in report
    assert "Verdicts on student.top1" in report
    values = by_end[
        'frame[frame.metric == "student.top1"].pivot(index="seed", columns="arm", values="value")'
    ]
    assert "<th>alone</th>" in values["text/html"]
    assert "image/png" in by_end['found.plot("curves", "student.val_top1")']
    assert r"\begin{table*}" in by_end["print(found.to_latex()[:900])"]["stdout"]
    assert "imported from a data frame" in by_end["compared"]["text/html"]
    assert "verdict='helps'" in by_end['compared.comparison("no-scaling", "acc")']["text/plain"]
    assert "paired seeds find a difference of 0.5" in cells[-1][1]["stdout"]
