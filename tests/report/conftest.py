"""Test journals as in the store's tests."""

import pytest

from icckd.results.read import open_results
from tests.store.conftest import lab, planned

__all__ = ["lab"]


@pytest.fixture
def results(lab):
    """A study with a failed seed, a target never reached, a control, and no GPU metric."""
    with lab.finished("s1", planned()) as session:
        session.train_all(skip=[("no-cache", 2)])
        session.train(session.stage("no-cache", 2), end="failed", until=2)
        session.say(session.stage("no-cache", 2, 1), "blocked", reason="its teacher failed")
    with open_results(lab.folder) as found:
        yield found
