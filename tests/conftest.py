"""Settings of every test."""

from hypothesis import settings

# A busy machine is no reason for a property to fail.
settings.register_profile("icckd", deadline=None, derandomize=True)
settings.load_profile("icckd")
