"""What an attempt's header tells of versions and devices."""

from types import SimpleNamespace

import pytest

from icckd.run import attempt


@pytest.fixture
def asked(monkeypatch):
    """Counts how often the training code is asked for its versions."""
    calls = []
    engine = SimpleNamespace(environment=lambda: calls.append(1) or {"torch": "9"})
    monkeypatch.setattr(attempt, "load_engine", lambda: engine)
    attempt._engine_environment.cache_clear()
    yield calls
    attempt._engine_environment.cache_clear()


def test_versions_are_read_once_a_process_and_every_attempt_tells_them(asked):
    source = SimpleNamespace(environment=lambda: {"source": "s"})
    order = SimpleNamespace(stage=SimpleNamespace(is_task=False, source=source))

    told = [attempt._environment(order) for _ in range(3)]

    assert all(each["torch"] == "9" and each["source"] == "s" for each in told)
    assert len(asked) == 1
