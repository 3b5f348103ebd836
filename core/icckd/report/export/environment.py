"""The environment that a tracker's library sees while it writes."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def only(prefixes: tuple[str, ...], wanted: Mapping[str, str]) -> Iterator[None]:
    """Replace the variables with these prefixes by those given, and put them back afterwards.

    What a user has set for their own training, a server or a run's identity say, must not decide
    where an export goes.
    """
    before = dict(os.environ)
    for name in before:
        if name.startswith(prefixes):
            del os.environ[name]
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
