"""Secrets stay out of journals.

Left out are passwords in addresses, tokens of known shape, and the values of this process's own
secret variables, wherever they turn up in a line.
"""

import json
import os
import re
from collections.abc import Mapping
from functools import cache

MARK = "[redacted]"
SHORTEST = 8
_NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.I)
# What a secret begins with, found fast, and the whole of it.
_SHAPES = {
    "://": r"(?<=://)[^/\s:@\"\\]{0,200}:[^/\s@\"\\]{1,400}(?=@)",
    **{f"gh{kind}_": rf"\bgh{kind}_[A-Za-z0-9]{{20,255}}" for kind in "pousr"},
    "github_pat_": r"\bgithub_pat_\w{20,255}",
    "glpat-": r"\bglpat-[\w-]{20,64}",
    "hf_": r"\bhf_[A-Za-z0-9]{20,64}",
    "sk-": r"\bsk-[A-Za-z0-9_-]{20,255}",
    "AKIA": r"\bAKIA[0-9A-Z]{16}",
    "xox": r"\bxox[abprs]-[\w-]{10,255}",
}


class Redactor:
    """Leaves secrets out of JSON text.

    Args:
        environment: Variables; the values of those with a telling name are secrets, unless they
            are short or a path. Keys of AWS are never a path, though some begin with a slash.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        own = {
            json.dumps(value)[1:-1]
            for name, value in environment.items()
            if _NAME.search(name) and len(value) >= SHORTEST and not _is_path(name, value)
        }
        parts = {value: re.escape(value) for value in sorted(own, key=len, reverse=True)} | _SHAPES
        self._beginnings = tuple(parts)
        self._pattern = re.compile("|".join(parts.values()))

    def __call__(self, text: str) -> str:
        """Return the text without what looks like a secret."""
        if any(beginning in text for beginning in self._beginnings):
            return self._pattern.sub(MARK, text)
        return text


def _is_path(name: str, value: str) -> bool:
    return value.startswith(("/", ".")) and not name.startswith("AWS_")


@cache
def own_redactor() -> Redactor:
    """Return the redactor of this process's environment, as it was at the first line."""
    return Redactor(os.environ)
