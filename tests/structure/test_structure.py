"""The shape of the code base: what imports what, how large things may be, what is documented."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from icckd.spec import data, distiller_sum, models
from icckd.spec.metrics import OUTCOMES, SERIES
from icckd.spec.paths import tables_in
from icckd.spec.study import Study
from icckd.spec.training import Numerics

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "core" / "icckd").rglob("*.py"), *(ROOT / "icckd_tui").rglob("*.py")])
MODULE_LINES = 300
FUNCTION_LINES = 45
HEAVY = ("torch", "torchvision", "sklearn", "scipy.stats", "textual", "duckdb", "ray",
         "matplotlib", "prompt_toolkit", "tensorboard", "wandb", "mlflow", "trackio")  # fmt: skip


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("icckd.cli.main", ()),
        ("icckd.cli.planning", ("duckdb",)),
        ("icckd.cli.running", ("duckdb",)),
        ("icckd.results.read", ("duckdb",)),
        ("icckd.session.prepare", ()),
        ("icckd.resources", ()),
        ("icckd_tui.app", ("textual",)),
    ],
)
def test_no_heavy_package_is_imported_where_it_is_not_needed(module, allowed):
    loaded = modules_after(f"import {module}")

    assert {heavy for heavy in HEAVY if heavy in loaded} <= set(allowed)


def test_icckd_refuses_to_be_imported_as_core_icckd():
    done = subprocess.run(
        [sys.executable, "-c", "import core.icckd"], capture_output=True, text=True, cwd=ROOT
    )

    assert "never `import core.icckd`" in done.stderr
    assert not (ROOT / "core" / "__init__.py").exists()


def test_modules_stay_small():
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in SOURCES}

    assert {path: n for path, n in lengths.items() if n > MODULE_LINES} == {}


def test_functions_stay_small():
    long = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0]
                has_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
                start = (first.end_lineno or 0) if has_doc else node.lineno
                lines = (node.end_lineno or 0) - start
                if lines > FUNCTION_LINES:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines

    assert long == {}


@pytest.mark.parametrize(
    ("registry", "annotation"),
    [
        ("icckd.engine.data.datasets:DATASETS", data.Data),
        ("icckd.engine.models:MODELS", models.Model),
        ("icckd.engine.distillers:DISTILLERS", distiller_sum.Distiller),
    ],
)
def test_the_keys_of_a_plug_in_point_are_the_tags_of_its_settings(registry, annotation):
    module, name = registry.split(":")
    kinds = {
        kind
        for table in tables_in(annotation)
        for kind in get_args(table.model_fields["kind"].annotation)
    }

    assert set(getattr(importlib.import_module(module), name)) == kinds


def test_every_loss_of_the_teacher_has_settings_that_may_be_off():
    from icckd.engine.losses import LOSSES
    from icckd.spec.method import Method
    from icckd.spec.paths import off_state
    from icckd.spec.teacher import Teacher

    assert all(off_state(Method, f"teacher.{name}") for name in LOSSES)
    assert set(LOSSES) <= set(Teacher.model_fields)


def test_the_layout_in_a_stage_identity_is_the_one_the_engine_uses():
    import torch

    from icckd.engine.models import LAYOUT
    from icckd.plan import numerics_class

    names = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}

    for device, layout in LAYOUT.items():
        assert names[numerics_class(Numerics(), device).layout] is layout


def settings_keys(model: type[BaseModel]) -> set[str]:
    inner = (table for f in model.model_fields.values() for table in tables_in(f.annotation))
    return set(model.model_fields).union(*(settings_keys(table) for table in inner))


def test_every_key_of_the_study_file_is_documented():
    text = (ROOT / "docs" / "study-file.md").read_text() + (ROOT / "docs" / "method.md").read_text()
    words = set(re.findall(r"[a-z0-9_]+", text))

    assert settings_keys(Study) - words == set()


def test_every_metric_is_documented():
    text = (ROOT / "docs" / "metrics.md").read_text()

    assert {name for name in {*OUTCOMES, *SERIES} if f"`{name}`" not in text} == set()


def test_relative_links_in_the_documents_lead_somewhere():
    missing = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                missing.append(f"{page.name}: {target}")

    assert missing == []


def test_every_verb_is_in_the_readme():
    from icckd.cli.main import app

    text = (ROOT / "README.md").read_text()

    assert [c.name for c in app.registered_commands if f"icckd {c.name}" not in text] == []


def test_nothing_is_unpickled_but_by_readers_that_run_no_code():
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            called = ast.unparse(node.func)
            if called == "torch.load":
                options = {option.arg: ast.unparse(option.value) for option in node.keywords}
                found.append((path.name, called, options.get("weights_only")))
            elif called.split(".")[0] in ("pickle", "dill", "joblib", "marshal", "shelve"):
                found.append((path.name, called, None))

    assert [f for f in found if not f[1].endswith("UnpicklingError")] == [
        ("convert.py", "torch.load", "True")
    ]
