"""The interface of Python: what it offers, imports, runs, reads and shows."""

import ast
import json
import math
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from rich.console import Console

import icckd
from icckd.errors import Interrupted, MachineError, SpecError, UsageError
from icckd.results.query import open_results
from icckd.results.types import Comparison
from tests.api.conftest import SMALL
from tests.api.signatures import signatures
from tests.structure.test_structure import HEAVY, ROOT, modules_after
from tests.support.desk import SIGNALS, Desk
from tests.support.executors import FRESH_PROCESS
from tests.support.lab import Lab, planned
from tests.support.studies import SMALL as SMALL_TOML
from tests.support.waiting import wait_for

EVIL = "<script>alert(1)</script> \x1b[31m &"


# What there is.


def test_the_interface_is_the_one_that_programs_were_written_for():
    assert signatures() == (Path(__file__).parent / "signatures.txt").read_text()


def test_type_checkers_are_told_of_every_public_name():
    stub = ast.parse((ROOT / "core" / "icckd" / "__init__.pyi").read_text())
    named = {
        alias.asname for node in stub.body if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip

    assert {*named, "__version__"} == set(icckd.__all__)
    assert set(icckd.__all__) <= set(dir(icckd))


def test_importing_it_loads_nothing_heavy():
    light = modules_after("import icckd; dir(icckd)")
    used = modules_after("import icckd; icckd.Study; icckd.run.__call__; icckd.power(seeds=12)")

    assert light & {*HEAVY, "numpy", "pydantic", "jinja2", "rich", "scipy"} == set()
    assert used & {"torch", "torchvision", "textual", "matplotlib", "pandas", "mcp"} == set()


def test_packages_of_the_same_name_stay_packages():
    import icckd.results.types as types
    import icckd.run.session as session

    assert session.Session.__module__ == "icckd.run.session"
    assert types.Comparison is Comparison
    assert icckd.run.session is session
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        icckd.nothing  # noqa: B018


# Studies and plans.


def test_a_study_of_a_dictionary_is_that_of_the_file(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(SMALL_TOML)

    from_file, from_dict = icckd.Study.load(file), icckd.Study.from_dict(SMALL)

    assert from_dict.to_dict() == from_file.to_dict()
    assert (from_dict.name, from_dict.baseline, from_dict.seeds) == ("small", "full", (0, 1))
    assert [arm.name for arm in from_dict.arms] == ["full", "no-cache"]
    overridden = icckd.Study.load(str(file), ["study.seeds.count=5"])
    assert overridden.seeds == (0, 1, 2, 3, 4)


def test_a_dictionary_may_hold_what_python_has(tmp_path):
    import numpy as np

    study = {**SMALL["study"], "seeds": np.int64(3), "metrics": ("student.top1",)}

    assert icckd.Study.from_dict({**SMALL, "study": study}).seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": {**SMALL["study"], "basline": "full"}}, "basline"),
        ({"study": {**SMALL["study"], "baseline": "ful"}}, "full"),
        ({"teacher": {"training": {"epochs": object()}}}, "epochs"),
        ({"arm": {"name": "full"}}, "arm"),
    ],
)
def test_a_dictionary_that_is_no_study_gives_one_error_that_names_the_key(change, message):
    with pytest.raises(SpecError) as caught:
        icckd.Study.from_dict({**SMALL, **change}).plan()

    assert message in f"{caught.value.message} {caught.value.hint}"


def test_a_dictionary_without_an_end_is_refused():
    endless: dict[str, object] = {}
    endless["study"] = endless

    with pytest.raises(SpecError, match="nest without end"):
        icckd.Study.from_dict(endless)


def test_a_plan_shows_what_the_command_prints(tmp_path):
    desk = Desk(tmp_path)
    desk.write(SMALL_TOML)
    plan = icckd.Study.from_dict(SMALL).plan(device="cpu", home=tmp_path / ".icckd")

    assert f"{plan}\n" == desk.run("plan", "small.toml", "--device", "cpu").stdout
    assert (plan.trials, plan.stages, plan.complete, plan.seconds) == (4, 8, 0, None)
    assert plan.power.seeds == 2
    assert "study small: 2 arms x 2 seeds" in plan._repr_html_()
    with pytest.raises(UsageError, match="no kind of device"):
        icckd.Study.from_dict(SMALL).plan(device="tpu")


# Running.


def test_a_run_from_python_is_a_run_of_the_command(ran, tmp_path):
    desk = Desk(tmp_path, environment={"ICCKD_HOME": str(ran.home)})
    desk.write(f'{SMALL_TOML}\n[numerics]\npacking = "off"\n')
    plan = desk.run("plan", "small.toml", "--device", "cpu").stdout

    assert plan.count("4 already complete") == 2
    assert desk.run("report", "small").stdout == ran.found.report()
    [session] = ran.home.glob("sessions/*/journal.jsonl")
    assert b'"icckd.run","small"' in session.read_bytes()
    assert ran.study.plan(home=ran.home).complete == 8


def test_progress_goes_to_standard_error_and_nothing_is_trained_twice(ran, capsys):
    found = icckd.run(ran.study, executor=FRESH_PROCESS, home=ran.home)

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "study small: 0 of 8 stages to train" in printed.err
    assert found.comparisons == ran.found.comparisons
    found.close()


def test_signals_are_as_before_after_a_run(ran):
    before = [signal.getsignal(number) for number in SIGNALS]

    icckd.run(ran.study, executor=FRESH_PROCESS, home=ran.home, progress=False).close()

    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_run_in_a_thread_leaves_signals_alone(ran):
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(
            icckd.run, ran.study, executor=FRESH_PROCESS, home=ran.home, progress=False
        ).result()

    assert found.comparisons == ran.found.comparisons
    found.close()


def test_a_study_of_ones_own_code_is_planned_from_a_dictionary(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def train(config, run):\n    run.log(acc=config.lr)\n")
    monkeypatch.chdir(tmp_path)
    study = icckd.Study.from_dict(
        {
            "study": {"name": "mine", "baseline": "full", "primary": "task.acc", "seeds": 2},
            "task": {
                "entry": "mine.py:train",
                "config": {"lr": 0.1},
                "metrics": {"acc": {"direction": "higher"}},
            },
            "arm": [{"name": "full"}, {"name": "fast", "set": {"task.config.lr": 1.0}}],
        }
    )

    plan = study.plan()
    assert (plan.trials, plan.stages) == (4, 4)
    assert "mine.py" in str(plan)


def test_options_that_are_not_possible_are_refused(ran):
    for options in ({"jobs": 0}, {"device": "tpu"}, {"executor": "nobody"}):
        with pytest.raises(UsageError):
            icckd.run(ran.study, home=ran.home, progress=False, **options)


@pytest.mark.slow
def test_an_interrupted_run_raises_and_the_same_call_resumes(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL_TOML.replace("epochs = 2", "epochs = 12"))
    script = (
        "import icckd, signal\n"
        "from icckd.errors import Interrupted\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
        "try:\n    icckd.run('small.toml', jobs=1)\n"
        "except Interrupted as error:\n    print(error.hint)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(lambda: list(tmp_path.glob(".icckd/attempts/*/journal.jsonl")))
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)

    assert out == "the same call resumes where it stopped\n", err
    assert "finishing the running stages" in err
    with icckd.results("small", home=tmp_path / ".icckd") as found:
        complete = found.progress.stages.complete
        assert 0 < complete < 8
    assert Interrupted.exit_code == 130


@pytest.mark.slow
def test_results_are_read_while_another_process_runs_the_study(desk):
    desk.write(desk.small.replace("epochs = 2", "epochs = 8"))
    session = desk.start_forked("run", "small.toml", "-j", "2")
    wait_for(lambda: list(desk.state.glob("attempts/*/journal.jsonl")))
    with icckd.results("small", home=desk.state) as found:
        assert found.progress.session == "live"
        before = found.progress.stages.complete
        session.communicate(timeout=240)
        found.refresh()
        assert found.progress.stages.complete == 8 > before
        assert found.outcomes().rows


@pytest.fixture
def desk(tmp_path, fresh_process) -> Desk:
    made = Desk(tmp_path)
    made.write(SMALL_TOML)
    return made


# Results.


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results with verdicts; tests only read them."""
    home = tmp_path_factory.mktemp("lab") / ".icckd"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        patch.setattr(os, "fdatasync", lambda file: None)
        lab = Lab(home)
        with lab.finished("s1", planned(seeds=range(8))) as session:
            session.train_all()
    with icckd.results(home=home) as found:
        yield found


def test_results_are_those_of_the_report(made):
    with open_results(made._results.folder) as opened:
        study = opened.study()
        assert made.comparisons == opened.comparisons(study)
        assert made.study == study
        report = json.loads(made.report("json"))

    assert made.comparison("no-margin").verdict == "helps"
    assert [row["verdict"] for row in report["comparisons"]] == [
        row.verdict for row in made.comparisons
    ]
    assert made.to_latex() == made.report("latex")
    assert r"\toprule" in made.to_latex()
    assert made.to_markdown().startswith("## ")
    assert made.to_html().startswith("<!doctype html>")
    assert len(made.trials) == 32
    assert made.warnings == tuple(report["warnings"])
    assert made.notes == tuple(report["notes"])
    assert "teacher" in made.methods
    assert made.threats
    assert made.effects == ()


def test_tables_are_data_frames_of_each_library(made):
    frame = made.outcomes()
    pandas, polars, arrow = frame.to_pandas(), frame.to_polars(), frame.to_arrow()

    assert isinstance(pandas, pd.DataFrame)
    assert isinstance(polars, pl.DataFrame)
    assert isinstance(arrow, pa.Table)
    assert frame.columns == ("metric", "arm", "seed", "value")
    assert (
        frame.rows == tuple(polars.iter_rows()) == tuple(pandas.itertuples(index=False, name=None))
    )
    assert arrow.to_pylist() == frame.to_dicts()
    assert polars.schema == {
        "metric": pl.String, "arm": pl.String, "seed": pl.Int64, "value": pl.Float64
    }  # fmt: skip
    top1 = pandas[(pandas.metric == "student.top1") & (pandas.arm == "full")].value
    assert math.isclose(top1.mean(), made.comparison("full").mean)


def test_records_have_the_types_of_their_fields_even_where_nothing_is_known(made):
    schema = made.comparison_table().to_polars().schema
    trials = made.trial_table().to_polars()

    assert schema["p_equivalence_adjusted"] == pl.Float64
    assert schema["verdict"] == pl.String
    assert trials.height == 32
    assert trials.schema["difference"] == pl.Float64


def test_series_are_those_that_were_asked_for(made):
    every, one = made.series(), made.series("teacher.val_top1")

    assert {row["metric"] for row in one.to_dicts()} == {"teacher.val_top1"}
    assert len(one) == 4 * 8 * 4  # arms, seeds, epochs
    assert len(every) > len(one)


def test_sql_reads_and_cannot_change_anything(made):
    assert made.sql("select count(*) as n from trial").to_dicts() == [{"n": 32}]
    assert made.sql("select 1 as a").to_pandas().a.tolist() == [1]
    for statement in (
        "delete from attempt",
        "copy (select 1) to '/tmp/x.csv'",
        "select 1; select 2",
    ):
        with pytest.raises(UsageError, match="SQL"):
            made.sql(statement).rows  # noqa: B018
        with pytest.raises(UsageError, match="SQL"):
            made.sql(statement).to_pandas()
    with pytest.raises(UsageError):
        made.sql("from read_text('/etc/passwd')").to_dicts()


@pytest.mark.parametrize(
    ("package", "method"),
    [
        ("pandas", "to_pandas"),
        ("polars", "to_polars"),
        ("pyarrow", "to_polars"),
        ("pyarrow", "to_arrow"),
    ],
)
def test_a_library_that_is_not_installed_is_named(made, monkeypatch, package, method):
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MachineError, match=f"needs the package {package}") as caught:
        getattr(made.trial_table(), method)()
    assert f"pip install {package}" in caught.value.hint


def test_what_is_not_there_is_named(made, tmp_path):
    with pytest.raises(UsageError, match="has no comparison of 'no-margn'") as caught:
        made.comparison("no-margn")
    assert "no-margin" in caught.value.hint
    with pytest.raises(UsageError, match="no comparison"):
        made.comparison("no-margin", "student.top2")
    with pytest.raises(UsageError, match="no study in"):
        icckd.results("s", home=tmp_path)
    with pytest.raises(UsageError, match="'other'"):
        icckd.results("other", home=made._results.folder.root)
    with pytest.raises(UsageError, match="no report format"):
        made.report("docx")


# Shown.


def test_a_notebook_and_a_terminal_show_answers_verdicts_and_comparison(made):
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        console.print(made)
    terminal, notebook = console.export_text(), made._repr_html_()

    for answer in made.answers:
        assert " ".join(answer.split()[:4]) in terminal
        assert answer.replace("<", "&lt;") in notebook
    for text in ("Verdicts on student.top1", "no-margin", "the part helps", "Comparison"):
        assert text in terminal
        assert text in notebook
    assert "<svg" in notebook
    assert "http" not in notebook
    assert repr(made).startswith("<StudyResults of 'icc-ablations'")
    assert "<td>no-margin</td>" in made.trial_table()._repr_html_()
    assert "<p>32 rows</p>" in made.trial_table()._repr_html_()


def test_names_that_mean_harm_are_shown_as_they_are(lab):
    plan = planned()
    study = {**plan.study, "study": {**plan.study["study"], "question": EVIL}}
    with lab.finished("s1", plan.model_copy(update={"study": study})) as session:
        session.train_all()
    with icckd.results(home=lab.folder.root) as found:
        console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
        with console.file:
            console.print(found)
        page = found._repr_html_()

    assert "<script" not in page
    assert "\x1b[31m" not in page
    assert "\x1b" not in console.export_text()


def test_figures_are_shown_and_saved(made, ran, tmp_path):
    forest, curves = made.plot(), made.plot("curves", "student.val_top1")

    assert forest._repr_png_().startswith(b"\x89PNG")
    assert "no-margin" in forest.save(tmp_path / "forest.svg").read_text()
    assert curves.figure.axes[0].get_ylabel() == "student.val_top1 (%)"
    assert made.plot("heatmap").figure.axes
    assert ran.found.plot("cost").figure.axes[0].get_xlabel().startswith("training time")
    with pytest.raises(UsageError, match="nothing to draw yet"):
        made.plot("cost")
    with pytest.raises(UsageError, match="no figure 'pie'"):
        made.plot("pie")
    with pytest.raises(UsageError, match="no series 'x'"):
        made.plot("curves", "x")


@pytest.mark.slow
def test_every_figure_is_saved_in_every_format(made, tmp_path):
    files = made.save_figures(tmp_path / "all")

    assert {path.suffix for path in files} == {".pdf", ".svg", ".png"}
    assert {"forest.pdf", "heatmap.svg"} <= {path.name for path in files}


@pytest.mark.parametrize("option", [{"mix": "yes"}, {"first": "seed"}])
def test_an_option_of_other_words_is_refused_before_anything_is_made(option, tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(SMALL_TOML)
    [(name, word)] = option.items()

    with pytest.raises(UsageError, match=f"{name} = '{word}' is none of"):
        icckd.run(file, home=tmp_path / "state", **option)

    assert not (tmp_path / "state").exists()
