"""The shape of the code base: what imports what, how large things may be, what is documented."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from icckd.study import data, distillers, network
from icckd.study.metrics import OUTCOMES, SERIES
from icckd.study.model import Study
from icckd.study.paths import tables_in
from icckd.study.training import Numerics

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "core" / "icckd").rglob("*.py"), *(ROOT / "icckd_tui").rglob("*.py")])
HEAVY = ("torch", "torchvision", "sklearn", "scipy.stats", "textual", "duckdb", "ray",
         "matplotlib", "prompt_toolkit", "tensorboard", "wandb", "mlflow",
         "trackio", "mcp")  # fmt: skip


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
        ("icckd.api.planning", ("duckdb",)),
        ("icckd.cli.run", ("duckdb",)),
        ("icckd.results.query", ("duckdb",)),
        ("icckd.run.prepare", ()),
        ("icckd.resources", ()),
        ("icckd_tui.app", ("textual",)),
    ],
)
def test_no_heavy_package_is_imported_where_it_is_not_needed(module, allowed):
    loaded = modules_after(f"import {module}")

    assert {heavy for heavy in HEAVY if heavy in loaded} <= set(allowed)


def test_the_command_line_its_formats_and_numbers_load_no_package_that_takes_time():
    loaded = modules_after("import icckd.report.numbers, icckd.report.formats, icckd.cli.main")

    assert loaded & {*HEAVY, "numpy", "pydantic", "jinja2", "icckd.resources"} == set()


def test_icckd_refuses_to_be_imported_as_core_icckd():
    done = subprocess.run(
        [sys.executable, "-c", "import core.icckd"], capture_output=True, text=True, cwd=ROOT
    )

    assert "never `import core.icckd`" in done.stderr
    assert not (ROOT / "core" / "__init__.py").exists()


@pytest.mark.parametrize("base", [data.Data, network.Model, distillers.Distiller])
def test_a_setting_takes_every_registered_kind_and_no_other(base):
    kinds = [kind for table in tables_in(base) for kind in names_of(table)]

    assert kinds == list(base.registry)


def names_of(table):
    return get_args(table.model_fields["kind"].annotation)


def test_every_loss_of_the_teacher_has_settings_that_may_be_off():
    from icckd.study.model import Method
    from icckd.study.paths import off_state
    from icckd.study.teacher import TEACHER_LOSSES, Teacher

    assert all(off_state(Method, f"teacher.{name}") for name in TEACHER_LOSSES)
    assert set(TEACHER_LOSSES) <= set(Teacher.model_fields)


def test_the_layout_in_a_stage_identity_is_the_one_the_engine_uses():
    import torch

    from icckd.study.numerics import numerics_class
    from icckd.train.networks import build_model, memory_format
    from icckd.train.networks.cnn import CnnModel

    names = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}

    for device, precision in [("cpu", "bf16"), ("cuda", "fp32"), ("cuda", "bf16")]:
        declared = names[numerics_class(Numerics(precision=precision), device).layout]
        assert memory_format(device, precision) is declared
    model = build_model(CnnModel(), in_channels=3, n_classes=2, key=("a",), device="cpu")
    assert model.block1.conv.weight.is_contiguous(memory_format=torch.channels_last)


def settings_keys(model: type[BaseModel]) -> set[str]:
    inner = (table for f in model.model_fields.values() for table in tables_in(f.annotation))
    return set(model.model_fields).union(*(settings_keys(table) for table in inner))


TRIVIAL_LINES = 8
"""A public function of up to so many lines may let its name and types speak for it."""


def test_every_public_function_that_is_not_trivial_has_a_docstring():
    missing = []
    for path in SOURCES:
        for scope in ast.walk(ast.parse(path.read_text())):
            if not isinstance(scope, ast.Module | ast.ClassDef) or is_private(scope):
                continue
            missing += [
                f"{path.relative_to(ROOT)}: {each.name}"
                for each in scope.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                and not is_private(each)
                and each.end_lineno - each.body[0].lineno >= TRIVIAL_LINES
                and ast.get_docstring(each) is None
                and not (each.name == "compose" or each.name.startswith("on_"))  # Textual's hooks
            ]

    assert missing == []


def is_private(node: ast.AST) -> bool:
    return getattr(node, "name", "").startswith("_")


def test_every_key_of_the_study_file_is_documented():
    pages = ("study-file", "method", "distillers")
    text = "".join((ROOT / "docs" / f"{page}.md").read_text() for page in pages)
    words = set(re.findall(r"[a-z0-9_]+", text))

    assert settings_keys(Study) - words == set()


def test_every_metric_is_documented():
    text = (ROOT / "docs" / "metrics.md").read_text()

    assert {name for name in {*OUTCOMES, *SERIES} if f"`{name}`" not in text} == set()


def test_the_tables_of_the_documents_are_made_from_the_registries():
    tables = runpy.run_path(str(ROOT / "docs" / "tables.py"))
    pages = [page for page in (ROOT / "docs").glob("*.md") if "<!-- table: " in page.read_text()]

    assert len(pages) == 5
    assert [p.name for p in pages if tables["filled"](p.read_text()) != p.read_text()] == []


def test_relative_links_in_the_documents_lead_somewhere():
    missing = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                missing.append(f"{page.name}: {target}")

    assert missing == []


def test_every_verb_is_in_the_readme_and_explained():
    from icckd.cli.main import app

    verbs = [command.name for command in app.registered_commands]
    for page in ("README.md", "docs/verbs.md"):
        text = (ROOT / page).read_text()
        assert [verb for verb in verbs if f"icckd {verb}" not in text] == [], page


def test_the_readme_is_short_and_its_answer_is_a_recorded_one():
    readme = (ROOT / "README.md").read_text()
    answer = readme.split("```text\n")[1].split("```")[0]

    assert len(readme.splitlines()) <= 120
    assert len(answer.splitlines()) >= 10
    recorded = (ROOT / "docs" / "results" / "ablations.md").read_text().splitlines()
    assert [line for line in answer.splitlines() if line not in recorded] == []


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


ERRORS = {
    "MachineError", "UsageError", "SpecError", "StageError", "DataError", "GateError",
    "Interrupted",
}  # fmt: skip
LEAST_WORDS = 10
"""Letters below which the fixed part of a message says too little to be looked up."""


def fixed_part(message):
    """Return the longest part of a message that is the same wherever it is shown."""
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    texts = [part.value for part in parts if isinstance(part, ast.Constant)]
    texts = [" ".join(re.split("[`\n]", str(text))[0].split()).lstrip(" :,);") for text in texts]
    return max(texts, key=len, default="")[:24]


def test_every_message_of_an_error_stands_in_troubleshooting():
    told = " ".join((ROOT / "docs" / "troubleshooting.md").read_text().split())
    absent = [
        f"{path.name}:{node.lineno} {words}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args
        if node.func.id in ERRORS and len(words := fixed_part(node.args[0])) >= LEAST_WORDS
        if words not in told
    ]

    assert absent == []
