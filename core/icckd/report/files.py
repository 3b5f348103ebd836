"""Files that reports and answers are written to: whole, or not at all."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text file aside and rename it; a pipe or a device gets the text directly.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        target.write_text(text, encoding="utf-8")
        return
    aside = target.with_name(f".{target.name[:200]}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        if target.exists():
            aside.chmod(target.stat().st_mode)
        aside.replace(target)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
