"""What each earlier version wrote is read for good: journals, archives, reports.

`tests/freeze.py` makes a folder of `tests/data/released` once a release. What came before archives
is in `tests/data/frozen` (`test_frozen_state.py`).
"""

import json
from pathlib import Path

import pytest

from icckd.journal.archive import restore_archive
from icckd.journal.audit import audit
from icckd.journal.folder import StateFolder
from tests.freeze import RELEASED, STUDIES
from tests.results.test_frozen_state import approximately, printed


@pytest.fixture(params=sorted(path.name for path in RELEASED.iterdir()))
def released(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Restore what a version wrote into a state folder; return its folder."""
    home = RELEASED / request.param
    for variable in ("ICCKD_HOME", "ICCKD_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    for study in STUDIES:
        restore_archive(StateFolder.current(), home / f"{study}.tar.zst")
    return home


@pytest.mark.slow
def test_its_studies_have_the_reports_of_then(
    released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for study in STUDIES:
        expected = json.loads((released / f"{study}.json").read_text())
        found = json.loads(printed(capsys, "report", study, "--format", "json"))
        assert found == approximately(expected)
    assert audit(StateFolder.current()).is_whole


def test_there_is_one_and_it_is_small() -> None:
    sizes = [sum(p.stat().st_size for p in home.iterdir()) for home in RELEASED.iterdir()]

    assert sizes
    assert max(sizes) < 100_000
