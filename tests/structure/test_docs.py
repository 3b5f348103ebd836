"""Every page of the documentation is in the table of contents, every block says what runs it."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.support.blocks import PAGES, ROOT, SHOWN, blocks_of

LANGUAGES = ("sh", "console", "toml", "python", "json", "yaml", "csv")
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


MOST_NOT_RUN = 17
"""Blocks of the documentation that nothing runs. The number may fall; a larger one needs a reason
that a reviewer takes."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_a_fence_that_names_its_language(page):
    blocks = blocks_of(page)
    wrong = [
        str(block) for block in blocks if block.language not in LANGUAGES and not block.is_shown
    ]
    indented = [
        f"{page.name}:{token.map[0] + 1}"
        for token in MarkdownIt("commonmark").parse(page.read_text())
        if token.type == "code_block"
    ]

    assert wrong + indented == [], "docs/adr/0043-documentation-is-run.md"


def test_what_is_only_shown_holds_no_command():
    shown = [block for page in PAGES for block in blocks_of(page, *SHOWN)]

    commands = re.compile(r"^(\$ )?(icckd|pip|uv|uvx|python3?) ", re.MULTILINE)
    assert [str(block) for block in shown if commands.search(block.text)] == []


def test_a_test_that_runs_a_block_exists_and_reads_its_page():
    for block in (block for page in PAGES for block in blocks_of(page) if block.run_by):
        path, name = block.run_by.split("::")
        source = (ROOT / path).read_text()
        assert f"def {name}(" in source, block
        assert Path(block.page).stem in source, f"{block}: {path} does not read it"


def test_no_more_blocks_are_left_out_than_were():
    left_out = [block for page in PAGES for block in blocks_of(page) if block.not_run]

    assert len(left_out) <= MOST_NOT_RUN, [str(block) for block in left_out]


READ_FIRST = [
    DOCS / f"{name}.md"
    for name in ("index", "quickstart", "tutorial", "study-in-short", "reading-a-report")
]
"""What a new user reads, in the order of docs/index.md."""
WORDS_A_MINUTE = 200
MINUTES = 15


def test_what_a_new_user_reads_takes_a_quarter_of_an_hour():
    index = READ_FIRST[0].read_text()
    unseen = re.compile(
        r"<!--.*?-->|```\{toctree\}.*?```|^```.*?$|\]\([^)]*\)", re.DOTALL | re.MULTILINE
    )
    minutes = {
        page.stem: len(unseen.sub(" ", page.read_text()).split()) / WORDS_A_MINUTE
        for page in READ_FIRST
    }
    print(f"\n{sum(minutes.values()):.1f} minutes at {WORDS_A_MINUTE} words a minute:", minutes)

    assert re.findall(r"^\d\. \[[^]]+\]\((.*?)\.md\)", index, re.MULTILINE) == [
        page.stem for page in READ_FIRST[1:]
    ]
    assert sum(minutes.values()) <= MINUTES
