"""A state folder written by an earlier version reads the same for good (tests/data/frozen)."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from icckd.cli.main import main
from icckd.journal.events import EVENT
from icckd.journal.file import encode, read_chunk
from icckd.journal.folder import StateFolder
from icckd.results.export import export_views
from icckd.results.query import about_views, open_results
from icckd.study.arms import arms, family, outcome_columns
from icckd.study.load import load
from icckd.study.plan import digest_of
from tests.support.plans import plan_of

FROZEN = Path(__file__).parent.parent / "data" / "frozen"
EXPECTED = FROZEN / "expected"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    """Return the frozen folder, where a command finds it; made as it was before its first run."""
    shutil.copytree(FROZEN / "state", tmp_path / ".icckd")
    for variable in ("ICCKD_HOME", "ICCKD_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    found = StateFolder.current()
    found.create()
    return found


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what a command prints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["icckd", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
    output = capsys.readouterr()
    assert not end.value.code, output.err
    return output.out


COMMANDS = {
    **{
        f"report-{study}.{kind}": ("report", study, "--format", kind)
        for study in ("parts", "grid")
        for kind in ("md", "table", "csv", "html", "latex")
    },
    "status-parts.txt": ("status", "parts"),
    "status-grid.txt": ("status", "grid"),
    "ls.txt": ("ls",),
    "show-no-cache-matched.txt": ("show", "--study", "parts", "no-cache-matched"),
    "show-diverges-0.txt": ("show", "--study", "parts", "diverges/0"),
    "show-grid.txt": ("show", "--study", "grid", "cache=off+weight=1.5"),
    "logs.txt": ("logs", "--study", "parts"),
}


@pytest.mark.slow
def test_every_command_prints_what_it_printed_then(
    folder: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, arguments in COMMANDS.items():
        assert printed(capsys, *arguments) == (EXPECTED / name).read_text(), name


def approximately(value: Any) -> Any:
    """Return a JSON value whose numbers may differ in their last bits, as those of two CPUs do."""
    if isinstance(value, dict):
        return {key: approximately(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [approximately(inner) for inner in value]
    return pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value


def test_the_json_report_holds_the_same_numbers(
    folder: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    for study in ("parts", "grid"):
        expected = json.loads((EXPECTED / f"report-{study}.json").read_text())
        assert json.loads(printed(capsys, "report", study, "--format", "json")) == approximately(
            expected
        )


def rows(path: Path) -> list[Any]:
    """Return columns, their types, and rows of a Parquet file in an order of their own."""
    with duckdb.connect() as connection:
        about = connection.execute(f"describe from '{path}'").fetchall()
        found = connection.execute(f"from '{path}' order by all").fetchall()
    return [[column[:2] for column in about], [list(row) for row in found]]


def test_every_view_has_the_same_columns_types_and_rows(
    folder: StateFolder, tmp_path: Path
) -> None:
    written = export_views(folder, tmp_path / "views", "parquet").files
    assert {path.name for path in (EXPECTED / "views").iterdir()} <= {p.name for p in written}
    for path in sorted((EXPECTED / "views").iterdir()):
        about, expected = rows(path)
        about_now, now = rows(tmp_path / "views" / path.name)
        assert (path.stem, about_now) == (path.stem, [tuple(column) for column in about])
        assert (path.stem, now) == (path.stem, approximately(expected))
    assert len(about_views()) == len(written)


def journals() -> list[Path]:
    return sorted((FROZEN / "state").glob("*/*/journal.jsonl"))


def within(old: Any, new: Any) -> bool:
    """Whether all that an old value says is in the new one, which may say more in its tables."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and within(value, new[key]) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(within, old, new))
    return bool(old == new)


def test_every_line_is_an_event_that_would_be_written_with_the_same_fields_today() -> None:
    kinds = set()
    for path in journals():
        chunk = read_chunk(path)
        assert chunk.bad_lines == 0
        assert chunk.end == path.stat().st_size
        for line in chunk.lines:
            event = EVENT.validate_python(line.body)
            assert within(line.body, event.model_dump(mode="json")), (path, line.kind)
            raw = encode(line.kind, line.sequence, line.time, line.body)
            assert raw in path.read_bytes()
            kinds.add(line.kind)
    assert kinds >= set("hmolazHpsrZ")


def planned_then(study: str) -> list[tuple[str, dict[str, Any]]]:
    """Return revision and plan of every session of a study."""
    found = []
    for path in journals():
        if path.parent.parent.name == "sessions":
            header, plan, *_ = read_chunk(path).lines
            if header.body["study"] == study:
                found.append((header.body["revision"], plan.body))
    return found


def data_then() -> str:
    """Return the fingerprint of the digits that all attempts trained on."""
    attempts = (FROZEN / "state" / "attempts").glob("*/journal.jsonl")
    [found] = {read_chunk(path).lines[0].body["fingerprint"] for path in attempts}
    return str(found)


def test_the_study_files_say_what_they_said_and_come_to_other_stages_since_code_epoch_1() -> None:
    """The epoch changed what a teacher is by default: no digest of then can be had today."""
    for name in ("grid", "parts"):
        study = load(FROZEN / f"{name}.toml")
        found = arms(study)
        resolved = {
            **study.model_dump(mode="json"),
            "outcomes": list(outcome_columns(study)),
            "family": list(family(study, found)),
        }
        revision, plan = planned_then(name)[0]
        assert within(plan["study"], json.loads(json.dumps(resolved)))
        assert digest_of(plan["study"])[:16] == revision
        planned = [stage["digest"] for stage in plan["stages"]]
        today = plan_of(study, fingerprint=data_then()).stages
        assert len(today) == len(planned)
        assert not set(today) & set(planned)


def test_planning_a_study_again_says_how_many_stages_a_training_version_makes_anew(
    folder: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(FROZEN / "grid.toml", folder.root.parent)
    lines = printed(capsys, "plan", "grid.toml", "--device", "cpu").splitlines()

    assert [line.strip() for line in lines if "training version" in line] == [
        "training version 1 -> 3: 24 stages will be trained again, earlier results stay reportable"
    ]
    assert any(line.startswith("to train: 24 stages") for line in lines)


def test_what_sessions_did_is_read_from_their_journals(folder: StateFolder) -> None:
    with open_results(folder) as results:
        parts = results.study("parts")
        assert (parts.added, parts.seeds) == ((1,), (0, 1))
        assert [request.kind for request in results.requests(parts)] == ["cancel"]
        states = {(row.arm, row.seed): row.state for row in results.trials(parts)}
        assert states["diverges", 0] == "failed"
        assert results.progress(parts).session == "ended"
        assert [effect.name for effect in results.effects(results.study("grid"))] == [
            "cache=off",
            "weight=1.5",
            "cache=off x weight=1.5",
        ]


def test_the_sql_views_and_the_comparison_table_tell_the_same_means_and_differences(
    folder: StateFolder,
) -> None:
    columns = "arm, metric, n, mean, spread, median, difference"
    compared = 0
    with open_results(folder) as results:
        for name in ("parts", "grid"):
            study = results.study(name)
            answer, _ = results.query(
                f"select {columns} from comparison where study = '{name}'", rows=10_000
            )
            in_sql = {(row[0], row[1]): row[2:] for row in answer.rows}
            for row in results.comparisons(study):
                if row.n:
                    told = [row.n, row.mean, row.spread, row.median, row.difference]
                    assert told == approximately(list(in_sql[row.arm, row.metric]))
                    compared += row.difference is not None
    assert compared > 20
