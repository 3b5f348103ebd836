from tests.store.conftest import lab

__all__ = ["lab"]
