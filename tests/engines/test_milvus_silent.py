"""An instance that is frozen: how long callers wait, who gives up, what goes on, and who notices that it is back."""

from __future__ import annotations

import logging
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import notes, registry
from engines.base import IndexSearcher, IndexSpec, SearchEffort
from engines.errors import EngineError, EngineUnavailable, ParamsInvalid
from engines.milvus import collection, connection, waiting
from engines.milvus.breaker import FAILURES_MAX
from engines.milvus.connection import CALL_SECONDS_MAX, CALLS_AT_ONCE_MAX, CollectionGone, Instance, instance
from engines.milvus.errors import InstanceAway, InstanceSilent
from engines.milvus.library import MilvusClient, MilvusException
from engines.milvus.params import REFERENCE_FILE
from tests.engines.data import DEFAULT, build_and_open
from tests.support.milvus import MilvusServer, running_milvus

FLAT = IndexSpec("ip", 4, params={"index_type": "FLAT"})
EYE = np.eye(4, dtype=np.float32)
WAIT_SECONDS_MAX = 60.0
# What takes no time takes less than this, whatever else the machine does.
AT_ONCE_SECONDS = 1.0
# So long an instance is away for builds after it is known to be.
AWAY_SECONDS = 1.0
Told = Callable[[str], int]
OPENED, CLOSED = "it is not asked until it answers", "answers again"


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Another one in each test: this process goes on feeling the hearts of instances that are gone."""
    return f"own-{zlib.crc32(request.node.nodeid.encode()):x}"


@pytest.fixture
def told(name: str, caplog: pytest.LogCaptureFixture) -> Told:
    """In how many lines of the log something is said of the instance."""
    return lambda what: sum(what in record.getMessage() and name in record.getMessage() for record in caplog.records)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[MilvusServer]:
    with running_milvus() as server:
        monkeypatch.setenv("RECALL_MILVUS_INSTANCES", f"{name}={server.uri}")
        yield server
        if server.runs:
            # One that is frozen does not hear that it should end.
            server.thaw()


@pytest.fixture
def searcher(own: MilvusServer, tmp_path: Path) -> IndexSearcher:
    return build_and_open("milvus", FLAT, EYE, tmp_path)


def until(what: Callable[[], object], name: str) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS_MAX
    while not what():
        assert time.monotonic() < give_up_at, f"waited {WAIT_SECONDS_MAX:g} s for {name}"
        time.sleep(0.02)


def threads_of(name: str) -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(f"milvus-{name}")}


def seconds_of_a_refusal(searcher: IndexSearcher, effort: SearchEffort = DEFAULT) -> float:
    started = time.monotonic()
    with pytest.raises(EngineUnavailable, match="the instance own-"):
        searcher.search(EYE, 1, effort)
    return time.monotonic() - started


def answers(searcher: IndexSearcher) -> bool:
    try:
        return searcher.search(EYE, 1, DEFAULT)[0].ravel().tolist() == [0, 1, 2, 3]
    except EngineUnavailable:
        return False


def test_a_silent_instance_costs_a_caller_its_deadline_then_nothing_and_is_asked_again_when_it_answers(
    own: MilvusServer, searcher: IndexSearcher, told: Told, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    own.freeze()
    waited = seconds_of_a_refusal(searcher, SearchEffort(until=time.monotonic() + 0.3))
    assert 0.25 < waited < 3
    until(lambda: told(OPENED), "the circuit to open")
    threads = threads_of(name)
    assert sum(seconds_of_a_refusal(searcher) for _ in range(100)) < AT_ONCE_SECONDS
    assert threads_of(name) == threads
    own.thaw()
    until(lambda: answers(searcher), "answers")
    assert (told(OPENED), told(CLOSED)) == (1, 1)
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_a_heartbeat_finds_out_while_nobody_asks(own: MilvusServer, searcher: IndexSearcher, told: Told) -> None:
    own.freeze()
    until(lambda: told(OPENED), "the circuit to open")
    assert seconds_of_a_refusal(searcher) < AT_ONCE_SECONDS
    own.thaw()
    until(lambda: told(CLOSED), "the circuit to close")
    assert answers(searcher)


def test_who_waits_without_a_deadline_hears_as_soon_as_it_is_known(own: MilvusServer, searcher: IndexSearcher) -> None:
    own.freeze()
    assert seconds_of_a_refusal(searcher) < CALL_SECONDS_MAX


def test_an_instance_that_was_killed_while_it_was_frozen_is_found_when_it_is_back(
    own: MilvusServer, searcher: IndexSearcher, told: Told
) -> None:
    own.freeze()
    until(lambda: told(OPENED), "the circuit to open")
    own.kill()
    assert seconds_of_a_refusal(searcher) < AT_ONCE_SECONDS
    own.start()
    # A server that begins anew has nothing in its memory: the first search has it loaded again.
    until(lambda: answers(searcher), "answers")


def after(call: str, does: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the client, as soon as it has an answer to this call, do that, the first time."""
    to_do = [does]
    asked = getattr(MilvusClient, call)

    def asks(*args: Any, **more: Any) -> Any:
        answer = asked(*args, **more)
        if to_do:
            to_do.pop()()
        return answer

    monkeypatch.setattr(MilvusClient, call, asks)


@pytest.fixture
def meanwhile() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def killed(own: MilvusServer) -> Callable[[], None]:
    """Ends it, and says how it begins anew."""
    own.kill()
    return own.start


def frozen(own: MilvusServer) -> Callable[[], None]:
    own.freeze()
    return own.thaw


@pytest.mark.parametrize("away", [killed, frozen])
@pytest.mark.parametrize("call", ["flush", "create_index", "describe_index", "load_collection"])
def test_a_build_survives_that_its_instance_is_away_for_a_while_once_all_is_inserted(
    own: MilvusServer,
    away: Callable[[MilvusServer], Callable[[], None]],
    call: str,
    meanwhile: ThreadPoolExecutor,
    told: Told,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each next call is the first that does not find it: nothing that is asked from the flush on ends the build."""
    monkeypatch.setattr(collection, "CALL_SECONDS_MAX", 0.5)
    back: list[Future[None]] = []

    def goes_away() -> None:
        comes_back = away(own)

        def later() -> None:
            until(lambda: told(OPENED), "the circuit to open")
            time.sleep(AWAY_SECONDS)
            comes_back()

        back.append(meanwhile.submit(later))

    after(call, goes_away, monkeypatch)
    searcher = build_and_open("milvus", FLAT, EYE, tmp_path)
    back[0].result(WAIT_SECONDS_MAX)
    until(lambda: answers(searcher), "answers")
    assert told(OPENED) == 1


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a build's log says."""
    said: list[str] = []
    monkeypatch.setattr(notes, "_listener", said.append)
    return said


@pytest.mark.parametrize("away", [killed, frozen])
def test_a_build_that_waits_for_its_instance_says_so_once_and_once_that_it_goes_on(
    own: MilvusServer,
    away: Callable[[MilvusServer], Callable[[], None]],
    meanwhile: ThreadPoolExecutor,
    noted: list[str],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "TOLD_SECONDS", 0.5)
    back: list[Future[None]] = []

    def goes_away() -> None:
        comes_back = away(own)

        def later() -> None:
            until(lambda: noted, "the log to say that the build waits")
            time.sleep(AWAY_SECONDS)
            comes_back()

        back.append(meanwhile.submit(later))

    after("create_index", goes_away, monkeypatch)
    registry.builder("milvus").build(FLAT, EYE, tmp_path, int)
    back[0].result(WAIT_SECONDS_MAX)
    waits, goes_on = noted
    assert re.match(f"Waits: the instance {name}.* It is waited for up to 300 s.$", waits)
    assert re.match(rf"Goes on: {name} answers again, after [1-9]\d* s\.$", goes_on)


def test_what_a_build_waits_for_is_not_told_when_it_is_soon_over(
    own: MilvusServer, noted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_query_nodes(1, monkeypatch)
    registry.builder("milvus").build(FLAT, EYE, tmp_path, int)
    assert noted == []


def test_a_build_waits_for_an_instance_that_has_lost_its_query_nodes(
    own: MilvusServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a 2.3.5 says after it was frozen for longer than it takes its own parts for alive."""
    loads = few_query_nodes(2, monkeypatch)
    searcher = build_and_open("milvus", FLAT, EYE, tmp_path)
    assert answers(searcher)
    # The third is the builder's, and the fourth is who opens it.
    assert loads == [1, 1, 1, 1]


def test_more_copies_than_an_instance_has_query_nodes_are_refused_by_name(
    own: MilvusServer, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_query_nodes(1, monkeypatch)
    told = rf"params\.replicas: 4 are more than the query nodes of the instance {name}"
    with pytest.raises(ParamsInvalid, match=told) as refused:
        registry.builder("milvus").build(replace(FLAT, params=dict(FLAT.params) | {"replicas": 4}), EYE, tmp_path, int)
    assert refused.value.field == "params.replicas"


def few_query_nodes(times: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has the server refuse so many times to load; lists for how many copies each time it was asked."""
    asked = MilvusClient.load_collection
    loads: list[int] = []

    def load(*args: Any, **more: Any) -> Any:
        loads.append(more["replica_number"])
        if len(loads) <= times:
            raise MilvusException(1, "call query coordinator LoadCollection: nodes not enough")
        return asked(*args, **more)

    monkeypatch.setattr(MilvusClient, "load_collection", load)
    return loads


def test_a_build_whose_instance_does_not_come_back_ends_and_leaves_the_name_of_its_collection(
    own: MilvusServer, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SILENCE_SECONDS_MAX", 2.0)
    went: list[float] = []

    def goes_away() -> None:
        own.kill()
        went.append(time.monotonic())

    after("create_index", goes_away, monkeypatch)
    with pytest.raises(EngineUnavailable, match=f"the instance {name}") as ended:
        registry.builder("milvus").build(FLAT, EYE, tmp_path, int)
    assert time.monotonic() - went[0] > 2.0
    assert "is left for later" in ended.value.__notes__[0]
    assert (tmp_path / REFERENCE_FILE).is_file()


def test_a_build_ends_when_its_instance_goes_away_while_rows_are_inserted(
    own: MilvusServer, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows which of them it has, and it may keep one twice."""
    monkeypatch.setattr("engines.milvus.builder.INSERT_ROWS_MAX", 2)
    after("insert", own.kill, monkeypatch)
    with pytest.raises(EngineUnavailable, match=f"the instance {name}"):
        registry.builder("milvus").build(FLAT, EYE, tmp_path, int)


def test_a_build_notices_that_the_instance_is_away_for_good(
    own: MilvusServer, searcher: IndexSearcher, monkeypatch: pytest.MonkeyPatch, name: str, noted: list[str]
) -> None:
    monkeypatch.setattr(connection, "SILENCE_SECONDS_MAX", 4.0)
    monkeypatch.setattr(connection, "SILENCE_POLL_SECONDS", 0.1)
    monkeypatch.setattr(waiting, "TOLD_SECONDS", 0.5)
    own.freeze()
    with pytest.raises(EngineUnavailable, match=rf"the instance {name} has not been heard for \d+ s"):
        instance(name).tell(lambda client: client.flush("any", timeout=WAIT_SECONDS_MAX))
    [waits] = noted
    assert waits.startswith(f"Waits: the instance {name} has not been heard for ")


def test_when_every_thread_is_stuck_the_next_call_is_refused_at_once(
    own: MilvusServer, searcher: IndexSearcher, name: str
) -> None:
    comes_back = threading.Event()
    for _ in range(CALLS_AT_ONCE_MAX):
        with pytest.raises(EngineUnavailable, match="did not answer in time"):
            instance(name).ask(lambda _client: comes_back.wait(WAIT_SECONDS_MAX), time.monotonic() + 0.05)
    started = time.monotonic()
    with pytest.raises(EngineUnavailable, match=f"has left {CALLS_AT_ONCE_MAX} calls without an answer"):
        instance(name).ask(lambda client: client.list_collections())
    assert time.monotonic() - started < AT_ONCE_SECONDS
    comes_back.set()
    until(lambda: answers(searcher), "answers")


def refuses(where: Instance, error: EngineError) -> None:
    def call(_client: object) -> None:
        raise error

    with pytest.raises(type(error)):
        where.ask(call)


def test_a_refused_query_and_a_short_deadline_say_nothing_of_the_instance_and_refused_connections_do(
    own: MilvusServer, searcher: IndexSearcher, told: Told, name: str
) -> None:
    where = instance(name)
    for error in (CollectionGone("gone"), EngineUnavailable("it is overloaded"), InstanceSilent("within 1 ms")):
        for _ in range(2 * FAILURES_MAX):
            refuses(where, error)
    assert not told(OPENED)
    # While the circuit closes again by the next beat, it may be that it was open.
    for _ in range(FAILURES_MAX):
        refuses(where, InstanceAway(f"the instance {name}: nobody listens"))
    assert told(f"nobody listens; {OPENED}") == 1
    until(lambda: answers(searcher), "answers")
