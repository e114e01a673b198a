"""What all threads of this process know of one instance: whether it is asked, and its heartbeat.

Engines import nothing of ours, and a build's child speaks on its standard output; so this logs by the standard library.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from engines.errors import EngineError, EngineUnavailable
from engines.milvus.breaker import Breaker

log = logging.getLogger(__name__)


class Circuit:
    """Is told by every call what came of it. Of any thread."""

    def __init__(self, name: str, beat: Callable[[], object]) -> None:
        """`beat` asks the instance something cheap, tells this circuit what came of it, and may raise EngineError."""
        self._name = name
        self._beat = beat
        self._breaker = Breaker(time.monotonic())
        self._lock = threading.Lock()
        self._look_now = threading.Event()
        # Ends the waiting of those who have asked already when it opens; another one from then on.
        self._opening: Future[None] = Future()

    def start(self) -> None:
        """Begins to feel the heart, for as long as the process lives."""
        threading.Thread(target=self._feel, name=f"milvus-{self._name}-heart", daemon=True).start()

    def closed(self) -> Future[None]:
        """What is done as soon as it opens. Raises EngineUnavailable while it is open."""
        with self._lock:
            if self._breaker.wanted(time.monotonic()):
                self._look_now.set()
            if self._breaker.is_open:
                raise EngineUnavailable(f"{self._breaker.why}; it is asked again as soon as it answers")
            return self._opening

    def silent_seconds(self) -> float:
        """Since its last answer, if it has been asked in vain since."""
        with self._lock:
            return self._breaker.silent_seconds(time.monotonic())

    def answered(self) -> None:
        with self._lock:
            silent = self._breaker.silent_seconds(time.monotonic())
            closes = self._breaker.answered(time.monotonic())
            if closes:
                self._opening = Future()
        if closes:
            log.warning("the instance %s answers again, after %.1f s", self._name, silent)

    def failed(self, why: str) -> None:
        with self._lock:
            opens = self._breaker.failed(why)
            opening = self._opening
        self._look_now.set()
        if opens:
            log.warning("%s; it is not asked until it answers", why)
            opening.set_result(None)

    def _feel(self) -> None:
        while True:
            with self._lock:
                pause_seconds = self._breaker.pause_seconds(time.monotonic())
            asked_to_look = self._look_now.wait(pause_seconds)
            with self._lock:
                in_doubt = self._breaker.is_in_doubt(time.monotonic())
            if asked_to_look or in_doubt:
                self._beat_once()
            # Also what the beat itself has set, so that there is a pause after each.
            self._look_now.clear()

    def _beat_once(self) -> None:
        try:
            self._beat()
        except EngineError:
            return  # The circuit has been told.
        except Exception as error:
            log.exception("the heart of the instance %s could not be felt", self._name)
            self.failed(f"the instance {self._name}: {type(error).__name__}")
