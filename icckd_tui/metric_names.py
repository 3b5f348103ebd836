"""A filter for the names of metrics: which series and outcomes are shown."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from icckd.errors import UsageError

_LONGEST = 200


@dataclass(frozen=True, slots=True)
class MetricFilter:
    """A filter as typed.

    A blank means and, `|` or; `-word` leaves out, `~` begins a regular expression, `*` stands for
    anything in a whole name, and any other word is a part of one, in any case.
    """

    text: str = ""

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            UsageError: It is too long, or holds something that is no regular expression.
        """
        if len(self.text) > _LONGEST:
            raise UsageError(
                "the filter of metrics is too long", hint=f"at most {_LONGEST} characters"
            )
        for word in self.text.replace("|", " ").split():
            pattern = word.removeprefix("-")
            if pattern.startswith("~"):
                try:
                    re.compile(pattern[1:])
                except re.error as error:
                    raise UsageError(
                        f"{pattern[1:]!r} is not a regular expression: {error}"
                    ) from error

    def keeps(self, name: str) -> bool:
        """Whether a metric is shown."""
        if not self.text.strip():
            return True
        return any(all(_fits(word, name) for word in part.split()) for part in self.text.split("|"))

    def kept(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those that are shown; all where none is."""
        names = tuple(names)
        return tuple(name for name in names if self.keeps(name)) or names


ALL_METRICS = MetricFilter()


def _fits(word: str, name: str) -> bool:
    if len(word) > 1 and word.startswith("-"):
        return not _fits(word[1:], name)
    if word.startswith("~"):
        return re.search(word[1:], name, re.IGNORECASE) is not None
    if "*" in word:
        return fnmatchcase(name.lower(), word.lower())
    return word.lower() in name.lower()
