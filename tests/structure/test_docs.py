"""Every page of the documentation is in the table of contents."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def listed(page: Path) -> set[Path]:
    """Return the files that the tables of contents of a page name, and of those that these name."""
    found: set[Path] = set()
    for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.splitlines():
            if line and not line.startswith(":"):
                found |= {path.resolve() for path in page.parent.glob(f"{line}.md")}
    return found.union(*(listed(each) for each in found if each.name == "index.md"))


def test_every_page_stands_in_the_table_of_contents():
    pages = {*DOCS.rglob("*.md"), *(ROOT / "bench" / "results").glob("*.md")}

    absent = pages - listed(DOCS / "index.md") - {DOCS / "index.md"}
    assert sorted(str(p.relative_to(ROOT)) for p in absent) == [], "name it in docs/index.md"
