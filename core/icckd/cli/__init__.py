"""The command line: parse, call, print. `main` is the entry point of the command `icckd`."""

import gc
import signal

OBJECTS = 200_000
"""New objects until Python looks for cycles: while modules are imported it would find none."""


def main() -> None:
    """Run the command line; Ctrl-C ends it at once and silently until a command takes it up.

    Python would raise an exception wherever it is: a traceback while modules are imported, and an
    abort within those that are not written in Python.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(OBJECTS)
    from icckd.cli.main import main as run

    run()


def take_ctrl_c() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` from now on, unless it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
