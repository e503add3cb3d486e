"""Serves a built package under a strict policy: ``python serve.py DIST [PORT] [--isolated]``."""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".dcn": "image/x-dcn",
        ".dcnm": "application/octet-stream",
    }

    def __init__(self, *given: object, headers: dict[str, str], **named: object) -> None:
        self.added = headers
        super().__init__(*given, **named)  # type: ignore[arg-type]

    def end_headers(self) -> None:
        for name, value in self.added.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *values: object) -> None:
        pass


def server(folder: Path, port: int = 0, *, isolated: bool = False) -> ThreadingHTTPServer:
    """A server of ``folder`` at 127.0.0.1, not yet running; ``isolated``: with cross-origin isolation."""
    headers = HEADERS | (ISOLATION if isolated else {})
    return ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=str(folder), headers=headers))


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--isolated"]
    port = int(given[1]) if len(given) > 1 else 8000
    with server(Path(given[0]), port, isolated="--isolated" in sys.argv) as made:
        print(f"http://127.0.0.1:{made.server_address[1]}/demo/", flush=True)
        made.serve_forever()
