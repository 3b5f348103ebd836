"""Folders in which the command is run."""

import pytest

from tests.support.desk import Desk
from tests.support.studies import SMALL


@pytest.fixture
def desk(tmp_path, fresh_process) -> Desk:
    made = Desk(tmp_path)
    made.write(SMALL)
    return made


@pytest.fixture(scope="session")
def finished(tmp_path_factory, fresh_process) -> Desk:
    """A desk on which the small study has run; tests must leave it as it is."""
    made = Desk(tmp_path_factory.mktemp("finished"))
    made.write(SMALL)
    made.first_run = made.train("run", "small.toml", "-j", "2")  # type: ignore[attr-defined]
    return made
