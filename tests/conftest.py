"""Settings of every test."""

import os

from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # processes beside each other: a thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no reason for a property to fail.
settings.register_profile("icckd", deadline=None, derandomize=True)
settings.load_profile("icckd")
