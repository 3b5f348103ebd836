"""Studies that come with icckd: `shipped:ablations` names one wherever a study file is wanted.

A wheel holds them inside the package; a checkout has them in its folder `studies`.
"""

from functools import cache
from pathlib import Path

from icckd.errors import UsageError

MARK = "shipped:"
_PACKAGE = Path(__file__).parents[1]


def study_path(path: Path) -> Path:
    """Return where a study file is: a path as it is, or that of a study that comes with icckd.

    Raises:
        UsageError: No study of that name comes with icckd; the hint has all names.
    """
    text = str(path)
    if not is_shipped(text):
        return path
    name = text.removeprefix(MARK).removesuffix(".toml")
    if name not in shipped_names():
        raise UsageError(
            f"no study {name!r} comes with icckd", hint=f"there are: {', '.join(shipped_names())}"
        )
    return _folder() / f"{name}.toml"


def is_shipped(text: str) -> bool:
    """Whether a text names a study that comes with icckd.

    >>> is_shipped("shipped:ablations"), is_shipped("./shipped:ablations")
    (True, False)
    """
    return text.startswith(MARK)


@cache
def shipped_names() -> tuple[str, ...]:
    """Return the names of the studies that come with icckd, without `shipped:`."""
    return tuple(sorted(path.stem for path in _folder().glob("*.toml")))


def _folder() -> Path:
    inside = _PACKAGE / "studies"
    return inside if inside.is_dir() else _PACKAGE.parents[1] / "studies"
