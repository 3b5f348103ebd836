"""What the reference says comes from the code, all of it."""

import re
import runpy
from pathlib import Path

import pytest

import icckd
from icckd import variables
from icckd.cli.main import app
from icckd.results.database import VIEWS
from tests.structure.test_structure import settings_keys

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def made():
    pages = runpy.run_path(str(ROOT / "docs" / "reference.py"))["PAGES"]
    return {name: make() for name, make in pages.items()}


def test_each_page_that_is_made_has_a_place(made):
    places = {
        p.stem: re.findall(r"```\{from-code\} (.*)", p.read_text()) for p in REFERENCE.glob("*.md")
    }

    assert places == {name: [name] for name in made}


def test_every_key_of_a_study_file_is_there_with_a_type(made):
    from icckd.study.model import Study

    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", made["keys"], re.M)

    assert settings_keys(Study) - {name for name, _ in rows} == set()
    untyped = [name for name, kind in rows if kind.strip() in ("", "–", "any value")]
    assert untyped == ["item"]  # what an ablation plan asks for may be of any type


def test_a_link_from_a_key_to_a_table_leads_to_it(made):
    wanted = set(re.findall(r"\(#(table-[\w-]+)\)", made["keys"]))

    assert len(wanted) > 50
    assert wanted <= set(re.findall(r"^\((table-[\w-]+)\)=", made["keys"], re.M))


def test_defaults_units_and_sources_are_those_of_the_models(made):
    temperature = next(r for r in made["keys"].splitlines() if "tau of the contrastive" in r)

    assert temperature.startswith("| `temperature` | number > 0 | `0.1` | 1 |")
    assert "arXiv 1503.02531" in made["keys"]


def test_every_verb_view_event_and_variable_is_there(made):
    events = re.findall(
        r'k: Literal\["(\w)"\]', (ROOT / "core/icckd/journal/events.py").read_text()
    )

    verbs = [command.name for command in app.registered_commands]
    assert [v for v in verbs if f"### icckd {v}\n" not in made["commands"]] == []
    assert [v for v in VIEWS if f"## {v}\n" not in made["views"]] == []
    assert [e for e in events if f"`k` = `{e}`" not in made["events"]] == []
    assert [v for v in variables._READERS if f"`{v}`" not in made["environment"]] == []
    names = [name for name in icckd.__all__ if callable(getattr(icckd, name))]
    assert [n for n in names if f"## icckd.{n}\n" not in made["python"]] == []
    codes = re.findall(r"^\| (\d+) ", made["exit-codes"], re.M)
    assert codes == ["0", "1", "2", "3", "4", "6", "130"]
