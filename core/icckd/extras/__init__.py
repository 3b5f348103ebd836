"""Parts that need another library: plug-ins that icckd brings itself.

A study names them, as in `plugins = ["timm"]`; no other study imports them. Each module says at
once where its library is missing.
"""

from importlib.util import find_spec

from icckd.errors import MachineError


def require(library: str, extra: str) -> None:
    """Do nothing where a library is installed.

    Raises:
        MachineError: It is not.
    """
    if find_spec(library) is None:
        raise MachineError(
            f"parts of the plug-in {extra!r} need {library}, which is not installed",
            hint=f"pip install 'icckd[{extra}]' wherever stages are planned and trained",
        )
