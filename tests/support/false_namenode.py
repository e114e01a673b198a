"""A name node that lies: it speaks WebHDFS, lists one drop, and sends its readers wherever a test says."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAYLOAD = b'{"items": ["items.csv"]}'


class FalseNamenode:
    """`send_to` is where OPEN leads; `asked` is what came in. With `statuses` it lists those files instead."""

    def __init__(self) -> None:
        self.send_to = ""
        self.redirect_everything = False
        self.status = 200
        # Answers only when it is set.
        self.answering = threading.Event()
        self.answering.set()
        self.asked: list[str] = []
        self.statuses: list[dict[str, Any]] = [_file("manifest.json", len(PAYLOAD)), _file("items.csv", 10)]
        self.payload = PAYLOAD
        self.address = ""

    def list_files(self, sizes: Mapping[str, int]) -> None:
        self.statuses = [_file(name, size) for name, size in sizes.items()]


def _file(name: str, size: int, kind: str = "FILE") -> dict[str, Any]:
    return {"pathSuffix": name, "type": kind, "length": size, "modificationTime": 1, "fileId": 1}


def link(name: str) -> dict[str, Any]:
    return {**_file(name, 10, "SYMLINK"), "symlink": "/data/books/items.csv"}


@contextlib.contextmanager
def running_false_namenode() -> Iterator[FalseNamenode]:
    told = FalseNamenode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append(self.path)
            told.answering.wait()
            parts = urlsplit(self.path)
            op = parse_qs(parts.query).get("op", [""])[0]
            if told.status != 200:
                self._answer(told.status, b"{}")
            elif told.redirect_everything or (op == "OPEN" and told.send_to):
                self._answer(307, b"", Location=told.send_to)
            elif op == "LISTSTATUS":
                self._say({"FileStatuses": {"FileStatus": told.statuses}})
            elif op == "GETFILESTATUS":
                name = parts.path.rpartition("/")[2]
                found = next(each for each in told.statuses if each["pathSuffix"] == name)
                self._say({"FileStatus": {**found, "pathSuffix": ""}})
            else:
                self._answer(200, told.payload)

        def _say(self, what: dict[str, Any]) -> None:
            self._answer(200, json.dumps(what).encode())

        def _answer(self, status: int, payload: bytes, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            # Whoever asked may have given up.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        told.answering.set()
        server.shutdown()
        server.server_close()
        thread.join()
