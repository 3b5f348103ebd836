"""torch for files that are imported without it.

A part has its settings and its code in one file, and `icckd plan` reads the settings of all parts.
Such files take torch from here. The names stand for the modules, which are imported when something
of them is first used. Classes derive from `Module`: torch's own becomes one of their bases when the
first object is made.
"""

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class _Lazy(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what only looks at modules imports nothing
            raise AttributeError(name)
        return getattr(_imported(self.__name__), name)


@functools.cache
def _imported(name: str) -> ModuleType:
    return importlib.import_module(name)  # 3 us even where it is there; a step asks fifty times


def lazy_module(name: str) -> ModuleType:
    """Return a stand-in for a module, which is imported when something of it is first used."""
    return _Lazy(name)


if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Generator, Tensor, nn
    from torch.nn import functional

    Module = nn.Module
else:

    class _TensorType(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, torch.Tensor)

    class Tensor(metaclass=_TensorType):
        """Stands for `torch.Tensor` in annotations and for `isinstance`."""

    Generator = Any

    np = lazy_module("numpy")
    torch, nn, functional = _Lazy("torch"), _Lazy("torch.nn"), _Lazy("torch.nn.functional")

    class Module:
        """A `torch.nn.Module` in a file that is imported without torch."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            """Return a new object of the class and of `torch.nn.Module`."""
            return object.__new__(_with_torch(cls))

    @functools.cache
    def _with_torch(cls: type) -> type:
        if issubclass(cls, nn.Module):
            return cls
        names = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
        return type(cls)(cls.__name__, (cls, nn.Module), names)


def no_grad(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function without gradients inside, as `torch.no_grad()` does."""

    @functools.wraps(function)
    def without_gradients(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.no_grad():
            return function(*args, **kwargs)

    return without_gradients


__all__ = [
    "Generator",
    "Module",
    "Tensor",
    "functional",
    "lazy_module",
    "nn",
    "no_grad",
    "np",
    "torch",
]
