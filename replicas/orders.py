"""What the agent may order of a loaded replica: to warm up, and to prove that it answers rightly."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.base import SearchEffort
from querymodel.alike import alike
from querymodel.errors import QueryModelError
from replicas.answer import answer
from replicas.checks import QueryLimits
from replicas.loaded import LoadedVersion
from replicas.queries import Answer, Floats, Query, Rows
from replicas.recorded import known_features, recorded_queries
from replicas.vectors import stack

WARM_TOP_K = 100
WARM_ROUND_QUERIES_MAX = 1_000
WARM_ROUNDS_MAX = 10
WARM_SECONDS_MAX = 60.0
# The replica is warm when the p99 of two rounds, one after the other, differ by less than this.
WARM_P99_RATIO_MAX = 1.25
# What a process does before it takes its first call, also when it comes back: pages and caches are warm then.
START_ROUND_QUERIES_MAX = 200
START_SECONDS_MAX = 2.0
CHECK_TOP_K = 10
CHECK_AGREEMENT_MIN = 0.98
MS_PER_SECOND = 1_000


@dataclass(frozen=True, slots=True)
class WarmResult:
    """Latencies of the last round, in milliseconds, and how many queries all rounds held."""

    ok: bool
    error: str
    p50_ms: float
    p99_ms: float
    queries: int


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`agreement` is the share of known neighbours that were found, 0 to 1.

    `rows_found` of `rows_sampled` items were found by themselves, as the index found all of them when it was built.
    """

    ok: bool
    error: str
    agreement: float
    version: int
    items: int
    rows_sampled: int = 0
    rows_found: int = 0


def warm(
    loaded: LoadedVersion,
    limits: QueryLimits,
    *,
    round_queries_max: int = WARM_ROUND_QUERIES_MAX,
    seconds_max: float = WARM_SECONDS_MAX,
) -> WarmResult:
    """Replay the artifact's queries one by one, in rounds, until a round is no faster than the one before."""
    queries = recorded_queries(loaded, round_queries_max, WARM_TOP_K)
    if not queries:
        return WarmResult(False, "the artifact holds no warm-up queries", 0.0, 0.0, 0)
    give_up_at = time.monotonic() + seconds_max
    before = np.inf
    answered = 0
    for _ in range(WARM_ROUNDS_MAX):
        took_ms = _replay(loaded, queries, limits, give_up_at)
        answered += len(took_ms)
        p50_ms, p99_ms = np.percentile(took_ms, [50, 99]).tolist()
        steady = max(before, p99_ms) <= WARM_P99_RATIO_MAX * min(before, p99_ms)
        if steady or time.monotonic() > give_up_at:
            break
        before = p99_ms
    return WarmResult(True, "", p50_ms, p99_ms, answered)


def _replay(loaded: LoadedVersion, queries: Sequence[Query], limits: QueryLimits, give_up_at: float) -> list[float]:
    """Milliseconds of each query, answered as a caller's would be. At least one, then until `give_up_at`."""
    took_ms: list[float] = []
    for query in queries:
        query.arrived = started = time.monotonic()
        outcome = answer(loaded, [query], limits)[0]
        if not isinstance(outcome, Answer):
            raise outcome
        loaded.ids_of(outcome.rows)
        took_ms.append((time.monotonic() - started) * MS_PER_SECOND)
        if time.monotonic() > give_up_at:
            break
    return took_ms


def check(loaded: LoadedVersion) -> CheckResult:
    """Ask what the index was asked when it was built, and compare; the count must be right too."""
    schema, count = loaded.schema, loaded.searcher.rows_held()
    known = loaded.artifact.known()
    agreement = _agreement(loaded, *known) if known else 0.0
    error = ""
    if count != schema.searchable_items:
        error = f"the index holds {count} items, the manifest says {schema.searchable_items}"
    elif not known:
        error = "the artifact holds no known queries"
    elif agreement < CHECK_AGREEMENT_MIN:
        error = f"{agreement:.3f} of the known neighbours were found, {CHECK_AGREEMENT_MIN} are required"
    error = error or _model_error(loaded)
    sampled, found = _find_selves(loaded)
    return CheckResult(not error, error, agreement, schema.version, count, sampled, found)


def _agreement(loaded: LoadedVersion, queries: Floats, known: Rows) -> float:
    matrix = stack([np.asarray(query, dtype="<f4").tobytes() for query in queries], loaded.schema).matrix
    effort = SearchEffort(ef=loaded.schema.ef, nprobe=loaded.schema.nprobe)
    rows, _ = loaded.searcher.search(matrix, CHECK_TOP_K, effort)
    # A list with fewer than CHECK_TOP_K items is filled up with -1.
    expected = sum(_items(neighbours).size for neighbours in known)
    found = sum(np.intersect1d(_items(got), _items(want)).size for got, want in zip(rows, known, strict=True))
    return found / expected if expected else 0.0


def _model_error(loaded: LoadedVersion) -> str:
    """What is wrong with the query model on this machine, if it gives other vectors than when it was tried."""
    known = known_features(loaded)
    if loaded.query_model is None or known is None:
        return ""
    features, vectors = known
    for found, wanted in zip(loaded.query_model.encode(features), vectors, strict=True):
        if isinstance(found, QueryModelError):
            return f"the query model does not encode its recorded features: {found.message}"
        if found is None or not alike(found, wanted):
            return "the query model gives other vectors for its recorded features than when it was tried"
    return ""


def _find_selves(loaded: LoadedVersion) -> tuple[int, int]:
    """How many sampled rows there are, and how many of them are found by their own vectors."""
    rows = loaded.artifact.sampled_rows()
    if not len(rows):
        return 0, 0
    effort = SearchEffort(ef=loaded.schema.ef, nprobe=loaded.schema.nprobe)
    found, _ = loaded.searcher.search(np.ascontiguousarray(loaded.vectors[rows]), CHECK_TOP_K, effort)
    return len(rows), int((found == np.asarray(rows)[:, np.newaxis]).any(axis=1).sum())


def _items(rows: Rows) -> NDArray[np.int64]:
    return rows[rows >= 0]
