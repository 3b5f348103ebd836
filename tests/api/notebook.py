"""Run the notebook of the documentation in an empty folder.

python -m tests.api.notebook OUTPUT.ipynb
python -m tests.api.notebook docs/icckd.ipynb      writes its committed outputs anew
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "icckd.ipynb"
SECONDS = 300


def main() -> None:
    """Execute every cell with one kernel, and write the notebook with what they showed."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, sys.argv[1])


if __name__ == "__main__":
    main()
