"""icckd: ablation studies of knowledge distillation, from a TOML study to DuckDB and a table.

    study = icckd.Study.load("studies/ablations.toml")
    print(study.plan())
    found = icckd.run(study)
    print(found.report())

docs/python.md has the whole interface. Nothing heavy is imported before it is used.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

if __name__ != "icckd":
    # An editable install puts the repository root on the path, where `core.icckd` would be a
    # second copy of every class; isinstance would then lie.
    raise ImportError("core/ is a source root: write `import icckd`, never `import core.icckd`")

__version__ = "0.1.0"

from icckd.study.registry import add_packages

add_packages(
    (
        "icckd.train.distillers",
        "icckd.train.losses",
        "icckd.train.networks",
        "icckd.train.datasets",
        "icckd.train.metrics",
    )
)

_PUBLIC = {
    "Frame": "icckd.results.frames",
    "Plot": "icckd.report.figures",
    "Power": "icckd.api.power",
    "Study": "icckd.api.study",
    "StudyPlan": "icckd.api.planning",
    "StudyResults": "icckd.api.results",
    "compare": "icckd.api.compare",
    "power": "icckd.api.power",
}
"""Where the public names are; `__init__.pyi` tells type checkers."""
_CALLED = {"icckd.results": "icckd.api.results:results", "icckd.run": "icckd.api.run:run"}
"""Packages that are functions, too: `icckd.run(study)` beside `icckd.run.session`."""
__all__ = ["__version__", *sorted([*_PUBLIC, "results", "run"])]


class _Called(ModuleType):
    """A package that is called as the function of the same name."""

    @property
    def _function(self) -> Any:
        module, _, name = _CALLED[self.__name__].partition(":")
        return getattr(importlib.import_module(module), name)

    @property
    def __signature__(self) -> Any:
        import inspect

        return inspect.signature(self._function)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._function(*arguments, **options)


class _Package(ModuleType):
    """This package: what importing one of its packages sets can be called."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and value.__name__ in _CALLED:
            value.__class__ = _Called
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if f"{__name__}.{name}" in _CALLED:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
