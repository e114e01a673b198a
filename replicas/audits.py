"""The audit of a loaded version: known-answer queries, asked as a caller's would be, and how long each took.

It runs in the answering threads beside callers' queries, so that it costs little: a few queries each time, in turn.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from itertools import count

import numpy as np

from engines.errors import EngineError, EngineUnavailable
from replicas.answer import answer
from replicas.checks import QueryLimits
from replicas.errors import EngineAway, InternalError
from replicas.loaded import LoadedVersion
from replicas.orders import CHECK_AGREEMENT_MIN, CHECK_TOP_K, MS_PER_SECOND
from replicas.queries import Answer, Floats, MergePolicy, Query, QueryKind, Rows

AUDIT_QUERIES_MAX = 10
# No further query is asked after so long; one always is.
AUDIT_SECONDS_MAX = 0.02
# Of what is left of an audit's time, what a server that the engine asks may take: that it is silent is to be told.
SERVER_SHARE_MAX = 0.7


@dataclass(frozen=True, slots=True)
class AuditResult:
    """`agreement` is the share of known neighbours that were found, 0 to 1; latencies in milliseconds."""

    ok: bool
    error: str
    agreement: float
    p50_ms: float
    p99_ms: float
    queries: int
    items: int = 0


class Auditor:
    """Audits one loaded version, with other queries each time, until all had their turn.

    Agreement is judged over the last turn of all known queries, by the limit of the check: a few queries alone would
    call one neighbour in ten wrong that the check lets pass. So many misses as that are wrong at once, too.
    """

    def __init__(self, loaded: LoadedVersion, limits: QueryLimits) -> None:
        self._loaded, self._limits = loaded, limits
        nothing = np.empty((0, 0), np.float32), np.empty((0, 0), np.int64)
        known: tuple[Floats, Rows] = loaded.artifact.known() or nothing
        self._queries, self._rows = known
        self._turn = count()
        # What came of each known query the last time it was asked: neighbours found, and known.
        self._outcomes: deque[tuple[int, int]] = deque(maxlen=len(self._queries) or 1)
        known_items = int((self._rows >= 0).sum())
        self._misses_max = (1 - CHECK_AGREEMENT_MIN) * known_items

    def audit(self, until: float = math.inf) -> AuditResult:
        """Ask at most AUDIT_QUERIES_MAX queries within AUDIT_SECONDS_MAX. Raises what a query is refused with.

        `until`: a moment of time.monotonic() from which on nobody waits for it.
        """
        loaded = self._loaded
        if not len(self._queries):
            return AuditResult(False, "the artifact holds no known queries", 0.0, 0.0, 0.0, 0)
        took_ms: list[float] = []
        give_up_at = time.monotonic() + AUDIT_SECONDS_MAX
        while len(took_ms) < AUDIT_QUERIES_MAX and (not took_ms or time.monotonic() < give_up_at):
            started = time.monotonic()
            got, want = self._ask(started, until)
            took_ms.append((time.monotonic() - started) * MS_PER_SECOND)
            self._outcomes.append((int(np.intersect1d(got, want).size), int(want.size)))
        # A copy: an audit that its agent has given up may still be running in another thread.
        found, expected = (sum(column) for column in zip(*self._outcomes.copy(), strict=True))
        agreement = found / expected if expected else 0.0
        error = ""
        items = self._rows_held(until)
        if items != loaded.schema.searchable_items:
            error = f"the index holds {items} items, not {loaded.schema.searchable_items}"
        elif not expected or expected - found > self._misses_max:
            error = f"{agreement:.3f} of the known neighbours were found, {CHECK_AGREEMENT_MIN} are required"
        p50_ms, p99_ms = np.percentile(took_ms, [50, 99]).tolist()
        return AuditResult(not error, error, agreement, p50_ms, p99_ms, len(took_ms), items)

    def _rows_held(self, until: float) -> int:
        """Answers alone do not tell that rows are gone: what an index lacks is scanned for. Raises ReplicaError."""
        now = time.monotonic()
        try:
            return self._loaded.searcher.rows_held(
                None if until == math.inf else now + (until - now) * SERVER_SHARE_MAX
            )
        except EngineUnavailable as error:
            raise EngineAway(error.message) from error
        except EngineError as error:
            raise InternalError(error.message) from error

    def _ask(self, started: float, until: float) -> tuple[Rows, Rows]:
        """The rows that the next known query is answered with now, and those that are known."""
        turn = next(self._turn) % len(self._queries)
        vector = np.asarray(self._queries[turn], dtype="<f4").tobytes()
        query = Query(QueryKind.VECTORS, [vector], [], CHECK_TOP_K, MergePolicy.MAX, arrived=started)
        if until < math.inf:
            query.deadline_ms = max(1, int((until - started) * SERVER_SHARE_MAX * MS_PER_SECOND))
        outcome = answer(self._loaded, [query], self._limits)[0]
        if not isinstance(outcome, Answer):
            raise outcome
        # A list with fewer than CHECK_TOP_K items is filled up with -1.
        known = self._rows[turn]
        return np.asarray(outcome.rows), known[known >= 0]
