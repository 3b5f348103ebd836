"""Exports read back with the libraries of the tools they are for.

TensorBoard is among the development tools. The others come from their extras, in an environment of
their own: `uv venv X && uv pip install --python X/bin/python -e . pytest hypothesis wandb`, with
`"mlflow-skinny" "sqlalchemy<2.1" alembic` or `trackio` instead of `wandb`, then
`X/bin/python -m pytest -m long tests/report/test_export.py`.
"""

import doctest
import json
import math
import os
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icckd.cli.report import Tool
from icckd.errors import MachineError, UsageError
from icckd.report.export import EXPORTERS, export
from icckd.report.export import trackers as runs_module
from icckd.results.query import open_results
from tests.support.lab import planned

STUDY = "icc-ablations"


@dataclass
class Found:
    """A run as a tool's library reads it; tags as `name=value`."""

    group: str = ""
    config: dict[str, str] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    series: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    outcomes: dict[str, float] = field(default_factory=dict)
    never_reached: set[str] = field(default_factory=set)

    def take(self, name: str, epoch: int, value: float) -> None:
        if name.startswith("outcome/"):
            self.outcomes[name.removeprefix("outcome/")] = value
        else:
            self.series[name][epoch] = value


def expected(results) -> dict[str, Found]:
    """What the SQL views hold of each trial that has an attempt."""
    runs: dict[str, Found] = {}
    trials, _ = results.query("from trial where attempts > 0", rows=10_000)
    for row in trials.rows:
        trial = dict(zip(trials.columns, row, strict=True))
        tags = {f"{key}={trial[key]}" for key in ("arm", "seed", "role", "state")}
        runs[f"{trial['arm']}/{trial['seed']}"] = Found(group=STUDY, tags=tags)
    points, _ = results.query("select arm, seed, metric, epoch, value from curve", rows=100_000)
    for arm, seed, metric, epoch, value in points.rows:
        runs[f"{arm}/{seed}"].series[metric][epoch] = value
    values, _ = results.query("select arm, seed, metric, value from outcome", rows=100_000)
    for arm, seed, metric, value in values.rows:
        run = runs[f"{arm}/{seed}"]
        if math.isinf(value):
            run.never_reached.add(metric)
        else:
            run.outcomes[metric] = value
    return runs


def read_tensorboard(folder: Path) -> dict[str, Found]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    runs = {}
    for file in folder.rglob("events.out.tfevents.*"):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0}).Reload()
        group, *name = file.parent.relative_to(folder).parts
        run = runs["/".join(name)] = Found(group=group)
        content = events.PluginTagToContent("hparams")[metadata.SESSION_START_INFO_TAG]
        start = metadata.parse_session_start_info_plugin_data(content)
        for key, value in start.hparams.items():
            kind = value.WhichOneof("kind") or "null_value"
            plain = getattr(value, kind)
            run.config[key] = f"{plain:g}" if kind == "number_value" else str(plain)
        run.tags = {f"{key}={run.config[key]}" for key in ("arm", "seed", "role", "state")}
        assert start.group_name == "/".join(name)
        for tag in events.Tags()["scalars"]:
            for event in events.Scalars(tag):
                run.take(tag, event.step, event.value)
    return runs


def read_wandb(folder: Path) -> dict[str, Found]:
    runs = {}
    for file in folder.rglob("*.wandb"):
        text = subprocess.run(
            [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)],
            capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
        ).stdout  # fmt: skip
        name, run = _wandb_run([json.loads(line) for line in text.splitlines()])
        runs[name] = run
    return runs


def _wandb_run(records: list[dict]) -> tuple[str, Found]:
    header = next(record["run"] for record in records if record["type"] == "run")
    config = {k: str(v) for k, v in header["config"]["update"].items() if k != "_wandb"}
    run = Found(group=header["run_group"], config=config, tags=set(header["tags"]))
    states = [record["exit"].get("exit_code", 0) for record in records if record["type"] == "exit"]
    assert states == [int(config["state"] != "complete")]
    for record in records:
        if record["type"] == "history":
            item = record["history"]["item"]
            for name in {*item} - {"epoch", "_runtime", "_step", "_timestamp"}:
                run.take(name, item["epoch"], item[name])
        elif record["type"] == "summary":
            for name, value in record["summary"]["update"].items():
                if name.startswith("outcome/"):
                    run.take(name, 0, value)
    return header["display_name"], run


def read_mlflow(folder: Path) -> dict[str, Found]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(STUDY)
    runs = {}
    for stored in client.search_runs([experiment.experiment_id], max_results=1000):
        tags = stored.data.tags
        run = runs[stored.info.run_name] = Found(group=tags["group"], config=stored.data.params)
        run.tags = {f"{key}={tags[key]}" for key in ("arm", "seed", "role", "state")}
        assert stored.info.status == {"complete": "FINISHED", "failed": "FAILED"}[tags["state"]]
        for name in stored.data.metrics:
            for point in client.get_metric_history(stored.info.run_id, name):
                run.take(name, point.step, point.value)
    return runs


def read_trackio(folder: Path) -> dict[str, Found]:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    runs = {}
    for stored in trackio.Api().runs(STUDY):
        config = {key: str(value) for key, value in stored.config.items()}
        run = runs[stored.name] = Found(group=config["_Group"], config=config)
        run.tags = {f"{key}={config[key]}" for key in ("arm", "seed", "role", "state")}
        for row in SQLiteStorage.get_logs(STUDY, stored.name, run_id=stored.id):
            for name, value in row.items():
                if "." in name:
                    run.take(name, row["step"], value)
    return runs


READERS: dict[str, Callable[[Path], dict[str, Found]]] = {
    "tensorboard": read_tensorboard,
    "wandb": read_wandb,
    "mlflow": read_mlflow,
    "trackio": read_trackio,
}


OTHERS = [pytest.param(tool, marks=pytest.mark.long) for tool in READERS if tool != "tensorboard"]


def command(results, tool: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the real command on the state folder of some results."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "icckd.cli.main", "export", tool, "-o", str(folder)],
        env={**os.environ, "ICCKD_HOME": str(results.folder.root), **variables},
        capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("tool", ["tensorboard", *OTHERS])
def test_the_tool_reads_back_every_series_outcome_setting_and_tag(
    tool, results, tmp_path, monkeypatch
):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    pytest.importorskip(tool, reason=f"needs the extra export-{tool}")

    done = command(results, tool, tmp_path / "out")
    found, wanted = READERS[tool](tmp_path / "out"), expected(results)

    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "wrote 12 runs of icc-ablations" in done.stdout
    assert "11 complete, 1 failed" in done.stdout
    assert set(found) == set(wanted)
    assert sum(len(points) for run in wanted.values() for points in run.series.values()) > 200
    for name, run in wanted.items():
        assert found[name].group == run.group
        assert found[name].tags == run.tags
        assert found[name].series == {
            metric: pytest.approx(points, rel=1e-6) for metric, points in run.series.items()
        }
        assert found[name].outcomes == pytest.approx(run.outcomes, rel=1e-6)
        assert found[name].config["lr"] == "0.05"
        assert set(found[name].config.get("never_reached", "").split()) == run.never_reached
    assert wanted["no-cache/0"].never_reached >= {"teacher.convergence", "student.convergence"}


@pytest.mark.parametrize("tool", ["tensorboard", *OTHERS])
def test_an_export_opens_no_connection_whatever_the_environment_asks_for(tool, results, tmp_path):
    pytest.importorskip(tool, reason=f"needs the extra export-{tool}")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"), url)

        done = command(
            results, tool, tmp_path / "out", **proxies,
            WANDB_MODE="online", WANDB_BASE_URL=url, WANDB_API_KEY="0" * 40, WANDB_RUN_ID="one",
            MLFLOW_TRACKING_URI=url, TRACKIO_SERVER_URL=url, TRACKIO_WRITE_TOKEN="x",
        )  # fmt: skip

        assert done.returncode == 0, done.stderr
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert any((tmp_path / "out").iterdir())


@pytest.mark.parametrize("tool", EXPORTERS)
def test_a_tool_that_is_missing_is_named_with_its_extra(tool, results, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == tool]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, tool, None)

    with pytest.raises(MachineError, match=f"export to {tool} needs .*, which is not") as caught:
        export(results, results.study(), tool, tmp_path / "out")

    assert caught.value.hint == f"pip install 'icckd[export-{tool}]'"


def test_an_export_never_mixes_with_what_is_there(results, tmp_path):
    (tmp_path / "kept").write_text("mine")

    with pytest.raises(UsageError, match="is not empty"):
        export(results, results.study(), "tensorboard", tmp_path)

    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["kept"]


def test_a_place_that_cannot_be_written_is_one_clear_error(results, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(MachineError, match="cannot write /"):
        export(results, results.study(), "tensorboard", tmp_path / "file" / "out")


def test_trials_that_never_started_are_left_out_and_counted(lab, tmp_path):
    pytest.importorskip("tensorboard")
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.train(session.stage("full", 0), until=2, end="failed")
    with open_results(lab.folder) as results:
        done = command(results, "tensorboard", tmp_path / "out")

    assert "(1 failed; 7 trials that never started are left out)" in done.stdout
    assert set(read_tensorboard(tmp_path / "out")) == {"full/0"}


def test_a_study_in_which_nothing_started_has_nothing_to_export(lab, tmp_path):
    with lab.finished("s1", planned()):
        pass

    with (
        open_results(lab.folder) as results,
        pytest.raises(UsageError, match="no trial of study 'icc-ablations' was started"),
    ):
        export(results, results.study(), "tensorboard", tmp_path / "out")


def test_the_command_knows_every_tracker():
    assert set(get_args(Tool)) == set(EXPORTERS)


def test_nested_settings_become_dotted_paths():
    assert doctest.testmod(runs_module).failed == 0


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers()),
        lambda inner: st.dictionaries(st.from_regex(r"[a-z]{1,3}", fullmatch=True), inner),
        max_leaves=12,
    )
)
def test_flattened_settings_lose_no_leaf_and_invent_none(value):
    def leaves(table, path=()):
        if not isinstance(table, dict):
            return {".".join(path): table}
        return {k: v for n, x in table.items() for k, v in leaves(x, (*path, n)).items()}

    flat = runs_module.flattened({"root": value})

    assert set(flat) == set(leaves({"root": value}))
    for path, leaf in leaves({"root": value}).items():
        is_scalar = isinstance(leaf, (bool, int, str))
        assert flat[path] == leaf if is_scalar else json.loads(str(flat[path])) == leaf
