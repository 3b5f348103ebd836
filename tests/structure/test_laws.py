"""docs/laws.md names tests that exist, and code cites laws that exist."""

import ast
import re
from pathlib import Path

from icckd.study.metrics import METRICS, SERIES

ROOT = Path(__file__).parents[2]
LAWS = (ROOT / "docs" / "laws.md").read_text()


def test_every_law_names_tests_that_exist():
    numbers = re.findall(r"^(\d+)\. \*\*", LAWS, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 11)]
    for law in re.split(r"^\d+\. \*\*", LAWS, flags=re.MULTILINE)[1:]:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", law)
        assert named, law[:60]
        for path, name in named:
            tree = ast.parse((ROOT / path).read_text())
            functions = (ast.FunctionDef, ast.AsyncFunctionDef)
            assert name in {n.name for n in tree.body if isinstance(n, functions)}, (path, name)


def test_a_law_is_cited_by_its_number_and_place():
    cited = 0
    for path in [*(ROOT / "core").rglob("*.py"), *(ROOT / "icckd_tui").rglob("*.py")]:
        for number, place in re.findall(r"\blaw (\d+)(, docs/laws\.md)?", path.read_text()):
            assert 1 <= int(number) <= 10, path
            assert place, f"{path}: cite it as `design law {number}, docs/laws.md`"
            cited += 1
    assert cited >= 2


def test_no_series_is_measured_on_the_test_images():
    """Design law 4: only validation is looked at while training."""
    assert all("test" not in metric.about for metric in SERIES.values())
    rows = [row for part in METRICS.parts() for row in part.options["rows"]]
    assert rows
    assert all(".val_" in row.name for row in rows if row.recorded == "series")
