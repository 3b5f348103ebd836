"""A network between clients and a server that a test can take away and give back."""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator

_REQUEST = re.compile(rb"(?:GET|PUT|HEAD|POST|DELETE) /\S* HTTP/1\.1\r\n")


class Proxy:
    """Passes bytes on from a port of its own to a server.

    Attributes:
        url: Where clients connect.
        requests: How many requests began so far.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.requests = 0
        self._cut_at = float("inf")
        self._is_cut = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_at(self, requests: int) -> None:
        """Take the network away when so many requests have begun; that one is not passed on."""
        self._cut_at = requests

    def cut(self) -> None:
        """Take the network away: what is connected ends, and nothing new is answered."""
        with self._lock:
            self._is_cut = True
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Give the network back."""
        self._cut_at = float("inf")
        with self._lock:
            self._is_cut = False

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    def close(self) -> None:
        self.cut()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self._is_cut:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            for source, to, counts in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(source, to, counts), daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if counts:
                    self.requests += len(_REQUEST.findall(data))
                    if self.requests >= self._cut_at:
                        self.cut()
                if self._is_cut:
                    break
                to.sendall(data)
        for each in (source, to):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()


@contextlib.contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """Have a network to a server of this machine, until the block ends."""
    made = Proxy(port)
    try:
        yield made
    finally:
        made.close()
