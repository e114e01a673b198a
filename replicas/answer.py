"""From queries to answers, on one screen: check -> encode -> (sample) -> search -> merge -> attributes.

A batch is answered as one: whatever its queries ask by, it becomes vectors, and queries of equal effort share one
search. Whatever happens to one query never touches another one's answer. Plain functions, run in the host's answering
threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import structlog

from engines.base import SearchEffort
from engines.errors import DeadlineOver, EngineError, EngineUnavailable, QueryInvalid
from engines.rowset import RowSet
from replicas.attributes import attach_columns
from replicas.checks import QueryLimits, check_query
from replicas.encoding import encode
from replicas.errors import DeadlinePassed, EngineAway, InternalError, InvalidQuery, ReplicaError
from replicas.loaded import LoadedVersion
from replicas.merge import merge
from replicas.queries import MS_PER_SECOND, Answer, Floats, Outcome, Query, Rows, Timing
from replicas.vectors import NO_ROWS, Encoded

log = structlog.get_logger()

# Up to so many excluded rows are cut from lists that are longer by as many, which costs next to nothing, and queries
# that exclude different rows still share a search. More are a set of rows, and its query is searched on its own.
EXCLUDED_CUT_MAX = 256
# Of a query's time, what an answer that a server has to give leaves for the way back to the caller.
WAY_BACK_MS_MAX = 50
WAY_BACK_SHARE_MAX = 0.2
US_PER_SECOND = 1_000_000
NOT_ENCODED = Encoded(np.empty((0, 0), dtype=np.float32))


class Effort(NamedTuple):
    """Queries of equal effort cost the same and are searched together. `reach` is max(items to fetch, ef); `allowed` is
    the id() of the set of rows that they may be answered with, 0 for all rows."""

    reach: int
    nprobe: int | None
    exact: bool
    allowed: int


@dataclass(slots=True, eq=False)
class Work:
    """One query on its way: it is searched by m vectors (`encoded`), `rows` and `scores` are [m, width]."""

    query: Query
    outcome: Outcome | None = None
    encoded: Encoded = NOT_ENCODED
    allowed: RowSet | None = None
    excluded: Rows = field(default_factory=lambda: NO_ROWS)
    width: int = 0
    ef: int = 0
    rows: Rows | None = None
    scores: Floats | None = None
    search_us: int = 0
    # time.monotonic() when its batch was begun; before that it waited.
    begun: float = 0.0


# Is shown the queries of a batch that have their vectors, before they are searched.
Observer = Callable[[Sequence[Work]], None]


def answer(
    loaded: LoadedVersion, queries: Sequence[Query], limits: QueryLimits, observe: Observer | None = None
) -> list[Outcome]:
    """An Answer or a ReplicaError for each query, in order."""
    begun = time.monotonic()
    works = [Work(query, begun=begun) for query in queries]
    checked = [work for work in works if _check(loaded, work, limits)]
    ready = _encode(loaded, _drop_late(checked))
    if observe is not None:
        observe(ready)
    for effort, group in _groups(loaded, ready).items():
        _search(loaded, effort, group)
    found = [work for work in ready if work.outcome is None]
    for work in found:
        work.outcome = _merged(loaded, work)
    _attach(loaded, [work for work in found if isinstance(work.outcome, Answer)])
    return [work.outcome or InternalError() for work in works]


def _check(loaded: LoadedVersion, work: Work, limits: QueryLimits) -> bool:
    query = work.query
    try:
        check_query(query, loaded.schema, limits)
        if query.filter.strip():
            work.allowed = _selected(loaded, query)
    except ReplicaError as error:
        work.outcome = error
    return work.outcome is None


def _selected(loaded: LoadedVersion, query: Query) -> RowSet:
    """The rows that its filter selects. Raises InvalidQuery, DeadlinePassed, InternalError."""
    if query.is_late(time.monotonic()):
        raise DeadlinePassed
    try:
        return loaded.matcher.rows(query.filter)
    except ReplicaError:
        raise
    except Exception as error:
        log.exception("filter_failed")
        raise InternalError from error


def _encode(loaded: LoadedVersion, works: list[Work]) -> list[Work]:
    """Gives each query what it is searched by; returns those that have got it."""
    for work, encoded in zip(works, encode(loaded, [work.query for work in works]), strict=True):
        if isinstance(encoded, ReplicaError):
            work.outcome = encoded
        else:
            work.encoded = encoded
            _exclude(loaded, work)
    return [work for work in works if work.outcome is None]


def _groups(loaded: LoadedVersion, works: list[Work]) -> dict[Effort, list[Work]]:
    """Works by effort. Items that are excluded yet widen the search by as many, so that top_k remain after the cut."""
    groups: dict[Effort, list[Work]] = {}
    schema = loaded.schema
    for work in works:
        query = work.query
        work.width = min(query.top_k + work.excluded.size, schema.searchable_items)
        work.ef = 0 if query.exact else query.ef or schema.ef or 0
        allowed = 0 if work.allowed is None else id(work.allowed)
        effort = Effort(max(work.width, work.ef), query.nprobe or schema.nprobe, query.exact, allowed)
        groups.setdefault(effort, []).append(work)
    return groups


def _exclude(loaded: LoadedVersion, work: Work) -> None:
    """A few excluded items are cut out of what is found; many are left out of the search."""
    try:
        work.excluded = _excluded(loaded, work)
        if work.excluded.size > EXCLUDED_CUT_MAX:
            work.allowed = (work.allowed or loaded.all_searchable).without(work.excluded)
            work.excluded = NO_ROWS
    except Exception:
        log.exception("exclusion_failed")
        work.outcome = InternalError()


def _excluded(loaded: LoadedVersion, work: Work) -> Rows:
    """Rows that could be answers and must not be: those that the caller names, and those that the query is made of."""
    query, own = work.query, work.encoded.own_rows
    named = query.exclude_text_ids if loaded.schema.text_ids else query.exclude_ids
    if not named:
        return own
    rows = loaded.searchable_rows(named)
    return np.union1d(rows, own) if own.size else rows


def _search(loaded: LoadedVersion, effort: Effort, group: list[Work]) -> None:
    """Fills `rows` and `scores` of the group by one search; a query that breaks it is found by searching alone."""
    group = _drop_late(group)
    if not group:
        return
    started = time.monotonic()
    try:
        rows, scores = _search_once(loaded, effort, group)
    except EngineUnavailable as error:
        # It is no query's fault, and asking again for each would wait as often.
        log.warning("engine_unavailable", queries=len(group), exc_info=True)
        for work in group:
            work.outcome = EngineAway(error.message)
        return
    except DeadlineOver:
        # That of the query which waits longest.
        for work in group:
            work.outcome = DeadlinePassed(before="could end")
        return
    except Exception as error:
        log.warning("search_failed", queries=len(group), exc_info=True)
        if len(group) == 1:
            group[0].outcome = _refusal(error)
            return
        for work in group:
            _search(loaded, effort, [work])
        return
    search_us = int((time.monotonic() - started) * US_PER_SECOND)
    first = 0
    for work in group:
        last = first + len(work.encoded.vectors)
        work.rows, work.scores, work.search_us = rows[first:last], scores[first:last], search_us
        first = last


def _search_once(loaded: LoadedVersion, effort: Effort, group: list[Work]) -> tuple[Rows, Floats]:
    first = group[0]
    if len(group) == 1:
        vectors, width, ef = first.encoded.vectors, first.width, first.ef
    else:
        vectors = np.concatenate([work.encoded.vectors for work in group])
        width, ef = max(work.width for work in group), max(work.ef for work in group)
    wanted = SearchEffort(ef=ef or None, nprobe=effort.nprobe, exact=effort.exact, until=_until(group))
    if first.allowed is None:
        return loaded.searcher.search(vectors, width, wanted)
    return loaded.subsets.search(vectors, width, wanted, first.allowed)


def _until(group: list[Work]) -> float | None:
    """When nobody waits for a server's answer any more; None while somebody waits without a deadline.

    A little before the latest deadline, so that whoever waits for a silent server hears so within it.
    """
    until = 0.0
    for work in group:
        deadline_ms = work.query.deadline_ms
        if deadline_ms <= 0:
            return None
        left_ms = deadline_ms - min(WAY_BACK_MS_MAX, WAY_BACK_SHARE_MAX * deadline_ms)
        until = max(until, work.query.arrived + left_ms / MS_PER_SECOND)
    return until


def _refusal(error: Exception) -> ReplicaError:
    """An engine may allow less than the platform does; anything else is our fault."""
    if isinstance(error, QueryInvalid):
        field = "top_k" if error.field == "top_k" else "params"
        return InvalidQuery(field, "SEARCH_REFUSED", error.message)
    return InternalError(error.message if isinstance(error, EngineError) else "")


def _drop_late(group: list[Work]) -> list[Work]:
    now = time.monotonic()
    for work in group:
        if work.query.is_late(now):
            work.outcome = DeadlinePassed()
    return [work for work in group if work.outcome is None]


def _merged(loaded: LoadedVersion, work: Work) -> Outcome:
    try:
        return _merge(loaded, work)
    except Exception:
        log.exception("merge_failed")
        return InternalError()


def _attach(loaded: LoadedVersion, works: list[Work]) -> None:
    """Columns for all at once; a query whose columns break that is found by attaching alone."""
    try:
        attach_columns(loaded, [(work.query, work.outcome) for work in works if isinstance(work.outcome, Answer)])
    except Exception:
        log.warning("columns_failed", queries=len(works), exc_info=True)
        if len(works) == 1:
            works[0].outcome = InternalError()
            return
        for work in works:
            _attach(loaded, [work])


def _merge(loaded: LoadedVersion, work: Work) -> Answer:
    """The lists of the query's vectors, without what is excluded, as one list of at most top_k."""
    started = time.monotonic()
    query = work.query
    assert work.rows is not None and work.scores is not None  # noqa: S101, PT018  The search filled both.
    rows, scores = _cut(work.rows, work.scores, work.excluded, query.top_k)
    lists = len(rows)
    if lists == 1 and not query.weights:
        items = rows[0] >= 0
        answer = Answer(rows[0], scores[0], 0) if items.all() else Answer(rows[0][items], scores[0][items], 0)
    else:
        weights = np.array(query.weights or [1.0] * lists, dtype=np.float64)
        merged = merge(
            query.merge, rows, scores, weights, top_k=query.top_k, larger_is_better=loaded.schema.larger_is_better
        )
        answer = Answer(merged.rows, merged.scores, 0, merged.found_by if lists > 1 else None)
    answer.coverage = work.encoded.coverage
    answer.shortfall = query.top_k - answer.rows.size
    if query.trace:
        answer.timing = _timing(work, started)
    return answer


def _cut(rows: Rows, scores: Floats, excluded: Rows, top_k: int) -> tuple[Rows, Floats]:
    """The first `top_k` items of each list that are not excluded; others become -1."""
    if not excluded.size:
        return rows[:, :top_k], scores[:, :top_k]
    kept = (rows >= 0) & ~np.isin(rows, excluded)
    kept &= np.cumsum(kept, axis=1) <= top_k
    return np.where(kept, rows, -1), scores


def _timing(work: Work, started: float) -> Timing:
    """`queue_us` is the wait in the gateway and, until a thread is free, here."""
    now = time.monotonic()
    return Timing(
        queue_us=work.query.queued_us + int((work.begun - work.query.arrived) * US_PER_SECOND),
        model_us=work.encoded.model_us,
        search_us=work.search_us,
        merge_us=int((now - started) * US_PER_SECOND),
        total_us=work.query.queued_us + int((now - work.query.arrived) * US_PER_SECOND),
    )
