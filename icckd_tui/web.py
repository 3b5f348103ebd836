"""The monitor in a browser on this machine: read-only, one process for each tab."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from icckd.errors import UsageError

HOST = "localhost"
PAGE = Path(__file__).parent / "web_page"  # ours: the package's own asks another host for a font


def serve(study: str | None, port: int) -> None:
    """Serve the monitor on the loopback interface until interrupted.

    There is no login: whoever can reach this machine's loopback interface sees the study, and none
    can change it.

    Raises:
        UsageError: The extra `web` is not installed.
    """
    try:
        from textual_serve.server import Server
    except ImportError as error:
        raise UsageError(
            "the browser view needs the package textual-serve",
            hint="pip install 'icckd[web]'",
        ) from error
    command = [sys.executable, "-m", "icckd.cli.main", "watch", "--read-only"]
    os.environ["ICCKD_GLYPHS"] = "braille"
    print(f"icckd: http://{HOST}:{port} shows it, read-only, without a login", file=sys.stderr)
    server = Server(
        shlex.join([*command, *([study] if study else [])]),
        host=HOST,
        port=port,
        title="icckd",
        templates_path=PAGE,
    )
    server.serve()
