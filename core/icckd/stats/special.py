"""The distribution functions of scipy that statistics here need, without what nobody here uses.

`import scipy.special` makes a copy of NumPy's whole interface and reads the documentation of every
function, for arrays of other libraries: six sevenths of what the import takes. All functions are
made before that, by one compiled module of the package. Here that module is loaded, and the import
of the package given up where only the rest is left. Whoever imports `scipy.special` later gets the
whole of it, with the same functions.

A package whose import is given up can be seen by other threads that import it just then. So the
whole of it is imported where there are any.
"""

import importlib
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_PACKAGE = "scipy.special"
_FUNCTIONS = f"{_PACKAGE}._ufuncs"


class _GivenUp(Exception):  # noqa: N818  # no error: it ends an import that has all we need
    """The functions are loaded."""


class _FunctionsAlone:
    """Finds the package, and loads nothing of it but the functions."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the package is; None for any other module."""
        found = PathFinder.find_spec(name, path, target) if name == _PACKAGE else None
        if found is not None:
            found.loader = _FunctionsAlone  # type: ignore[assignment]  # all that Python asks of one
        return found

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Leave it to Python to make the module."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Load the functions, then give the package up."""
        importlib.import_module(_FUNCTIONS)
        raise _GivenUp


def _functions() -> Any:
    """Return the module of the functions, or the whole package."""
    if _PACKAGE not in sys.modules and threading.active_count() == 1:
        sys.meta_path.insert(0, _FunctionsAlone)
        try:
            importlib.import_module(_PACKAGE)
        except (_GivenUp, ImportError):  # the second of a scipy that keeps them elsewhere
            pass
        finally:
            sys.meta_path.remove(_FunctionsAlone)
    found = sys.modules.get(_FUNCTIONS)
    if found is not None:
        return found
    import scipy.special

    return scipy.special


_scipy = _functions()
bdtr = _scipy.bdtr
chdtri = _scipy.chdtri
nctdtr = _scipy.nctdtr
ndtr = _scipy.ndtr
ndtri = _scipy.ndtri
owens_t = _scipy.owens_t
stdtr = _scipy.stdtr
stdtrit = _scipy.stdtrit
