"""Write docs/licences.md: every package that icckd brings along, and its licence.

    uv run python .ci/licences.py            writes the page
    uv run python .ci/licences.py --check    fails when a package is missing from it

The licences are what the installed packages' own metadata say.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

PAGE = Path(__file__).parents[1] / "docs" / "licences.md"
HEAD = """# Licences of what icckd brings along

Written by `.ci/licences.py` from the metadata of the installed packages: everything that
`pip install icckd` installs with a CUDA build of torch on Linux, extras left out. icckd itself is
under the MIT licence. Packages marked LicenseRef-NVIDIA-Proprietary are NVIDIA's binaries under its
terms; a CPU build of torch does without them.

| package | licence |
| --- | --- |
"""
CLASSIFIER = "License :: OSI Approved :: "


def normal(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(root: str) -> dict[str, Distribution]:
    """Return what a package needs here, and what that needs, by normal name."""
    found: dict[str, Distribution] = {}
    waiting, seen = [(root, "")], set()
    while waiting:
        name, extra = waiting.pop()
        if (name := normal(name), extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # of another platform
        for text in found[name].requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed.name, wanted) for wanted in ("", *needed.extras)]
    del found[normal(root)]
    return found


def licence(package: Distribution) -> str:
    """Return a package's licence in few words."""
    about = package.metadata
    if about["License-Expression"]:
        return about["License-Expression"]
    named = [
        line.removeprefix(CLASSIFIER)
        for line in about.get_all("Classifier") or ()
        if line.startswith("License ::")
    ]
    free = (about["License"] or "").strip().splitlines()
    text = " or ".join(named) or (free[0] if free else _from_file(package))
    return text.replace("License :: ", "").replace("|", "/")


def _from_file(package: Distribution) -> str:
    """Return the first line of a licence file, for packages that say no more."""
    for file in package.files or ():
        if re.search(r"licen[cs]e", file.name, re.I):
            lines = [line.strip() for line in file.read_text().splitlines() if line.strip()]
            return f"{lines[0]} (its file {file.name})"
    return "not stated"


def main() -> None:
    """Write or check the page."""
    packages = closure("icckd")
    if "--check" in sys.argv:
        listed = set(re.findall(r"^\| ([a-z0-9-]+) \|", PAGE.read_text(), re.M))
        missing = sorted(packages.keys() - listed)
        sys.exit(f"not in {PAGE.name}: {', '.join(missing)}" if missing else 0)
    rows = [f"| {name} | {licence(packages[name])} |\n" for name in sorted(packages)]
    PAGE.write_text(HEAD + "".join(rows))


if __name__ == "__main__":
    main()
