"""The command line: parse, call, print. `main` is the entry point of the command `icckd`."""

import signal


def main() -> None:
    """Run the command line; Ctrl-C ends it at once and silently until a command takes it up.

    Python would raise an exception wherever it is: a traceback while modules are imported, and an
    abort within those that are not written in Python.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from icckd.cli.main import main as run

    run()


def take_ctrl_c() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` from now on, unless it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
