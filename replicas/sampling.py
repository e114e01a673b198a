"""Samples of the queries that callers ask, for the builds of later versions: kept here, handed on in a small file.

Only vectors as they were searched are kept, with their top_k, and only for a day: two reservoirs follow one another, of
twelve hours each. The way of a query costs a comparison and never waits; a thread of its own writes the file, which a
process that comes back begins from.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog

from bundles import samples
from bundles.errors import SamplesError
from bundles.samples import SAMPLES_SECONDS_MAX, Int32, Samples, Space, Window
from replicas.answer import Work
from replicas.queries import Floats
from replicas.reservoir import Reservoir
from replicas.schema import VersionSchema
from replicas.settings import HostSettings

log = structlog.get_logger()

WINDOW_SECONDS = SAMPLES_SECONDS_MAX / 2
# What a process that dies without notice loses. Replicas that started together do not write together.
FLUSH_SECONDS_MIN, FLUSH_SECONDS_MAX = 45.0, 75.0


def space_of(schema: VersionSchema) -> Space:
    """Where this version's query vectors are at home."""
    return Space(schema.dimension, schema.metric, schema.normalized, schema.model_version)


@dataclass
class _Open:
    """The window that is being filled. `vectors` [size, d] and `top_k` [size] are filled as far as its reservoir is."""

    began_at: float
    reservoir: Reservoir
    vectors: Floats
    top_k: Int32

    def closed(self) -> Window:
        """What it holds now, as copies."""
        filled = self.reservoir.filled
        return Window(self.began_at, self.reservoir.seen, self.vectors[:filled].copy(), self.top_k[:filled].copy())


class Sampler:
    """Of one loaded version. `offer` may be called by any thread, `flush` by one at a time."""

    def __init__(
        self,
        schema: VersionSchema,
        manifest_sha256: str,
        path: Path,
        *,
        size: int,
        random: np.random.Generator | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """At most `size` (1 or more) queries a window; `clock` is Unix time."""
        self._kept = Samples(schema.tenant, schema.service, manifest_sha256, space_of(schema), ())
        self._path = path
        self._size = min(size, max(1, samples.WINDOW_BYTES_MAX // schema.vector_bytes))
        self._random = random or np.random.default_rng()
        self._clock = clock
        self._lock = threading.Lock()
        self._past: deque[Window] = deque(maxlen=samples.WINDOWS_MAX - 1)
        self._open = self._resumed() or self._empty()
        # Of the file: which window was open, with how many queries, after how many others.
        self._written: tuple[float, int, int] | None = None
        self._refused = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._flush_again_and_again, name="samples", daemon=True)

    @classmethod
    def of(cls, schema: VersionSchema, manifest_sha256: str, replica_id: str, settings: HostSettings) -> Sampler | None:
        """None when nothing is to be sampled; what was, is deleted then."""
        path = samples.path_of(settings.samples, schema.tenant, schema.service, replica_id)
        if settings.query_samples:
            return cls(schema, manifest_sha256, path, size=settings.query_samples)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("samples_not_deleted", path=str(path), error=str(error))
        return None

    def start(self) -> None:
        """From now on the file follows what is sampled."""
        self._thread.start()

    def close(self) -> None:
        """What was sampled until now is in the file."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._flush_if_possible()

    def offer(self, works: Sequence[Work]) -> None:
        """Some of these encoded queries may be kept. Whoever comes while another thread is here is passed over."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            for place, slot in self._open.reservoir.take(len(works)):
                vectors = works[place].encoded.vectors
                # Of a query by several vectors one, so that each query counts alike.
                which = int(self._random.integers(len(vectors))) if len(vectors) > 1 else 0
                self._open.vectors[slot] = vectors[which]
                self._open.top_k[slot] = works[place].query.top_k
        finally:
            self._lock.release()

    def flush(self) -> None:
        """Forget what is too old, and write the file if anything has changed. Raises OSError."""
        with self._lock:
            self._turn(self._clock())
            held, past = self._open.closed(), tuple(self._past)
        state = (held.began_at, held.seen, len(past))
        if state == self._written:
            return
        windows = (*past, held) if held.seen else past
        if windows:
            samples.write(self._path, replace(self._kept, windows=windows))
        else:
            self._path.unlink(missing_ok=True)
        self._written = state

    def _turn(self, now: float) -> None:
        """Close a window that has been open long enough, or since a moment that is still to come."""
        while self._past and not self._past[0].is_fresh(now):
            self._past.popleft()
        if 0 <= now - self._open.began_at < WINDOW_SECONDS:
            return
        last = self._open.closed()
        if last.seen and last.is_fresh(now):
            self._past.append(last)
        self._open = self._empty()

    def _empty(self, began_at: float | None = None, seen: int = 0) -> _Open:
        return _Open(
            began_at=self._clock() if began_at is None else began_at,
            reservoir=Reservoir(self._size, self._random, seen=seen),
            vectors=np.empty((self._size, self._kept.space.dimension), np.float32),
            top_k=np.empty(self._size, np.int32),
        )

    def _resumed(self) -> _Open | None:
        """The window that this replica's last process was filling; its others are past. None when there is none."""
        now = self._clock()
        for window in self._found():
            filled = len(window.vectors)
            if 0 <= now - window.began_at < WINDOW_SECONDS and filled == min(window.seen, self._size):
                opened = self._empty(window.began_at, window.seen)
                opened.vectors[:filled], opened.top_k[:filled] = window.vectors, window.top_k
                return opened
            if window.is_fresh(now):
                self._past.append(window)
        return None

    def _found(self) -> Sequence[Window]:
        """What lies in the file, oldest first; nothing of another version's."""
        try:
            found = samples.read(self._path)
        except FileNotFoundError:
            return ()
        except SamplesError as error:
            log.warning("samples_ignored", error=error.message)
            return ()
        same = (found.manifest_sha256, found.space) == (self._kept.manifest_sha256, self._kept.space)
        return sorted(found.windows, key=lambda window: window.began_at) if same else ()

    def _flush_again_and_again(self) -> None:
        while not self._stopping.wait(float(self._random.uniform(FLUSH_SECONDS_MIN, FLUSH_SECONDS_MAX))):
            self._flush_if_possible()

    def _flush_if_possible(self) -> None:
        """What the disk refuses is tried again; the log hears of it once until it works."""
        try:
            self.flush()
        except OSError as error:
            if not self._refused:
                log.warning("samples_not_written", path=str(self._path), error=str(error))
            self._refused = True
        else:
            self._refused = False
