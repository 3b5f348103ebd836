"""moto's server, one request at a time.

It looks whether a key is taken and then writes, and of its threads two can pass that look together:
then there are two winners, and icckd refuses it, rightly, as a store that overwrites.
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
