"""What callers hear when the server behind an engine dies and comes back, while the replica lives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from engines.base import Float32, Int64
from engines.metrics import blank_answer
from engines.milvus.collection import Collection
from engines.milvus.library import MilvusClient
from engines.milvus.reference import references_in
from replicas.answer import answer
from replicas.audits import Auditor
from replicas.checks import QueryLimits
from replicas.errors import DeadlinePassed, EngineAway
from replicas.loaded import LoadedVersion, load
from replicas.orders import check
from replicas.queries import Answer, MergePolicy, Outcome, Query, QueryKind
from replicas.wire import error_message, status_code
from tests.support.artifacts import make_artifact
from tests.support.milvus import MilvusServer, running_milvus

LIMITS = QueryLimits()
ITEMS, DIMENSION = 300, 8
QUERIES = 20
BACK_SECONDS_MAX = 60.0

pytestmark = [pytest.mark.servers, pytest.mark.milvus]


@pytest.fixture(scope="module")
def own() -> Iterator[MilvusServer]:
    with running_milvus() as server:
        yield server


@pytest.fixture
def loaded(own: MilvusServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadedVersion]:
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", f"own={own.uri}")
    attributes = {"even": ("bool", [row % 2 == 0 for row in range(ITEMS)])}
    made = make_artifact(tmp_path, engine="milvus", items=ITEMS, dimension=DIMENSION, attributes=attributes)
    version = load(made.path, made.manifest_sha256, search_threads=1)
    yield version
    version.close()


def ask(loaded: LoadedVersion, **fields: object) -> list[Outcome]:
    vectors = np.random.default_rng(1).normal(size=(QUERIES, DIMENSION)).astype("<f4")
    asked = [
        Query(QueryKind.VECTORS, [each.tobytes()], [], 10, MergePolicy.MAX, arrived=time.monotonic(), **fields)  # type: ignore[arg-type]
        for each in vectors
    ]
    return answer(loaded, asked, LIMITS)


def test_every_query_of_a_batch_hears_that_the_engine_is_away_and_is_answered_when_it_is_back(
    own: MilvusServer, loaded: LoadedVersion
) -> None:
    before = [outcome.rows.tolist() for outcome in ask(loaded) if isinstance(outcome, Answer)]
    assert len(before) == QUERIES
    own.kill()
    outcomes = ask(loaded)
    assert {type(outcome) for outcome in outcomes} == {EngineAway}
    assert isinstance(outcomes[0], EngineAway)
    assert status_code(outcomes[0]) is grpc.StatusCode.UNAVAILABLE
    told = error_message(outcomes[0])
    assert told.reason == "ENGINE_UNAVAILABLE"
    assert str(own.port) not in told.message
    # What needs no server is answered meanwhile: an exact search, and one among few.
    for fields in ({"exact": True}, {"filter": "even == true"}):
        assert all(isinstance(outcome, Answer) for outcome in ask(loaded, **fields))
    own.start()
    until = time.monotonic() + BACK_SECONDS_MAX
    while any(isinstance(outcome, EngineAway) for outcome in ask(loaded)):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert [outcome.rows.tolist() for outcome in ask(loaded) if isinstance(outcome, Answer)] == before


def test_an_audit_says_of_which_server_it_was_and_a_caller_does_not_hear_it(
    own: MilvusServer, loaded: LoadedVersion
) -> None:
    auditor = Auditor(loaded, LIMITS)
    assert auditor.audit().ok
    own.freeze()
    try:
        started = time.monotonic()
        with pytest.raises(EngineAway) as away:
            auditor.audit(until=started + 0.5)
        assert time.monotonic() - started < 5
    finally:
        own.thaw()
    assert "the instance own" in away.value.cause
    assert "own" not in error_message(away.value).message


def test_callers_of_a_silent_engine_hear_within_their_deadline_that_it_is_away(
    own: MilvusServer, loaded: LoadedVersion
) -> None:
    own.freeze()
    try:
        started = time.monotonic()
        assert {type(outcome) for outcome in ask(loaded, deadline_ms=500)} == {EngineAway}
        assert time.monotonic() - started < 5
    finally:
        own.thaw()


def test_callers_of_a_search_that_would_end_in_a_scan_when_nobody_waits_hear_that_the_time_was_too_short(
    loaded: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = 0

    def short(self: Collection, queries: Float32, top_k: int, *_: object) -> tuple[Int64, Float32]:
        """As a graph that lost its links answers, after what callers have given it."""
        nonlocal searches
        searches += 1
        time.sleep(0.5)
        return blank_answer(len(queries), top_k)

    monkeypatch.setattr(Collection, "search", short)
    outcomes = ask(loaded, deadline_ms=500)
    assert {type(outcome) for outcome in outcomes} == {DeadlinePassed}
    assert isinstance(outcomes[0], DeadlinePassed)
    assert status_code(outcomes[0]) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error_message(outcomes[0]).message == "the deadline passed before the search could end"
    # Nobody is asked for again alone: no query is at fault.
    assert searches == 1
    assert all(isinstance(outcome, Answer) and len(outcome.rows) == 10 for outcome in ask(loaded))


def test_rows_that_somebody_deleted_at_the_server_are_told_by_check_and_audit_though_every_answer_is_right(
    own: MilvusServer, loaded: LoadedVersion, tmp_path: Path
) -> None:
    auditor = Auditor(loaded, LIMITS)
    assert (auditor.audit().ok, auditor.audit().items, check(loaded).ok) == (True, ITEMS, True)
    (collection,) = [each.collection for each in references_in(tmp_path)]
    other = MilvusClient(own.uri)
    other.delete(collection, filter="row >= 0")
    other.close()
    until = time.monotonic() + BACK_SECONDS_MAX
    while (audit := auditor.audit()).ok:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert (audit.error, audit.items, audit.agreement) == (f"the index holds 0 items, not {ITEMS}", 0, 1.0)
    checked = check(loaded)
    assert (checked.ok, checked.items, checked.agreement) == (False, 0, 1.0)
    assert checked.error == f"the index holds 0 items, the manifest says {ITEMS}"
