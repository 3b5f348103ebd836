"""The distribution functions of scipy that statistics here need, without what nobody here uses.

Importing `scipy.special` looks at every public name of numpy. numpy loads some of its packages only
when their name is looked at, among them its Fortran compiler and its tools for tests: half of what
the import takes, and nothing here calls either. They are put off until something does
(`importlib.util.LazyLoader`); the functions are scipy's own.
"""

import importlib.util
import sys

import numpy as np

_PUT_OFF = ("f2py", "testing")


def _put_off(name: str) -> None:
    """Let a package of numpy be loaded when something of it is used, not when it is named."""
    whole = f"numpy.{name}"
    found = None if whole in sys.modules else importlib.util.find_spec(whole)
    if found is None or found.loader is None:
        return
    found.loader = importlib.util.LazyLoader(found.loader)
    module = importlib.util.module_from_spec(found)
    sys.modules[whole] = module
    found.loader.exec_module(module)
    setattr(np, name, module)


for _name in _PUT_OFF:
    _put_off(_name)

from scipy.special import (  # noqa: E402  # after what its import is to find
    bdtr,
    chdtri,
    nctdtr,
    ndtr,
    ndtri,
    owens_t,
    stdtr,
    stdtrit,
)

__all__ = ["bdtr", "chdtri", "nctdtr", "ndtr", "ndtri", "owens_t", "stdtr", "stdtrit"]
