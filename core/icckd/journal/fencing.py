"""Fencing: a stage may be executed twice, and counts once.

A node that was thought lost comes back, a controller runs a job again, an order whose answer never
came was carried out after all: two attempts of a stage can then work at the same time, on two
machines whose locks do not meet. No clock tells which of them is to count. A number does: each
order has an ordinal, which grows with every order of a state folder, and with every session. It
stands in the header of the attempt's journal, and it is the attempt's token:

    a session, before it hands an order out    `issue` writes the ordinal as the newest of the stage
    a worker, before it trains and when it publishes    `refuse_superseded`

What is refused ends `superseded`: it publishes nothing, and nobody reads what it measured. A
session that finds a newer ordinal than its own has been taken over, and ends.
"""

import contextlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from icckd.errors import MachineError, StageSuperseded
from icckd.journal.folder import StateFolder
from icckd.journal.locks import PREFIX

SUFFIX = ".token"
MOST = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """By what an attempt publishes; without one, what is not ordered by a session.

    Attributes:
        attempt: The attempt.
        ordinal: Of the order that it carries out.
        is_forced: Whether it replaces what is complete: the user asked for that.
    """

    attempt: str = ""
    ordinal: int = 0
    is_forced: bool = False


NO_CLAIM = Claim()


def token_path(folder: StateFolder, digest: str) -> Path:
    """Return the file that tells of the newest order of a stage."""
    return folder.locks / f"{digest[:PREFIX]}{SUFFIX}"


def newest_ordinal(folder: StateFolder, digest: str) -> int:
    """Return the ordinal of the newest order of a stage; 0 where none is known."""
    return _ordinal_in(token_path(folder, digest))


def issue(folder: StateFolder, digest: str, claim: Claim) -> None:
    """Make an order the newest of its stage: attempts of older ones publish no more.

    Raises:
        MachineError: A newer one was given, by a session that has taken over.
    """
    if newest_ordinal(folder, digest) > claim.ordinal:
        raise MachineError(
            f"a newer session has ordered stage {digest[:PREFIX]}: this one was taken over",
            hint="it ends here, and nothing is lost; icckd watch shows the newer one",
        )
    text = json.dumps({"stage": digest, "attempt": claim.attempt, "ordinal": claim.ordinal})
    path = token_path(folder, digest)
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        aside.write_text(text)
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise MachineError(
            f"cannot write {path}: {error.strerror}", hint="free space on that disk"
        ) from error


def refuse_superseded(folder: StateFolder, digest: str, claim: Claim, published: Claim) -> None:
    """Refuse an attempt that is not to count.

    Args:
        folder: The state folder.
        digest: The stage.
        claim: Of the attempt.
        published: By what the stage's artifact was published; `NO_CLAIM` where there is none.

    Raises:
        StageSuperseded: A newer order of the stage was given, or published already.
    """
    if newest_ordinal(folder, digest) > claim.ordinal:
        raise StageSuperseded("a newer order of this stage was given")
    if published.ordinal > claim.ordinal:
        raise StageSuperseded(f"attempt {published.attempt} of a newer order published it")


def remove_spent(folder: StateFolder, published_ordinal: Callable[[str], int]) -> None:
    """Remove the tokens of stages whose newest order is published: the artifact has its ordinal.

    Only the owner may call this.
    """
    for path in folder.locks.glob(f"*{SUFFIX}"):
        told = _told(path)
        digest = told.get("stage")
        if isinstance(digest, str) and published_ordinal(digest) >= _ordinal_of(told):
            path.unlink(missing_ok=True)


def claim_in(manifest: object) -> Claim:
    """Return by what an artifact was published, as its manifest says; `NO_CLAIM` if it does not."""
    told = manifest if isinstance(manifest, dict) else {}
    attempt = told.get("attempt", "")
    return Claim(attempt=attempt if isinstance(attempt, str) else "", ordinal=_ordinal_of(told))


def _ordinal_in(path: Path) -> int:
    return _ordinal_of(_told(path))


def _told(path: Path) -> dict[str, object]:
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _ordinal_of(told: dict[str, object]) -> int:
    said = told.get("ordinal", 0)
    return said if type(said) is int and 0 <= said < MOST else 0
