"""Serves an exported vote and keeps its answers: ``python collector.py``. Needs Python 3.11 and nothing else.

The page lies in ``site`` beside this file. Answers are appended to ``answers.jsonl``, one message a line; the
studio imports that file. At most ``MOST_BYTES`` are ever written.
"""

import argparse
import contextlib
import json
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MOST_BYTES = 64 << 20
MOST_MESSAGE = 1 << 20
SESSION = re.compile(r"[0-9a-f]{16,64}")
_lock = threading.Lock()


class Handler(SimpleHTTPRequestHandler):
    """Files of the site, and /collect."""

    timeout = 20
    server_version, sys_version = "collector", ""

    def __init__(self, *arguments: Any, answers: Path, **options: Any) -> None:
        self.answers = answers
        super().__init__(*arguments, **options)

    def do_POST(self) -> None:
        """Keep one message of the page."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/collect" or not length.isdigit() or int(length) > MOST_MESSAGE:
            return self._answer(400, {"error": "A message of at most 1 MB to /collect is expected."})
        try:
            message = json.loads(self.rfile.read(int(length)))
            kind, session = message["kind"], message["session"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return self._answer(400, {"error": "The message is not one of the vote's page."})
        if kind not in ("session", "answer") or not (isinstance(session, str) and SESSION.fullmatch(session)):
            return self._answer(400, {"error": "The message is not one of the vote's page."})
        line = json.dumps(message).encode() + b"\n"
        with _lock:
            size = self.answers.stat().st_size if self.answers.exists() else 0
            if size + len(line) > MOST_BYTES:
                return self._answer(507, {"error": "The collector is full."})
            with self.answers.open("ab") as stream:
                stream.write(line)
        return self._answer(200, {"stored": True})

    def list_directory(self, path: Any) -> None:
        """Folders are not listed."""
        self.send_error(404)

    def end_headers(self) -> None:
        """Nothing of other sites, and no guessing of types."""
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        super().end_headers()

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing is logged: addresses of voters are nobody's business."""

    def _answer(self, status: int, said: dict[str, Any]) -> None:
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def serve(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """A server of the vote in ``folder``, ready for ``serve_forever``."""
    handler = partial(Handler, directory=str(folder / "site"), answers=folder / "answers.jsonl")
    return ThreadingHTTPServer((host, port), handler)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve a vote and keep its answers in answers.jsonl.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    with serve(Path(__file__).resolve().parent, options.host, options.port) as server:
        print(f"The vote is at http://{options.host}:{server.server_port}/ (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
