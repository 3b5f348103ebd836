"""Commands of icckd in a process of their own, in a folder of their own."""

import os
import re
import subprocess
import sys


def python(*arguments, cwd=None, **variables):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ICCKD_PLUGIN_SECONDS": "300", **variables},
    )  # fmt: skip


def laws_broken(done):
    """Return the laws that are broken, with what was seen; one line where none was tried."""
    found = re.findall(r"^  broken .*(?:\n {13}.*)*", done.stdout, re.M)
    return found or ([] if done.returncode == 0 else [done.stdout + done.stderr])


class Desk:
    """A folder with a study, data and a state folder."""

    def __init__(self, folder):
        self.folder = folder

    def icckd(self, *arguments):
        places = {"ICCKD_HOME": "home", "XDG_CACHE_HOME": "cache", "ICCKD_DATA_DIR": "data"}
        variables = {name: str(self.folder / place) for name, place in places.items()}
        return python("-m", "icckd.cli.main", *arguments, cwd=self.folder, **variables)

    def study(self, verb, text, *options):
        (self.folder / "x.toml").write_text(text)
        return self.icckd(verb, "x.toml", *options)
