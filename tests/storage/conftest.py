"""Nothing here waits for a disk; what a power cut leaves is tested with real ones, in faults."""

import os

import pytest


@pytest.fixture(autouse=True, scope="module")
def no_disk_is_waited_for():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        patch.setattr(os, "fdatasync", lambda file: None)
        yield
