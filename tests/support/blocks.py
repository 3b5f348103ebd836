"""The blocks of commands and code in the documentation: where they are, what becomes of each.

A block is a fence that names its language. What runs it follows from the language
(`tests/docs/test_blocks.py`), unless a comment in the line before says otherwise:

    <!-- run by tests/cli/test_plugins.py::test_name -->
    <!-- not run: reason -->

A block that a reader is to save as a file has its name before it, and is saved for the commands
that follow:

    <!-- file: study.toml -->
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "bench" / "results").glob("*.md")),
]
SHOWN = ("text",)
"""Languages of what is no command and no code: formulas, layouts, what a command prints."""
_FENCE = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2$", re.DOTALL | re.MULTILINE)
_MARK = re.compile(r"<!-- (run by|not run:|file:) (.+?) -->\n+ *$")
_FIELDS = {"run by": "run_by", "not run:": "not_run", "file:": "file"}
_COMMENT = re.compile(r"(?:^|\s+)#.*$")


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        page: The page, from the root of the repository.
        line: Its first line, the fence, counted from 1.
        language: What the fence says.
        text: What is in it, without the page's indentation.
        run_by: The test that runs it; "" for those of `tests/docs/test_blocks.py`.
        not_run: Why it is not run; "" where it is.
        file: Under which name it is saved; "" where it is not.
    """

    page: str
    line: int
    language: str
    text: str
    run_by: str = ""
    not_run: str = ""
    file: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_shown(self) -> bool:
        """Whether there is nothing to run in it; so a directive of the site, `{toctree}`."""
        return self.language in SHOWN or self.language.startswith("{")

    def commands(self) -> list[list[str]]:
        """Return the words of each command; a line that ends in a backslash goes on."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        return [words for line in lines if (words := shlex.split(_COMMENT.sub("", line)))]


def blocks_of(page: str | Path, *languages: str) -> list[Block]:
    """Return the blocks of a page in their order: all, or those in some languages.

    Args:
        page: The file, or its path from the root of the repository.
        *languages: The languages.
    """
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        indent, _, language, inner = fence.groups()
        mark = _MARK.search(text, 0, fence.start())
        said = {} if mark is None else {_FIELDS[mark[1]]: mark[2]}
        found.append(
            Block(
                page=str(path.relative_to(ROOT)),
                line=text.count("\n", 0, fence.start()) + 1,
                language=language.strip(),
                text="".join(line.removeprefix(indent) for line in inner.splitlines(True)),
                **said,
            )
        )
    return [block for block in found if not languages or block.language in languages]
