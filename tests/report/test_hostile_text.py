"""Texts that mean harm, through every report format there is: a registered one is covered."""

import csv
import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from icckd.report.export import EXPORTERS, export
from icckd.report.figures import draw_figures
from icckd.report.manifest import manifest
from icckd.report.query import FORMATS, write_query
from icckd.report.standing import write_arm, write_status, write_trial
from icckd.results.query import open_results
from tests.faults.texts import TEXTS, harm_in, hostile_study, is_json
from tests.support.junit import read_junit
from tests.support.lanes import slow_but
from tests.support.reports import TEXT_FORMATS, report


@pytest.fixture(scope="module", params=slow_but(sorted(TEXTS), *sorted({*TEXTS} - {"megabyte"})))
def hostile(request, tmp_path_factory):
    """Results of a study that is full of one text."""
    from tests.support.lab import Lab

    lab = Lab(tmp_path_factory.mktemp("hostile"))
    hostile_study(lab, TEXTS[request.param])
    with open_results(lab.folder) as results:
        yield SimpleNamespace(results=results, study=results.study(), text=TEXTS[request.param])


def written(write, *arguments) -> str:
    out = io.StringIO()
    write(*arguments, out)
    return out.getvalue()


class Tags(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes = set(), set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}


def check_form(name, text):
    """The text is well-formed in its own format, and does nothing where it is shown."""
    if name == "json":
        assert is_json(text)
    if name == "csv":
        rows = list(csv.reader(io.StringIO(text)))
        assert {len(row) for row in rows} == {len(rows[0])}
    if name == "html":
        found = Tags()
        found.feed(text)
        assert "script" not in found.tags
        assert not [name for name in found.attributes if name.startswith("on")]
    if name == "junit":
        read_junit(text)
    if name == "md":
        assert re.search(r"(?<!\\)<script", text) is None


@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_no_report_is_styled_moved_or_broken_by_a_text(name, hostile):
    text = report(hostile.results, name)

    assert harm_in(text) == []
    assert name == "json" or len(text) < 2_000_000, "JSON leaves nothing out"
    check_form(name, text)


@pytest.mark.parametrize("output", FORMATS)
def test_no_answer_to_a_query_is_styled_moved_or_broken_by_a_text(output, hostile):
    for view in ("trial", "log", "comparison", "study"):
        table = hostile.results.query(f"from {view}", rows=50)[0]
        text = written(lambda out, table=table: write_query(table, output, out))

        assert harm_in(text) == []
        check_form(output, text)


def test_status_and_show_are_not_styled_moved_or_broken_by_a_text(hostile):
    results, study = hostile.results, hostile.study
    arm = study.arms[1].name
    texts = [
        written(write_status, results, study),
        written(write_arm, results, study, arm),
        written(write_trial, results, study, arm, 1),
    ]

    assert [harm_in(text) for text in texts] == [[], [], []]
    assert max(map(len, texts)) < 200_000


@pytest.mark.slow
def test_figures_are_drawn_whatever_a_text_holds(hostile, tmp_path):
    if hostile.text != TEXTS["all"]:
        pytest.skip("drawn once, with all of them; that takes seconds")
    files = draw_figures(hostile.results, hostile.study, tmp_path / "figures")

    assert {path.suffix for path in files} == {".pdf", ".svg", ".png"}
    assert all(path.stat().st_size > 0 for path in files)
    assert "<script" not in "".join(p.read_text() for p in files if p.suffix == ".svg")


@pytest.mark.parametrize("tool", sorted(EXPORTERS))
def test_no_export_leaves_its_folder_or_breaks_by_a_text(tool, hostile, tmp_path):
    pytest.importorskip({"wandb": "wandb", "mlflow": "mlflow"}.get(tool, tool))
    before = set(tmp_path.rglob("*"))
    export(hostile.results, hostile.study, tool, tmp_path / "out" / "here")

    made = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "out") for path in made)


def test_the_provenance_is_json_whatever_a_text_holds(hostile):
    import json

    assert is_json(json.dumps(manifest(hostile.results, hostile.study)))
