"""A read that may be asked twice, for threads: its caller's thread waits for the first call, another starts the second.

gRPC's futures would do it in a few lines, and have a thread started for nearly every call: the median of 0.5 ms became
0.9 ms. A call that streams one response is answered in the thread that asks, can be cancelled from another one, and
costs a tenth of that.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from recall_client.endpoints import Endpoint

# Has a call that streams run in the thread that asks; grpc.experimental.ChannelOptions has the name, too.
CHANNEL_OPTION = ("SingleThreadedUnaryStream", 1)
ALARM_THREAD = "recall-hedges"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One call under way at one endpoint."""

    endpoint: Endpoint
    call: Any


class Race:
    """A first call, and perhaps a second one. `note` hears how each ended that was not cancelled here."""

    def __init__(
        self, first: Run, second: Callable[[], Run | None], note: Callable[[Endpoint, grpc.StatusCode], None]
    ) -> None:
        self._first = first
        self._make_second = second
        self._note = note
        self._second: Run | None = None
        self._over = False
        self._lock = threading.Lock()

    def answer(self) -> Any:
        """The first good response. Raises grpc.RpcError, of the second call if there was one."""
        try:
            response = _only_response(self._first.call)
        except grpc.RpcError as error:
            second = self._end()
            if error.code() is not grpc.StatusCode.CANCELLED:
                self._note(self._first.endpoint, error.code())
            if second is None:
                raise
            return second.call.result()
        except BaseException:
            # The caller was interrupted: nobody waits for either call any more.
            self._first.call.cancel()
            self._cancel_second()
            raise
        self._cancel_second()
        return response

    def hedge(self) -> None:
        """Starts the second call, unless the race is over; called by the alarm."""
        with self._lock:
            if self._over:
                return
            second = self._second = self._make_second()
        if second is not None:
            second.call.add_done_callback(lambda call: self._second_ended(second, call))

    def _second_ended(self, second: Run, call: Any) -> None:
        code = call.code()
        if code is not grpc.StatusCode.OK:
            if code is not grpc.StatusCode.CANCELLED:
                self._note(second.endpoint, code)
            return
        with self._lock:
            if self._over:
                return
        self._first.call.cancel()

    def _end(self) -> Run | None:
        with self._lock:
            self._over = True
            return self._second

    def _cancel_second(self) -> None:
        second = self._end()
        if second is not None:
            second.call.cancel()


class Alarms:
    """One thread that calls back at given times, started with the first of them. Safe to share among threads.

    A hedge is a second try at what is under way already, so that one which cannot be made is logged and fails nobody.
    """

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._changed = threading.Condition()

    def at(self, when: float, callback: Callable[[], None]) -> None:
        """`when` is of time.monotonic(); the callback must be short."""
        with self._changed:
            if not self._is_running():
                return
            entry = (when, next(self._numbers), callback)
            heapq.heappush(self._due, entry)
            if self._due[0] is entry:
                self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _is_running(self) -> bool:
        """Whether there is the thread, which is started if there is none; a process may have too many already."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=ALARM_THREAD, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                log.warning("no thread for hedges could be started; the call goes on without one", exc_info=True)
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        while True:
            callback = self._next()
            if callback is None:
                return
            try:
                callback()
            except Exception:
                # Such as "can't start new thread". The thread lives on for the races that come.
                log.exception("a hedge could not be started; the call goes on without one")

    def _next(self) -> Callable[[], None] | None:
        """The next callback, once its time has come; None when closed."""
        with self._changed:
            while not self._closed:
                wait_seconds = self._due[0][0] - time.monotonic() if self._due else None
                if wait_seconds is not None and wait_seconds <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait_seconds)
            return None


def _only_response(call: Any) -> Any:
    """The response of a call that streams one; read to the end, where its status is."""
    (response,) = call
    return response
