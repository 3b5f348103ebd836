"""moto's server, one request at a time.

By its source it looks whether a key is taken and then writes, with no lock about the two, so that
two threads could both win. A run was once refused for a store that overwrites, which that would
explain; some hundred races on purpose had no second winner.
"""

import threading
from collections.abc import Iterable
from typing import Any

from moto import server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication

_TURN = threading.Lock()
_answer = DomainDispatcherApplication.__call__


def _in_turn(self: Any, environ: Any, start_response: Any) -> Iterable[bytes]:
    with _TURN:
        return _answer(self, environ, start_response)


if __name__ == "__main__":
    DomainDispatcherApplication.__call__ = _in_turn
    server.main()
