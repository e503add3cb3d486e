"""The HTTP server of `decant serve`: a bounded number of connections, each with a deadline."""

import contextlib
import socket
import threading
from typing import Any

from flask import Flask
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

CONNECTIONS = 64
SILENT_SECONDS = 15.0  # a client that sends nothing for so long is let go
HEADER_SECONDS = 20.0  # for the request line and the headers
REQUEST_SECONDS = 180.0  # for everything

_WORDS = b"The studio has too many connections. Try again soon."
_FULL = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Retry-After: 2\r\nContent-Length: %d\r\n\r\n%s" % (len(_WORDS), _WORDS)
)


class Handler(WSGIRequestHandler):
    """One request of one connection. A timer closes connections that take too long."""

    timeout = SILENT_SECONDS
    header_seconds = HEADER_SECONDS
    request_seconds = REQUEST_SECONDS
    server_version = "decant"
    sys_version = ""
    _timer: threading.Timer | None = None

    def version_string(self) -> str:
        """Versions of libraries are nobody's business."""
        return "decant"

    def setup(self) -> None:
        """Begin the time for headers."""
        super().setup()
        self._limit(self.header_seconds)

    def parse_request(self) -> bool:
        """Headers are here: begin the time for the rest."""
        parsed = super().parse_request()
        self._limit(self.request_seconds)
        return parsed

    def finish(self) -> None:
        """End the time."""
        if self._timer is not None:
            self._timer.cancel()
        with contextlib.suppress(OSError):  # the client, or the timer, may have closed it
            super().finish()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Requests are not logged."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Only errors of the application are, by Flask."""

    def _limit(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._close)
        self._timer.daemon = True
        self._timer.start()

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class Server(ThreadedWSGIServer):
    """Serves ``app`` until ``shutdown``; connections beyond CONNECTIONS are answered at once with 429.

    Raises OSError where the address cannot be had.
    """

    def __init__(self, host: str, port: int, app: Flask, handler: type[Handler] = Handler) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Bound here: the server's own way ends the process where the address is taken.
        with socket.create_server((host, port), family=family, backlog=CONNECTIONS) as bound:
            super().__init__(host, bound.getsockname()[1], app, handler, fd=bound.fileno())
        self.server_port = self.port
        self._slots = threading.BoundedSemaphore(CONNECTIONS)

    @property
    def url(self) -> str:
        """Where it can be reached."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, where one is free."""
        if not self._slots.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.sendall(_FULL)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """See socketserver.ThreadingMixIn."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()
