"""The server of `decant serve`: slow clients, too many of them, and the command itself."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from decant_studio import server as servers
from decant_studio.app import create_app
from decant_studio.settings import Settings


class Impatient(servers.Handler):
    timeout = 0.3
    header_seconds = 0.8
    request_seconds = 3.0


@pytest.fixture
def served(tmp_path) -> Iterator[servers.Server]:
    app = create_app(Settings(data_dir=tmp_path, workers=1, upload_seconds=0.6))
    server = servers.Server("127.0.0.1", 0, app, Impatient)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    app.extensions["studio"].close()


def connected(served: servers.Server) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", served.server_port), timeout=10)
    connection.settimeout(10)
    return connection


def answer_of(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def alive(served: servers.Server) -> bool:
    with urllib.request.urlopen(served.url, timeout=10) as answer:
        return answer.status == 200 and b"Studio" in answer.read()


def head(served: servers.Server, length: int) -> bytes:
    token = served.app.config["STUDIO_TOKEN"]
    lines = [
        "POST /api/kmeans?k=4 HTTP/1.1", "Host: 127.0.0.1", f"X-Studio-Token: {token}",
        "Content-Type: application/octet-stream", f"Content-Length: {length}", "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


def test_an_upload_that_stops_is_told_so(served) -> None:
    with connected(served) as connection:
        connection.sendall(head(served, 1000) + b"x" * 10)
        answer = answer_of(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"The upload stopped before its end." in answer
    assert alive(served)


def test_an_upload_that_trickles_is_told_so(served) -> None:
    with connected(served) as connection:
        connection.sendall(head(served, 1000))
        for _ in range(7):
            connection.sendall(b"x")
            threading.Event().wait(0.12)
        answer = answer_of(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"longer than 0.6 seconds" in answer


def test_headers_that_trickle_are_let_go(served) -> None:
    with connected(served) as connection:
        closed = False
        for byte in b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: yyyyyyyyyyyyyyyyyyy":
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                closed = True
                break
            threading.Event().wait(0.06)
        closed = closed or answer_of(connection) == b""
    assert closed
    assert alive(served)


def test_a_client_that_leaves_in_the_middle_harms_nobody(served) -> None:
    for _ in range(5):
        with connected(served) as connection:
            connection.sendall(head(served, 10_000) + b"x" * 100)
    assert alive(served)


def test_uploads_together_are_bounded(served) -> None:
    """Six of the largest size may be on their way; the seventh is told to wait, later ones are taken."""
    largest = Settings().upload_bytes
    others = [connected(served) for _ in range(6)]
    try:
        for connection in others:
            connection.sendall(head(served, largest))
        threading.Event().wait(0.1)
        with connected(served) as connection:
            connection.sendall(head(served, largest))
            answer = answer_of(connection)
        assert answer.startswith(b"HTTP/1.1 429")
        assert b"too many files at once" in answer
        assert all(answer_of(connection).startswith(b"HTTP/1.1 408") for connection in others)
    finally:
        for connection in others:
            connection.close()
    with connected(served) as connection:
        connection.sendall(head(served, 2) + b"no")
        assert answer_of(connection).startswith(b"HTTP/1.1 202")


def test_a_body_without_length_is_refused(served) -> None:
    with connected(served) as connection:
        request = head(served, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        connection.sendall(request + b"5\r\nhello\r\n0\r\n\r\n")
        assert answer_of(connection).startswith(b"HTTP/1.1 411")


def test_connections_are_bounded_and_those_beyond_are_told(served) -> None:
    idle = [connected(served) for _ in range(servers.CONNECTIONS)]
    try:
        with connected(served) as connection:
            answer = answer_of(connection)
        assert answer.startswith(b"HTTP/1.1 429")
        assert int(re.search(rb"Content-Length: (\d+)", answer)[1]) == len(answer.split(b"\r\n\r\n")[1])
    finally:
        for connection in idle:
            connection.close()
    for _ in range(100):
        try:
            assert alive(served)
            break
        except OSError:
            threading.Event().wait(0.1)
    else:
        pytest.fail("the studio does not answer any more")


def test_an_address_that_is_taken_is_said_in_a_line(served) -> None:
    from click.testing import CliRunner
    from decant.commands.cli import main

    told = CliRunner().invoke(main, ["serve", "--port", str(served.server_port)])
    assert told.exit_code == 1
    assert told.stderr.startswith(f"decant: 127.0.0.1:{served.server_port}: ")
    assert told.stderr.endswith("; choose another with --host or --port\n")
    assert told.stderr.count("\n") == 1


def test_the_answer_says_nothing_of_versions(served) -> None:
    with urllib.request.urlopen(served.url, timeout=10) as answer:
        assert answer.headers["Server"] == "decant"


def test_the_command_serves_and_ends_with_its_workers(tmp_path) -> None:
    # A shell that starts tests in the background lets them ignore SIGINT.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from decant.commands.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "--port", "0", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert address, line
        with urllib.request.urlopen(address[0], timeout=20) as answer:
            token = re.search(r'name="studio-token" content="([^"]+)"', answer.read().decode())[1]
        request = urllib.request.Request(
            address[0] + "api/devices",
            b"x",
            {"X-Studio-Token": token, "Content-Type": "application/octet-stream"},
        )
        assert urllib.request.urlopen(request, timeout=20).status == 202
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address[0], timeout=5)
    assert not os.listdir(tmp_path)
