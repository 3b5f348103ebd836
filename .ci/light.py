"""Write requirements-light.txt: what icckd needs where nothing is trained, pinned.

python .ci/light.py            writes the file
python .ci/light.py --check    fails when it is not what pyproject.toml and requirements.txt say
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIGHT = ROOT / "requirements-light.txt"
LEFT_OUT = {"torch", "torchvision"}
HEAD = """\
# icckd without torch: plan, watch, report, compare, sql, status, ls, du, import, archive, restore.
# Written by .ci/light.py. Into an empty environment (docs/install.md):
#   pip install --no-deps -r requirements-light.txt && pip install --no-deps icckd
"""


def wanted() -> list[str]:
    """Return the dependencies of icckd without those that train."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [each for each in project["dependencies"] if name_of(each) not in LEFT_OUT]


def name_of(requirement: str) -> str:
    """Return the name of the package that a requirement or a pin is about."""
    return re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0].lower()


def pins(path: Path) -> dict[str, str]:
    """Return the pinned versions of a requirements file by package."""
    lines = path.read_text().splitlines()
    return {
        name_of(line): line.partition("==")[2].split()[0] for line in lines if "==" in line[:80]
    }


def main() -> None:
    """Write the file, or check it."""
    if "--check" not in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as home:
            source = Path(home, "light.in")
            source.write_text("\n".join(wanted()))
            command = [
                "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes",
                "--no-header", "--no-annotate", "--python-version", "3.11",
                "-c", str(bare(Path(home))), str(source),
            ]  # fmt: skip
            found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        LIGHT.write_text(HEAD + found)
    light, full = pins(LIGHT), pins(ROOT / "requirements.txt")
    wrong = [f"{name} is missing" for each in wanted() if (name := name_of(each)) not in light]
    wrong += [f"{name} must not be there" for name in sorted(LEFT_OUT & light.keys())]
    wrong += [
        f"{name} is {version}, and {full.get(name)} in requirements.txt"
        for name, version in light.items()
        if full.get(name) != version
    ]
    if wrong:
        sys.exit("\n".join(wrong))


def bare(home: Path) -> Path:
    """Return a file with the pins of requirements.txt alone."""
    path = home / "pins"
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    path.write_text("\n".join(line.rstrip(" \\") for line in lines if "==" in line[:80]))
    return path


if __name__ == "__main__":
    main()
