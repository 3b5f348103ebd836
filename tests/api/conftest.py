"""A study that was run from Python."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import icckd
from tests.support.executors import FRESH_PROCESS

SMALL = {
    "study": {
        "name": "small",
        "question": "Does the cache matter?",
        "baseline": "full",
        "metrics": ["teacher.top1", "student.convergence", "teacher.cache_bytes"],
        "seeds": 2,
    },
    "teacher": {"intra": {}, "training": {"epochs": 2}},
    "student": {"training": {"epochs": 2}},
    "arm": [{"name": "full"}],
    "ablation": [
        {
            "name": "Remove the cache",
            "arm": "no-cache",
            "part": "teacher.intra.cache",
            "action": "REMOVE",
            "metrics": ["student.top1"],
        }
    ],
}
"""The study `SMALL` of `tests/support/studies.py`, as a dictionary."""


@pytest.fixture(scope="session")
def ran(tmp_path_factory, fresh_process):
    """The small study, run by `icckd.run`; tests only read it."""
    home: Path = tmp_path_factory.mktemp("python") / ".icckd"
    by_itself = {"numerics": {"packing": "off"}}  # so that times and memory are measured
    study = icckd.Study.from_dict({**SMALL, **by_itself})
    found = icckd.run(study, executor=FRESH_PROCESS, jobs=2, home=home, progress=False)
    yield SimpleNamespace(home=home, study=study, found=found)
    found.close()
