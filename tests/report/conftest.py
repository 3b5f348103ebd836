"""Results that a report is made of."""

import os

import pytest

from icckd.results.query import open_results
from tests.support.lab import Lab, planned


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """A study with a failed seed, a target never reached, a control, and no GPU metric.

    Tests only read it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        patch.setattr(os, "fdatasync", lambda file: None)
        lab = Lab(tmp_path_factory.mktemp("report") / ".icckd")
        _train(lab)
    with open_results(lab.folder) as found:
        yield found


def _train(lab):
    with lab.finished("s1", planned()) as session:
        session.train_all(skip=[("no-cache", 2)])
        session.train(session.stage("no-cache", 2), end="failed", until=2)
        session.say(session.stage("no-cache", 2, 1), "blocked", reason="its teacher failed")
