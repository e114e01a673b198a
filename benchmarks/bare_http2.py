"""As little of an HTTP/2 client as a unary gRPC load generator needs.

The generator shares the machine with what it measures, and a whole gRPC client costs more than the gateway's own share
of a call; this costs a fifth. It keeps so many streams open on one connection, each followed by the next. What it
leaves out (waiting for a window before it sends, header decompression) it does not need: requests are smaller than a
stream's first window, and a unary answer that carries a message is a good one.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Iterator
from typing import cast

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD_BYTES = 9
FRAME_BYTES_MAX = 16_384
WINDOW_MAX = 2**31 - 1
WINDOW_DEFAULT = 65_535
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE = 1, 2, 4
# HPACK: entries of the static table, and the first of the dynamic one.
METHOD_POST, SCHEME_HTTP, FIRST_DYNAMIC = 3, 6, 62
INDEXED, LITERAL_INDEXED = 0x80, 0x40
LAST_ANSWERS_SECONDS_MAX = 30.0
GRPC_HEAD = struct.Struct(">BI")


class BareClient(asyncio.Protocol):
    """One connection. `answered` is called with the seconds and the message of each call, None when it failed."""

    def __init__(
        self,
        path: str,
        headers: dict[str, str],
        payloads: Iterator[bytes],
        answered: Callable[[float, bytes | None], None],
    ) -> None:
        self._headers = {":path": path, ":authority": "bench", "te": "trailers", "content-type": "application/grpc"}
        self._headers |= headers
        self._payloads = payloads
        self._answered = answered
        self._received = bytearray()
        self._began: dict[int, float] = {}
        self._messages: dict[int, bytes] = {}
        self._next_stream = 1
        self._window = WINDOW_DEFAULT
        self._more = False
        self._idle: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's in all but name.
        self._transport = cast("asyncio.Transport", transport)
        settings = struct.pack(">HIHIHI", HEADER_TABLE_SIZE, 0, ENABLE_PUSH, 0, INITIAL_WINDOW_SIZE, WINDOW_MAX)
        window = struct.pack(">I", WINDOW_MAX - WINDOW_DEFAULT)
        self._transport.write(PREFACE + _frame(SETTINGS, 0, 0, settings) + _frame(WINDOW_UPDATE, 0, 0, window))

    def connection_lost(self, _exc: Exception | None) -> None:
        for stream in list(self._began):
            self._end(stream, failed=True)
        self._note_idle()

    async def run(self, streams: int, seconds: float) -> None:
        """Keeps `streams` calls under way for so long, then waits for the last ones."""
        self._more = True
        self._transport.write(b"".join(self._request() for _ in range(streams)))
        await asyncio.sleep(seconds)
        self._more = False
        self._idle = asyncio.get_running_loop().create_future()
        self._note_idle()
        await asyncio.wait_for(self._idle, LAST_ANSWERS_SECONDS_MAX)
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        received, at, replies = self._received, 0, []
        while len(received) - at >= FRAME_HEAD_BYTES:
            length = int.from_bytes(received[at : at + 3], "big")
            end = at + FRAME_HEAD_BYTES + length
            if len(received) < end:
                break
            stream = int.from_bytes(received[at + 5 : at + 9], "big")
            body = bytes(received[at + FRAME_HEAD_BYTES : end])
            replies.append(self._take(received[at + 3], received[at + 4], stream, body))
            at = end
        del received[:at]
        self._transport.write(b"".join(replies))
        self._note_idle()

    def _note_idle(self) -> None:
        if self._idle and not self._began and not self._idle.done():
            self._idle.set_result(None)

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> bytes:
        """One frame; returns what is to be sent in return."""
        if kind == DATA:
            self._messages[stream] = self._messages.get(stream, b"") + body
        elif kind == WINDOW_UPDATE and not stream:
            self._window += int.from_bytes(body, "big")
        elif kind == SETTINGS and not flags & ACK:
            return _frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            return _frame(PING, ACK, 0, body)
        elif kind == GOAWAY:
            raise ConnectionError(f"the server went away: {body[8:].decode(errors='replace')}")
        if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
            self._end(stream, failed=kind == RST_STREAM)
            return self._request() if self._more else b""
        return b""

    def _end(self, stream: int, *, failed: bool) -> None:
        message = self._messages.pop(stream, b"")[GRPC_HEAD.size :]
        self._answered(time.perf_counter() - self._began.pop(stream), None if failed or not message else message)

    def _request(self) -> bytes:
        stream = self._next_stream
        self._next_stream += 2
        message = next(self._payloads)
        body = GRPC_HEAD.pack(0, len(message)) + message
        assert len(body) <= WINDOW_DEFAULT, "a request must fit a stream's first window"
        self._window -= len(body)
        assert self._window >= 0, "the connection's window is full; open more connections"
        self._began[stream] = time.perf_counter()
        headers = _frame(HEADERS, END_HEADERS, stream, self._header_block(first=stream == 1))
        return headers + b"".join(_data_frames(stream, body))

    def _header_block(self, *, first: bool) -> bytes:
        """The first request teaches the server the headers, the others refer to them, as every gRPC client does."""
        start = bytes([INDEXED | METHOD_POST, INDEXED | SCHEME_HTTP])
        if first:
            pairs = ((name.encode(), value.encode()) for name, value in self._headers.items())
            return start + b"".join(bytes([LITERAL_INDEXED]) + _text(name) + _text(value) for name, value in pairs)
        return start + bytes(INDEXED | (FIRST_DYNAMIC + place) for place in range(len(self._headers)))


def _data_frames(stream: int, body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), FRAME_BYTES_MAX):
        end = start + FRAME_BYTES_MAX
        yield _frame(DATA, END_STREAM if end >= len(body) else 0, stream, body[start:end])


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def _text(text: bytes) -> bytes:
    """Without Huffman coding; short enough for one byte of length."""
    assert len(text) < 127
    return bytes([len(text)]) + text
