"""Check that a wheel holds both packages with their data files, the studies, and nothing else."""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUFFIXES = {".py", ".pyi", ".sql", ".tcss", ".toml", ".html", ".j2", ".json", ".typed"}


def expected() -> set[str]:
    """Return the files that belong into the wheel, as named inside it."""
    found = set()
    sources = (
        (ROOT / "core" / "icckd", "icckd"),
        (ROOT / "icckd_tui", "icckd_tui"),
        (ROOT / "studies", "icckd/studies"),
    )
    for source, package in sources:
        for path in source.rglob("*"):
            if path.suffix in SUFFIXES and path.is_file():
                found.add(f"{package}/{path.relative_to(source).as_posix()}")
    return found


def main() -> None:
    """Compare the wheel's names with the sources; exit 1 on a difference."""
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    missing, surplus = expected() - held, held - expected()
    for name in sorted(missing):
        print(f"missing from the wheel: {name}")
    for name in sorted(surplus):
        print(f"should not be in the wheel: {name}")
    if missing or surplus:
        sys.exit(1)
    print(f"wheel holds the {len(held)} files it should")


if __name__ == "__main__":
    main()
