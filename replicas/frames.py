"""The way that gateways' questions come: frames on a unix socket, each connection with a thread of its own.

A frame is a length of 4 bytes, big endian, and a message: an empty one as a greeting, then a Question from the gateway,
a Reply back, and so on (replica.proto).
One thread reads the question, answers it and sends the reply, so that a batch never waits for another thread's turn
with the interpreter. A connection that breaks the rules is closed, and harms nobody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2
from replicas.calls import Arrival, CallerGone, Calls
from replicas.errors import InternalError, InvalidQuery, QuestionTooLarge, ReplicaError
from replicas.framing import GREETING, HEAD
from replicas.places import Lane
from replicas.polling import Lines, Poller
from replicas.settings import HostSettings
from replicas.wire import error_message

log = structlog.get_logger()

BACKLOG = 64
# Of a frame's first read. An ordinary query is smaller.
FIRST_READ_BYTES = 16_384
# When the process has no descriptor or thread left, callers wait in the backlog for so long.
ACCEPT_PAUSE_SECONDS = 0.5
# For replies that are still under way when the server closes.
CLOSE_SECONDS_MAX = 3.0
MS_PER_SECOND = 1_000
US_PER_SECOND = 1_000_000


class FrameServer:
    """Takes connections from the loop it is started in."""

    def __init__(self, path: str, calls: Calls, settings: HostSettings) -> None:
        self._path = Path(path)
        self._calls = calls
        self._connections_max = settings.replica_connections_max
        self._poll_seconds_max = settings.poll_us_max / US_PER_SECOND
        self._lines = Lines()
        self._request_bytes_max = settings.replica_request_bytes_max
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._pause: asyncio.TimerHandle | None = None
        self._full = False
        self._closing = False

    def start(self) -> None:
        """Listen. What a dead predecessor left at the path is removed: the identity's lock says that it is dead."""
        self._path.unlink(missing_ok=True)
        self._listener.bind(str(self._path))
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        self._take_callers()

    async def close(self) -> None:
        """Stop listening, let replies under way go out for a while, and end every connection."""
        self._closing = True
        if self._pause is not None:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)
        lines = list(self._connections.items())
        _shut((connection for connection, _ in lines), socket.SHUT_RD)
        await asyncio.to_thread(_join, [thread for _, thread in lines], CLOSE_SECONDS_MAX)
        left = list(self._connections)
        if left:
            log.warning("closed_under_way", connections=len(left), seconds=CLOSE_SECONDS_MAX)
        _shut(left, socket.SHUT_RDWR)

    def _take_callers(self) -> None:
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # The caller has gone meanwhile.
        except OSError as error:
            # Of descriptors or memory there is none. The caller stays where it is, and the loop would spin on it.
            self._pause_accepting(error)
            return
        if self._has_room():
            connection.setblocking(True)
            self._converse_in_a_thread(connection)
        else:
            connection.close()

    def _has_room(self) -> bool:
        """Whether one more connection may be; the log hears of it once until there is room again."""
        was_full, self._full = self._full, len(self._connections) >= self._connections_max
        if self._full and not was_full:
            log.warning("too_many_connections", connections_max=self._connections_max)
        return not self._full

    def _converse_in_a_thread(self, connection: socket.socket) -> None:
        thread = threading.Thread(target=self._serve, args=(connection,), name="frames", daemon=True)
        self._connections[connection] = thread
        try:
            thread.start()
        except RuntimeError as error:  # The system allows this process no further thread.
            del self._connections[connection]
            connection.close()
            self._pause_accepting(error)

    def _pause_accepting(self, error: Exception) -> None:
        log.warning("cannot_accept", error=str(error), pause_seconds=ACCEPT_PAUSE_SECONDS)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        self._pause = loop.call_later(ACCEPT_PAUSE_SECONDS, self._take_callers)

    def _serve(self, connection: socket.socket) -> None:
        """Question, reply, question, reply, until the gateway closes."""
        poller = Poller(connection, self._poll_seconds_max, self._lines)
        try:
            with connection:
                connection.sendall(GREETING)
                while self._converse(connection, poller):
                    pass
        except CallerGone:
            log.info("caller_gone")
        except OSError as error:
            log.info("connection_lost", error=str(error))
        finally:
            self._connections.pop(connection, None)

    def _converse(self, connection: socket.socket, poller: Poller) -> bool:
        """One question and its reply; False when there is no further one. Raises OSError, CallerGone."""
        received = _begin(connection, poller)
        if received is None:
            return False
        [size] = HEAD.unpack_from(received)
        if size > self._request_bytes_max:
            log.warning("frame_too_large", bytes=size, bytes_max=self._request_bytes_max)
            # What it sends is not read to its end, so that nothing can follow.
            _send(connection, _refusal(QuestionTooLarge(self._request_bytes_max)))
            return False
        with self._calls.under_way:
            question = _rest(connection, received[HEAD.size :], size)
            if question is None:
                return False
            _send(connection, reply_to(question, self._calls, lambda: self._closing or not _hung_up(connection)))
        return True


def reply_to(raw: bytes, calls: Calls, is_awaited: Callable[[], bool]) -> replica_pb2.Reply:
    """The reply to a serialised Question, whatever happens. Raises CallerGone when nobody is there to hear it."""
    try:
        return _reply(raw, calls, is_awaited)
    except CallerGone:
        raise
    except DecodeError:
        return _refusal(InvalidQuery("", "REQUEST_UNREADABLE", "the bytes are no Question"))
    except ReplicaError as error:
        return _refusal(error)
    except Exception:
        log.exception("question_failed")
        return _refusal(InternalError())


def _reply(raw: bytes, calls: Calls, is_awaited: Callable[[], bool]) -> replica_pb2.Reply:
    now = time.monotonic()
    question = replica_pb2.Question.FromString(raw)
    deadline = now + question.deadline_ms / MS_PER_SECOND if question.deadline_ms else math.inf
    # Of a lane that only a newer gateway knows, nothing is known but that it is not the quick one.
    lane = Lane.QUICK if question.lane == replica_pb2.QUICK else Lane.COSTLY
    arrival = Arrival(now, deadline, is_awaited, lane, is_callers=True)
    kind = question.WhichOneof("question")
    reply = replica_pb2.Reply()
    if kind == "answer":
        # An empty answer is one, too.
        reply.answer.SetInParent()
        # In place: a message that is given to another one is copied, by way of its bytes.
        calls.answer(question.answer, arrival, reply.answer)
        return reply
    if kind == "get_items":
        request = recall_pb2.GetItemsRequest.FromString(question.get_items)
        reply.items = calls.get_items(request, arrival)
        return reply
    raise InvalidQuery("", "QUESTION_UNKNOWN", "this replica knows no such question; it may be older than its caller")


def _refusal(error: ReplicaError) -> replica_pb2.Reply:
    return replica_pb2.Reply(error=error_message(error))


def _send(connection: socket.socket, reply: replica_pb2.Reply) -> None:
    payload = reply.SerializeToString()
    connection.sendall(HEAD.pack(len(payload)) + payload)


def _begin(connection: socket.socket, poller: Poller) -> bytes | None:
    """The head of a frame, and as a rule all of it in the same read; None when there is no further one.

    Raises OSError.
    """
    received = poller.receive(FIRST_READ_BYTES)
    while received and len(received) < HEAD.size:
        more = connection.recv(FIRST_READ_BYTES)
        if not more:
            return None
        received += more
    return received or None


def _rest(connection: socket.socket, begun: bytes, size: int) -> bytes | None:
    """The `size` bytes that `begun` begins; None when the other side closed before, or sent more. Raises OSError."""
    received = begun
    while len(received) < size:  # A signal may cut a read short.
        more = connection.recv(size - len(received), socket.MSG_WAITALL)
        if not more:
            return None
        received += more
    if len(received) > size:
        # The next question came before the reply to this one: of a line out of step nothing can be believed.
        log.warning("frame_out_of_step", bytes=len(received) - size)
        return None
    return received


def _hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _shut(connections: Iterable[socket.socket], how: int) -> None:
    for connection in connections:
        with contextlib.suppress(OSError):  # Its thread may just have closed it.
            connection.shutdown(how)


def _join(threads: list[threading.Thread], seconds_max: float) -> None:
    """Wait for all of them, at most so long in all."""
    give_up_at = time.monotonic() + seconds_max
    for thread in threads:
        thread.join(max(0.0, give_up_at - time.monotonic()))
