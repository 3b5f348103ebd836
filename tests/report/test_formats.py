"""LaTeX that compiles, HTML that loads nothing, figures with text as text, provenance."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import duckdb
import pytest
from PIL import Image

from icckd.report.document import build_document
from icckd.report.figures import draw_figures
from icckd.report.figures.plots import COLUMN_INCHES, draw_forest, saved, style
from icckd.report.formats import report_format
from icckd.report.manifest import manifest, write_manifest
from icckd.report.notes import methods, seeds_text
from icckd.report.text import latex_text
from icckd.results.query import open_results
from tests.support.lab import planned
from tests.support.reports import report

DOCUMENT = r"""\documentclass{article}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs}
\usepackage{siunitx}
\begin{document}
\input{report.tex}
\end{document}
"""
EVIL = '50% of $x_1$ & #2 {~^} \\input{/etc/passwd} a--b <i> "q" δ é'


@pytest.fixture
def evil(lab):
    """A study whose texts are hostile to markup, with a seed lost."""
    plan = planned()
    arms = tuple(replace(arm, title=EVIL) for arm in plan.arms)
    study = {**plan.study, "study": {**plan.study["study"], "question": EVIL}}
    with lab.finished("s1", plan.model_copy(update={"arms": arms, "study": study})) as session:
        session.train_all(skip=[("no-margin", 1)])
        session.say(session.stage("no-margin", 1), "failed", reason=EVIL)
    with open_results(lab.folder) as found:
        yield found


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_the_latex_compiles_whatever_the_texts_hold(evil, tmp_path):
    (tmp_path / "report.tex").write_text(report(evil, "latex"))
    (tmp_path / "paper.tex").write_text(DOCUMENT)

    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
    assert "root:" not in done.stdout


def test_the_latex_has_rules_aligned_numbers_and_a_full_caption(evil):
    text = report(evil, "latex")
    caption = " ".join(text.split(r"\caption{", 1)[1].split(r"\label", 1)[0].split())

    assert text.count(r"\toprule") == text.count(r"\bottomrule") >= 2
    assert re.search(
        r"S\[retain-explicit-plus, group-minimum-digits=9, table-format=\+?\d\.2\]", text
    )
    for words in (
        "seeds 0-2",
        "after the last epoch",
        "95 \\% interval of Student's t",
        "Holm over the 2 arms",
        "test set used once",
        "no-margin lacks seed 1",
        "0.5 points",
    ):
        assert words in caption, words  # fmt: skip


def test_latex_text_cannot_act():
    assert latex_text("\\input{x}") == r"\textbackslash{}input\{x\}"
    assert latex_text("a--b") == "a-{}-b"
    assert latex_text("漢") == "?"


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.addresses = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href", "action", "data")]


def test_the_html_is_one_file_that_loads_nothing_and_escapes_texts(evil):
    text = report(evil, "html")
    page = _Page()
    page.feed(text)

    assert page.addresses == []
    assert not {"script", "link", "img", "iframe", "i"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert {"table", "svg", "h1"} <= set(page.tags)
    assert "no-margin lacks seed 1" in text


def test_figures_are_one_column_wide_with_text_as_text(results, tmp_path):
    files = draw_figures(results, results.study(), tmp_path / "figures")
    names = {path.name for path in files}
    forest = (tmp_path / "figures" / "forest.svg").read_text()
    pdf = (tmp_path / "figures" / "forest.pdf").read_bytes()
    with Image.open(tmp_path / "figures" / "forest.png") as image:
        width = image.width / 300

    assert {f"{name}.{kind}" for name in ("forest", "heatmap", "curves-student.val_top1")
            for kind in ("pdf", "svg", "png")} <= names  # fmt: skip
    assert "no-margin-matched" in forest
    assert width == pytest.approx(COLUMN_INCHES, abs=0.01)
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf


def test_a_factorial_study_has_its_main_effects_as_a_heat_map_of_factor_by_level(lab, tmp_path):
    accuracy = {"base": 90.0, "margin=off": 88.0, "cache=off": 91.0, "margin=off+cache=off": 86.0}
    arms = [(name, "variant", "", None, ()) for name in accuracy]
    plan = planned(arms=arms, seeds=(0, 1))
    header = {**plan.study["study"], "design": "factorial"}
    factors = [
        {"name": "margin", "levels": [{"threshold": 0.5}, "off"]},
        {"name": "cache", "levels": [{"per_class": 64}, "off"]},
    ]
    study = {**plan.study, "study": header, "factor": factors}
    with lab.finished("s1", plan.model_copy(update={"study": study})) as session:
        for trial in plan.trials:
            for position in (0, 1):
                stage = session.stage(trial.arm, trial.seed, position)
                session.train(stage, accuracy=accuracy[trial.arm] + trial.seed)
    with open_results(lab.folder) as results:
        draw_figures(results, results.study(), tmp_path)
    text = re.findall(r">([^<>]+)</text>", (tmp_path / "heatmap.svg").read_text())

    # (88 + 86 - 90 - 91) / 2 and (91 + 86 - 90 - 88) / 2
    assert [each for each in text if re.fullmatch(r"[+-]?\d\.\d\d", each)][:4] == [
        "0.00", "-3.50", "0.00", "-0.50",
    ]  # fmt: skip
    assert {"margin", "cache", "reference", "level 1", "threshold.0…", "off"} <= set(text)
    assert "from the reference level (points)" in text


def test_figures_are_the_same_bytes_for_the_same_results(results, tmp_path):
    with style():
        for kind in ("pdf", "svg", "png"):
            first, second = (
                saved(draw_forest(results, results.study()), tmp_path / f"{name}.{kind}")
                for name in "ab"
            )
            assert first.read_bytes() == second.read_bytes()


def test_a_study_without_results_has_no_figures(lab, tmp_path):
    with lab.finished("s1", planned()):
        pass
    with open_results(lab.folder) as results:
        assert draw_figures(results, results.study(), tmp_path) == []


@pytest.fixture
def code(results):
    """What the session recorded of the code that it ran."""
    file = results.folder.sessions / "s1" / "code.json"
    found = {"commit": "c" * 40, "patch": ""}
    file.write_text(json.dumps(found))
    yield found
    file.unlink()


def test_the_manifest_names_what_every_number_came_from(results, code, tmp_path):
    study = results.study()
    output = tmp_path / "t.csv"
    output.write_text(report(results, "csv"))
    path = write_manifest(results, study, [output])
    document = json.loads(path.read_text())

    assert path.name == "t.csv.provenance.json"
    assert document["outputs"][0]["name"] == "t.csv"
    assert document["data_fingerprints"] == ["f" * 16]
    assert [session["code"] for session in document["sessions"]] == [code]
    assert document["spec"]["study"]["primary"] == "student.top1"
    complete = [s for t in results.trials(study) if t.state == "complete" for s in (t.arm, t.seed)]
    assert len(document["stages"]) == len(complete)  # two stages a trial, each its own
    assert len(document["machines"]) == 1
    assert manifest(results, study)["stages"] == document["stages"]


def test_the_methods_say_what_was_done(results):
    text = methods(results, results.study())

    for words in (
        "3 arms with the baseline full over 3 seeds (seeds 0-2)",
        "11 of 12 trials",
        "11 trained teachers and 11 students",
        "icckd 0.1.0",
        "python 3.11",
        "Holm",
        'teacher.intra.margin = "off" instead of',
        "±0.5 points",
        "0.25 here",
        "no-cache diverged under seed 2",
    ):
        assert words in text, words  # fmt: skip


def test_parquet_holds_the_comparisons(results, tmp_path):
    study = results.study()
    path = tmp_path / "c.parquet"
    report_format("parquet").write_file(build_document(results, study), path)
    rows = duckdb.sql(f"from '{path}'").fetchall()
    names = duckdb.sql(f"from '{path}'").columns

    assert names[:4] == ["study", "revision", "arm", "metric"]
    assert [row[2:4] for row in rows] == [(r.arm, r.metric) for r in results.comparisons(study)]
    assert {row[names.index("verdict")] for row in rows} >= {"helps", "undecided"}


def test_seeds_in_words():
    assert seeds_text((0, 1, 2, 5)) == "seeds 0-2, 5"
    assert seeds_text((3,)) == "seed 3"
