"""A report format from outside: one file with a template and a row, found by name and suffix."""

import io
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from icckd.errors import MachineError, UsageError
from icckd.report import formats
from icckd.report.document import build_document
from icckd.report.formats import ReportFormat, format_of_suffix, register, report_format
from icckd.report.templates import template_writer
from tests.support.reports import report

TEMPLATE = """<h1>{{ study.name }}</h1>
{% for section in document.sections %}
<h2>{{ section.title }}</h2>
{% if section.kind == "changes" %}
{% for arm in section.arms %}
<p>{{ arm.name }}: {{ arm.title }}</p>
{% endfor %}
{% elif section.kind == "comparison" %}
{% for arm, cells in section.rows %}
<p>{{ arm.name }} {{ cells[0].value }}</p>
{% endfor %}
{% endif %}
{% endfor %}
"""
MODULE = """from pathlib import Path

from icckd.report.formats import ReportFormat
from icckd.report.templates import template_writer

OUTLINE = ReportFormat(
    name="outline",
    suffix=".outline",
    write=template_writer(Path(__file__).with_name("outline.html.j2")),
)
"""


@pytest.fixture
def package(tmp_path):
    """A folder to put on the path: a module, its template, and metadata with the entry points."""
    folder = tmp_path / "site"
    metadata = folder / "outline-1.dist-info"
    metadata.mkdir(parents=True)
    (folder / "outline.html.j2").write_text(TEMPLATE)
    (folder / "outline.py").write_text(MODULE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: outline\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[icckd.report_formats]\noutline = outline:OUTLINE\nbroken = nowhere:OUTLINE\n"
    )
    return folder


@pytest.fixture
def registry(monkeypatch):
    """The registry, as it was again afterwards."""
    monkeypatch.setattr(formats, "_REGISTERED", dict(formats._REGISTERED))


def command(package, results, *arguments):
    path = os.pathsep.join([str(package), *sys.path])
    return subprocess.run(
        [sys.executable, "-m", "icckd.cli.main", "report", *arguments],
        env={**os.environ, "ICCKD_HOME": str(results.folder.root), "PYTHONPATH": path},
        capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def named(results, name):
    """The report of a study that is called so."""
    study = results.study()
    return replace(build_document(results, study), study=replace(study, name=name))


@pytest.mark.slow
def test_the_command_writes_a_format_that_a_package_brings(package, results, tmp_path):
    printed = command(package, results, "--format", "outline")
    written = command(package, results, "-o", str(tmp_path / "r.outline"))

    assert printed.returncode == written.returncode == 0, printed.stderr + written.stderr
    assert printed.stdout == (tmp_path / "r.outline").read_text()
    assert printed.stdout.startswith("<h1>icc-ablations</h1>\n<h2>Verdicts on student.top1</h2>\n")
    assert "<p>no-margin 91.40 ± 0.76 (3)</p>" in printed.stdout
    assert "<p>no-cache: title of no-cache</p>" in printed.stdout


@pytest.mark.slow
def test_a_package_that_cannot_be_loaded_is_named_and_hinders_no_other_format(package, results):
    broken = command(package, results, "--format", "broken")
    plain = command(package, results, "--format", "md")
    unknown = command(package, results, "--format", "outlin")

    assert (broken.returncode, broken.stdout) == (4, "")
    assert "'broken' cannot be loaded from nowhere:OUTLINE" in broken.stderr
    assert "Traceback" not in broken.stderr
    assert (plain.returncode, plain.stdout) == (0, report(results, "md"))
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "did you mean 'outline'?" in unknown.stderr


def test_a_file_registers_a_format_and_what_its_template_prints_is_escaped(
    package, results, registry
):
    register(
        ReportFormat(
            name="mine", suffix=".mine", write=template_writer(package / "outline.html.j2")
        )
    )
    evil = '<script>alert("x")</script> & \x1b[31m'
    out = io.StringIO()
    report_format("mine").write(named(results, evil), out)

    assert report(results, "mine").startswith("<h1>icc-ablations</h1>")
    assert format_of_suffix(".MINE") == report_format("mine")
    assert "<script" not in out.getvalue()
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; [31m" in out.getvalue()


def test_each_template_language_escapes_by_its_own_rule(results, tmp_path):
    found = {}
    for suffix, template in (
        ("html", "{{ study.name }}{% for c in study.name %}{% endfor %}"),
        ("md", "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(study.name) }}"),
        ("tex", r"\textbf{<< study.name >>}"),
    ):
        path = tmp_path / f"t.{suffix}.j2"
        path.write_text(template)
        out = io.StringIO()
        template_writer(path)(named(results, "a_<b> & 5%"), out)
        found[suffix] = out.getvalue().strip()

    assert found == {
        "html": "a_&lt;b&gt; &amp; 5%",
        "md": r"a\_\<b\> & 5%",
        "tex": r"\textbf{a\_\ensuremath{<}b\ensuremath{>} \& 5\%}",
    }


def test_names_are_given_once_and_a_row_has_one_writer(results, registry):
    with pytest.raises(UsageError, match="there is a report format 'md' already"):
        register(ReportFormat(name="md", write=template_writer("report.md.j2")))
    with pytest.raises(ValueError, match="needs one writer"):
        ReportFormat(name="none")
    with pytest.raises(ValueError, match="not 'txt'"):
        template_writer("report.txt.j2")


def test_an_entry_point_that_is_no_format_is_refused(package, registry, monkeypatch):
    entry_points = package / "outline-1.dist-info" / "entry_points.txt"
    entry_points.write_text("[icckd.report_formats]\nother = outline:OUTLINE\n")
    monkeypatch.syspath_prepend(str(package))

    with pytest.raises(MachineError, match="is not a ReportFormat of that name"):
        report_format("other")
