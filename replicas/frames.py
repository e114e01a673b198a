"""The way that gateways' questions come: frames on a unix socket, each connection with a thread of its own.

A frame is a length of 4 bytes, big endian, and a message: an empty one as a greeting, then a Question from the gateway,
a Reply back, and so on (replica.proto).
One thread reads the question, answers it and sends the reply, so that a batch never waits for another thread's turn
with the interpreter. A connection that breaks the rules is closed, and harms nobody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
import time

import structlog
from google.protobuf.message import DecodeError

from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2
from replicas.calls import Calls
from replicas.errors import InternalError, InvalidQuery, ReplicaError
from replicas.settings import UNIX, HostSettings
from replicas.wire import error_message

log = structlog.get_logger()

FRAMES_SUFFIX = ".q"
HEAD = struct.Struct(">I")
# So that a gateway knows that somebody serves: a kernel takes connections for a process that is dying or frozen, too.
GREETING = HEAD.pack(0)
BACKLOG = 64


def frames_path(address: str) -> str:
    """Where the replica at `address` (unix:/path) takes frames."""
    return address.removeprefix(UNIX) + FRAMES_SUFFIX


class FrameServer:
    """Takes connections from the loop it is started in."""

    def __init__(self, path: str, calls: Calls, settings: HostSettings) -> None:
        self._path = path
        self._calls = calls
        self._connections_max = settings.replica_calls_max
        self._request_bytes_max = settings.replica_request_bytes_max
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connections: dict[socket.socket, threading.Thread] = {}

    def start(self) -> None:
        """Listen. What a dead predecessor left at the path is removed: the identity's lock says that it is dead."""
        if os.path.lexists(self._path):
            os.unlink(self._path)
        self._listener.bind(self._path)
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Stop listening, end every connection, and wait for its thread."""
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        os.unlink(self._path)
        for connection, thread in list(self._connections.items()):
            with contextlib.suppress(OSError):  # Its thread may just have closed it.
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # The caller has gone meanwhile.
        if len(self._connections) >= self._connections_max:
            log.warning("too_many_connections", connections_max=self._connections_max)
            connection.close()
            return
        connection.setblocking(True)
        thread = threading.Thread(target=self._serve, args=(connection,), name="frames", daemon=True)
        self._connections[connection] = thread
        thread.start()

    def _serve(self, connection: socket.socket) -> None:
        """Question, reply, question, reply, until the gateway closes."""
        try:
            with connection:
                connection.sendall(GREETING)
                while self._converse(connection):
                    pass
        except OSError as error:
            log.info("connection_lost", error=str(error))
        finally:
            self._connections.pop(connection, None)

    def _converse(self, connection: socket.socket) -> bool:
        """One question and its reply; False when there is no further one. Raises OSError."""
        head = _receive(connection, HEAD.size)
        if head is None:
            return False
        [size] = HEAD.unpack(head)
        if size > self._request_bytes_max:
            log.warning("frame_too_large", bytes=size, bytes_max=self._request_bytes_max)
            return False
        with self._calls.under_way():
            question = _receive(connection, size)
            if question is None:
                return False
            payload = reply_to(question, self._calls).SerializeToString()
            connection.sendall(HEAD.pack(len(payload)) + payload)
        return True


def reply_to(raw: bytes, calls: Calls) -> replica_pb2.Reply:
    """The reply to a serialised Question, whatever happens."""
    arrived = time.monotonic()
    try:
        return _reply(raw, calls, arrived)
    except DecodeError:
        return _refusal(InvalidQuery("", "REQUEST_UNREADABLE", "the bytes are no Question"))
    except ReplicaError as error:
        return _refusal(error)
    except Exception:
        log.exception("question_failed")
        return _refusal(InternalError())


def _reply(raw: bytes, calls: Calls, arrived: float) -> replica_pb2.Reply:
    question = replica_pb2.Question.FromString(raw)
    kind = question.WhichOneof("question")
    if kind == "answer":
        return replica_pb2.Reply(answer=calls.answer(question.answer, arrived))
    if kind == "get_items":
        request = recall_pb2.GetItemsRequest.FromString(question.get_items)
        return replica_pb2.Reply(items=calls.get_items(request).SerializeToString())
    raise InvalidQuery("", "QUESTION_UNKNOWN", "this replica knows no such question; it may be older than its caller")


def _refusal(error: ReplicaError) -> replica_pb2.Reply:
    return replica_pb2.Reply(error=error_message(error))


def _receive(connection: socket.socket, size: int) -> bytes | None:
    """Exactly `size` bytes; None when the other side closed before. Raises OSError."""
    received = bytearray(size)
    view, start = memoryview(received), 0
    while start < size:
        count = connection.recv_into(view[start:])
        if not count:
            return None
        start += count
    return bytes(received)
