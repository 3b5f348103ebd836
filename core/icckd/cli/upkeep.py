"""Verbs that look after a state folder: fsck, clean."""

import sys
from typing import Annotated

import typer

from icckd.errors import UsageError


def fsck(
    repair: Annotated[
        bool, typer.Option("--repair", help="Put away what is wrong and can be made again.")
    ] = False,
) -> None:
    """Prove the state folder whole, or say what is missing. Exit code 1 when something is."""
    from icckd.journal.folder import StateFolder
    from icckd.report.text import display
    from icckd.store import fsck as upkeep

    folder = StateFolder.current()
    if not folder.exists():
        raise UsageError(f"there is no study in {folder.root}", hint="icckd run STUDY starts one")
    found = upkeep.check(folder)
    for finding in found.findings:
        print(f"{finding.verdict:<8} {display(finding.where)}: {display(finding.text)}")
    if repair and not found.is_whole:
        for finding in upkeep.repair(folder, found):
            print(f"mended   {display(finding.where)}")
        found = upkeep.check(folder)
    looked = f"{found.journals} journals, {found.lines} lines, {found.artifacts} artifacts"
    wrong = [finding for finding in found.findings if finding.verdict != "note"]
    print(f"whole: {looked}" if found.is_whole else f"not whole: {len(wrong)} problems in {looked}")
    sys.exit(0 if found.is_whole else 1)


def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without, only show it.")] = False,
) -> None:
    """Show what the state folder can spare: checkpoints no plan needs, what was put aside."""
    from icckd.journal.folder import StateFolder
    from icckd.report.text import bytes_text, display
    from icckd.store.clean import clean as carry_out

    folder = StateFolder.current()
    if not folder.exists():
        raise UsageError(f"there is no study in {folder.root}", hint="icckd run STUDY starts one")
    found = carry_out(folder, remove=yes)
    for spare in found:
        where = display(str(spare.path.relative_to(folder.root)))
        print(f"{bytes_text(spare.bytes):>10}  {where}: {display(spare.text)}")
    total = bytes_text(sum(spare.bytes for spare in found))
    if not found:
        print("nothing to spare")
    else:
        print(f"removed {total}" if yes else f"{total} in all; `icckd clean --yes` removes that")
