"""NumPy and SciPy as the command line imports them: each with one thread of OpenBLAS.

OpenBLAS starts a thread for every core while it is loaded, and each of them spins before it sleeps:
a quarter of the CPU time of `icckd report` on two cores, and more where there are more. No command
multiplies matrices that would repay them.

OpenBLAS reads the number from the environment, and what a command starts inherits that: a user's
own training must not be left with one thread. So the variable is set while the libraries are
imported, and at no other time. Programs that import icckd keep their threads.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

THREADS = "OPENBLAS_NUM_THREADS"
_LOADING = frozenset(("numpy", "scipy.linalg._fblas", "scipy.special._ufuncs"))
"""The modules whose import loads a copy of OpenBLAS."""


class _OneThread:
    """Finds those modules as Python does, and has them loaded with one thread."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module of OpenBLAS is; None for any other, which the next finder finds."""
        found = PathFinder.find_spec(name, path, target) if name in _LOADING else None
        if found is None or found.loader is None:
            return None
        for step in ("create_module", "exec_module"):
            setattr(found.loader, step, _alone(getattr(found.loader, step)))
        return found


def one_thread() -> None:
    """Let later imports in this process load OpenBLAS with one thread, if nobody said how many."""
    if THREADS not in os.environ and _OneThread not in sys.meta_path:
        sys.meta_path.insert(0, _OneThread)


def _alone(load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def with_one_thread(argument: Any) -> Any:
        with _told():
            return load(argument)

    return with_one_thread


@contextlib.contextmanager
def _told() -> Iterator[None]:
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        os.environ.pop(THREADS, None)
