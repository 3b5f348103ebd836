"""Every viewer reads storage first: Python, the tools of `icckd mcp`, a browser's tab."""

import warnings

import pytest

import icckd
from icckd.api.reading import Reader
from icckd.configuration import StorageSettings
from icckd.journal.folder import StateFolder
from icckd.storage.mirror import Mirror
from icckd.storage.opening import open_storage
from tests.support.lab import Lab, planned


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A study in the storage of two machines, made on the other; what adds a trained seed to it."""
    storage = tmp_path / "storage"
    storage.mkdir()
    config = tmp_path / "config" / "icckd"
    config.mkdir(parents=True)
    (config / "config.toml").write_text(
        f'[storage]\nurl = "file://{storage}"\nseconds = 0.1\ntakeover_seconds = 1.0\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config.parent))
    settings = StorageSettings(url=f"file://{storage}")
    other = Lab(tmp_path / "other")

    def finish(session, seeds):
        with other.finished(session, planned(seeds=seeds)) as made:
            made.train_all()
        Mirror(open_storage(settings), other.folder, settings).push_rest()

    finish("s1", (0, 1))
    return storage, finish


def test_python_reads_storage_first_and_again_at_each_refresh(elsewhere, tmp_path):
    _, finish = elsewhere
    with icckd.results(home=tmp_path / "here") as found:
        assert found.study.seeds == (0, 1)
        finish("s2", (0, 1, 2))
        assert found.refresh()
        assert found.study.seeds == (0, 1, 2)
        assert found.progress.trials.complete == found.progress.trials.total


@pytest.mark.slow
def test_python_warns_where_storage_cannot_be_read_and_shows_what_is_here(elsewhere, tmp_path):
    storage, _ = elsewhere
    icckd.results(home=tmp_path / "here").close()
    storage.rename(tmp_path / "gone")

    with pytest.warns(UserWarning, match="shown is what this machine has: .* no such folder"):
        found = icckd.results(home=tmp_path / "here")

    with found:
        assert found.study.seeds == (0, 1)


@pytest.mark.slow
def test_the_tools_for_programs_read_storage_and_answer_without_it(elsewhere, tmp_path):
    storage, finish = elsewhere
    with Reader(StateFolder(tmp_path / "here")) as reader:
        [study] = reader.studies()["studies"]
        assert study["seeds"] == [0, 1]
        finish("s2", (0, 1, 2))
        reader._puller._read = float("-inf")  # the seconds of the settings are over
        [study] = reader.studies()["studies"]
        assert study["seeds"] == [0, 1, 2]
        storage.rename(tmp_path / "gone")
        reader._puller._read = float("-inf")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert reader.studies()["studies"] == [study]


@pytest.mark.long
def test_a_browsers_tab_shows_what_was_never_here(elsewhere, tmp_path):
    pytest.importorskip("aiohttp")
    from tests.support.browser import web_server
    from tests.tui.test_tui_web import shows, visit

    async def scenario(visitor):
        await visitor.log_in()
        async with visitor.connect("?width=120&height=40") as connection:
            await shows(connection, "icc-ablations", "storage read")

    with web_server(tmp_path / "here") as server:
        visit(server, scenario)
    assert "Traceback" not in "".join(server.lines)
