"""Test journals as in the store's tests."""

from tests.store.conftest import lab

__all__ = ["lab"]
