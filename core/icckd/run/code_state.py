"""The state of the code that a session ran beside, and of icckd itself, without secrets.

A session writes it into its folder as `code.json`, for the provenance of reports. Git starts
nothing that the repository's own configuration names: no hooks, external diff or file monitor.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from icckd import __version__
from icckd.journal.folder import CODE
from icckd.journal.redact import own_redactor
from icckd.study.source import PACKAGE, package_digest

MAX_PATCH = 1 << 20
_SECONDS = 10
_SECRET_FILE = re.compile(
    r"(^|/)(\.env|\.netrc|\.npmrc|\.pypirc|id_[a-z0-9]+)|\.(pem|key|p12|pfx|keystore)$"
    r"|secret|credential|passw|token",
    re.I,
)
_SECRET_LINE = re.compile(
    r"(token|secret|passw|passphrase|api_?key|access_?key|private_?key|auth)[\w-]*[\"']?\s*[:=]"
    r"|://[^/\s:@]+:[^/\s@]+@|-----BEGIN",
    re.I,
)


def capture_code(home: Path, folder: Path) -> None:
    """Write commit, changed files and patch of the repository around a folder to `home`.

    Outside a repository, or without git, the file says so; it always says which icckd ran. A
    failure never stops a session.
    """
    with (home / CODE).open("x", encoding="utf-8") as file:
        file.write(
            own_redactor()(json.dumps({"icckd": own_code(), **code_state(folder)}, indent=2))
        )


def code_state(folder: Path) -> dict[str, object]:
    """Return commit, whether anything differs from it, untracked files, and the patch."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=normal") or ""
    patch = _git(folder, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD") or ""
    kept = "\n".join(without_secrets(patch))
    return {
        "commit": commit.strip(),
        "is_clean": not changed,
        "untracked": [line[3:] for line in changed.splitlines() if line.startswith("??")][:1000],
        "patch": kept if len(kept) <= MAX_PATCH else f"{kept[:MAX_PATCH]}\n# cut at 1 MiB",
    }


def own_code() -> dict[str, object]:
    """Return icckd's version, the digest of its files, and its commit where something tells it.

    That is the repository that its files are committed in, or the record of an installer that took
    them from one.
    """
    found: dict[str, object] = {"version": __version__, "source": package_digest()}
    if _git(PACKAGE, "ls-files", "--error-unmatch", "__init__.py") is None:
        return found | {"commit": _installed_commit()}
    commit = _git(PACKAGE, "rev-parse", "HEAD")
    changed = _git(PACKAGE, "status", "--porcelain", "--untracked-files=normal", ".")
    return found | {"commit": commit and commit.strip(), "is_clean": changed == ""}


def _installed_commit() -> str | None:
    """Return the commit that the installed distribution says that it came from (PEP 610)."""
    try:
        told = json.loads(distribution("icckd").read_text("direct_url.json") or "{}")
        commit = told.get("vcs_info", {}).get("commit_id")
    except (PackageNotFoundError, ValueError, AttributeError):
        return None
    return commit if isinstance(commit, str) else None


def without_secrets(patch: str) -> Iterator[str]:
    """Yield the lines of a patch, without those that look like secrets and files that hold them."""
    is_hidden = False
    for line in patch.splitlines():
        if line.startswith("diff --git "):
            is_hidden = bool(_SECRET_FILE.search(line.removeprefix("diff --git ")))
            yield line
            if is_hidden:
                yield "# left out: the name suggests a secret"
        elif not is_hidden:
            marker = line[:1] if line[:1] in "+- " else ""
            yield f"{marker}# left out" if _SECRET_LINE.search(line) else line


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what a reading git command prints, or None."""
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
               "-C", str(folder), *arguments]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", ""),
                 "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")
