"""A webhook's receiver: a real HTTP server on loopback that keeps what it was sent and answers as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Receiver:
    """`answers`: statuses for the next calls; 200 when there are none left. `pause_seconds`: before each byte."""

    port: int
    calls: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    pause_seconds: float = 0.0
    body: bytes = b"thank you"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/hook?team=films"


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.calls.append((self.path, dict(self.headers), body))
            status = receiver.answers.pop(0) if receiver.answers else 200
            answer = b"HTTP/1.1 %d Well\r\nLocation: http://127.0.0.1:%d/elsewhere\r\nContent-Length: %d\r\n\r\n"
            try:
                for byte in answer % (status, receiver.port, len(receiver.body)) if receiver.pause_seconds else b"":
                    time.sleep(receiver.pause_seconds)
                    self.wfile.write(bytes([byte]))
                if not receiver.pause_seconds:
                    self.wfile.write(answer % (status, receiver.port, len(receiver.body)) + receiver.body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # The platform hung up, as it should.

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
