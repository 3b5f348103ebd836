"""Every block of commands and code in README and documentation is run, or says why it is not.

What runs a block follows from its language. TOML is loaded: a study, or a piece of one beside the
rest of a study; a configuration; entry points. Python is executed in a folder with what its page
speaks of, JSON is read. Commands are run in such a folder (`tests/docs/places.py`) in the order of
their page: on pages that train, with the shipped studies made short.
"""

import ast
import csv
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter

import pytest

import icckd
from icckd import variables
from icckd.errors import IcckdError
from tests.docs.places import SLOW_PAGES, Place, prepared, shortened, with_rest
from tests.structure.test_docs import MOST_NOT_RUN
from tests.support.blocks import PAGES, ROOT, Block, blocks_of
from tests.support.terminal import Terminal
from tests.support.waiting import wait_for

BLOCKS = {str(page.relative_to(ROOT)): blocks_of(page) for page in PAGES}
TRAINS = {"run", "check", "calibrate"}
GROUPS = ("icckd.executors", "icckd.parts", "icckd.report_formats", "icckd.screens")
"""Entry points that icckd looks for."""


def own(page: str) -> list[Block]:
    """Return the blocks of a page that are run here."""
    return [b for b in BLOCKS[page] if not (b.is_shown or b.run_by or b.not_run)]


def trains(page: str) -> bool:
    return any(
        "icckd.run(" in block.text or any(TRAINS & set(words[:2]) for words in block.commands())
        for block in own(page)
        if block.language in ("sh", "python")
    )


def lane(page: str) -> object:
    if page in SLOW_PAGES:
        return pytest.param(page, marks=pytest.mark.slow)
    return pytest.param(page, marks=pytest.mark.long) if trains(page) else page


@pytest.mark.parametrize("page", [lane(page) for page in BLOCKS if own(page)])
def test_the_blocks_of_a_page_run_in_their_order(page, lab, tmp_path, fresh_process, monkeypatch):
    place = prepared(page, tmp_path, lab)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variables.DATA, str(tmp_path / "data"))  # `--data` sets it in this process

    for block in own(page):
        try:
            if block.file:
                save(block, place)
            else:
                RUN[block.language](block, place)
        except (AssertionError, IcckdError, ValueError, KeyError) as error:
            raise AssertionError(f"{block}: {error}\n{block.text}") from error


def save(block: Block, place: Place) -> None:
    """Save a block as a reader would, a study shortened."""
    is_study = block.file.endswith(".toml")
    place.desk.write(shortened(block.text) if is_study else block.text, block.file)
    if is_study:
        assert icckd.Study.load(place.desk.folder / block.file).arms
    elif block.language == "python":
        ast.parse(block.text)  # a command that follows runs it
    else:
        RUN[block.language](block, place)


def run_commands(block: Block, place: Place) -> None:
    for words in block.commands():
        place.desk.environment = {"HOME": str(place.desk.folder)}
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            place.desk.environment[name] = value
        if words[0] == "python" and (place.desk.folder / words[1]).is_file():
            subprocess.run([sys.executable, *words[1:]], cwd=place.desk.folder, check=True)
            continue
        assert words[0] == "icckd", f"nothing here runs {words[0]}"
        for study in place.desk.folder.glob("*.toml"):  # those that `icckd init` wrote
            study.write_text(shortened(study.read_text()))
        if words[1] == "watch":
            look(place, *words[1:])
        elif words[1] in TRAINS - {"check"}:
            place.desk.train(*words[1:])
        else:
            place.desk.run(*words[1:])


def look(place: Place, *arguments: str) -> None:
    """Open the monitor on a terminal until it shows something of the study, and leave it."""
    command = (sys.executable, "-m", "icckd.cli.main", *arguments)
    with Terminal(place.desk.state, *command, size=(120, 40)) as terminal:
        wait_for(lambda: terminal.read(0.2) or "Comparison with" in terminal.text)


def execute(block: Block, place: Place) -> None:
    names = place.names
    names.setdefault("__file__", str(place.desk.folder / "example.py"))
    exec(compile(ast.parse(block.text), str(block), "exec"), names)


def load_toml(block: Block, place: Place) -> None:
    tables = tomllib.loads(block.text)
    if "project" in tables:
        for group, points in tables["project"]["entry-points"].items():
            assert group in GROUPS
            assert all(re.fullmatch(r"[\w.]+(:\w+)?", point) for point in points.values())
    elif "alerts" in tables:
        from pydantic import TypeAdapter

        from icckd.configuration import Configuration

        TypeAdapter(Configuration).validate_python(tables)
    else:
        study = icckd.Study.from_dict(with_rest(tables, block.page))
        assert study.arms


def read_json(block: Block, place: Place) -> None:
    from icckd.journal.events import EVENT
    from icckd.journal.requests import Wanted

    found = json.loads(block.text)
    if "k" in found:
        EVENT.validate_python(found)
    elif "kind" in found:
        Wanted.model_validate(found)


def read_csv(block: Block, place: Place) -> None:
    head, *rows = csv.reader(block.text.splitlines())
    assert rows
    assert all(len(row) == len(head) for row in rows)


RUN = {"csv": read_csv, "sh": run_commands, "python": execute, "toml": load_toml, "json": read_json}


def test_blocks_that_are_run_and_that_are_not_are_counted():
    blocks = [block for page in BLOCKS.values() for block in page if not block.is_shown]
    reasons = Counter(block.not_run for block in blocks if block.not_run)
    elsewhere = Counter(block.run_by.split("::")[0] for block in blocks if block.run_by)
    left = len(blocks) - reasons.total()
    print(f"\n{len(blocks)} blocks of commands and code: {left} run, {reasons.total()} not")
    print(*(f"  run by {path}: {n}" for path, n in elsewhere.most_common()), sep="\n")
    print(*(f"  not run, {reason}: {n}" for reason, n in reasons.most_common()), sep="\n")

    assert reasons.total() == MOST_NOT_RUN
    assert {b.language for p in BLOCKS for b in own(p)} <= set(RUN)
