"""Costly calls do not hold up quick ones: a flood of those in one process, a steady caller of these in another.

Everything is real: the gateway's process, replicas' processes, an index, a query model. What is measured are ratios, of
the quick caller beside a flood to the same caller alone, and to what the flood's own calls take.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np
import onnx
import pytest

from recallpb.v1 import recall_pb2
from tests.gateway.flood import flood
from tests.gateway.harness import ALICES_KEY, BOOKS, CHARLIES_KEY, FILMS, Caller, Harness, limits, refusal, route
from tests.gateway.real import by_vectors, route_of
from tests.support.artifacts import MadeArtifact, make_artifact
from tests.support.query_models import Tower, node
from tests.support.replica_hosts import Host, running_host

pytestmark = pytest.mark.servers

ITEMS, DIMENSION = 20_000, 32
# Dear enough to be costly on a quick machine, and far from the time after which a run is stopped on a slow one.
MODEL_WIDTH, MODEL_ROUNDS = 256, 60
PAUSE_SECONDS = 0.005
QUICK_CALLS = 300
Version = tuple[MadeArtifact, Host]


class SlowTower(Tower):
    """Computes for some tens of milliseconds before it says what Tower says."""

    def onnx(self) -> bytes:
        slow = onnx.load_model_from_string(super().onnx())
        graph = slow.graph
        [told] = [each for each in graph.node if "vectors" in each.output]
        told.output[:] = ["told"]
        for name, value in {"idle": np.eye(MODEL_WIDTH), "zero": np.array(0.0)}.items():
            graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
        # By way of an input, since what is constant is computed once.
        graph.node.extend([node("ReduceSum", ["age"], "years", keepdims=0), node("Mul", ["years", "zero"], "none")])
        graph.node.append(node("Add", ["idle", "none"], "idle-0"))
        for turn in range(MODEL_ROUNDS):
            graph.node.append(node("MatMul", [f"idle-{turn}", "idle"], f"idle-{turn + 1}"))
        graph.node.append(node("ReduceMin", [f"idle-{MODEL_ROUNDS}"], "nothing", keepdims=0))
        graph.node.append(node("Add", ["told", "nothing"], "vectors"))
        return bytes(slow.SerializeToString())


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Version]]:
    """Alice's service with a slow query model, and Charlie's."""
    common = {"items": ITEMS, "dimension": DIMENSION, "engine": "hnsw", "search_params": {"ef": 100}}
    films = make_artifact(
        tmp_path_factory.mktemp("films"), service="movies", tower=SlowTower.of(3, dimension=DIMENSION), **common
    )
    books = make_artifact(tmp_path_factory.mktemp("books"), tenant="books", service="novels", **common)
    with ExitStack() as stack:
        yield {made.manifest["service"]: (made, stack.enter_context(running_host(made))) for made in (films, books)}


@pytest.fixture
async def served(harness: Harness, versions: dict[str, Version]) -> Harness:
    """Both services behind a gateway process of their own."""
    for name in (FILMS, BOOKS):
        made, host = versions[name.rpartition("/")[2]]
        version = route_of(made, host)
        if made.manifest.get("query_model"):
            version.cost.model_us = 1_000 * made.manifest["query_model"]["ms"]
        harness.publish(route(version, name=name, limits=limits(allow_exact=True)))
    await harness.start_process()
    return harness


def a_batch(made: MadeArtifact) -> recall_pb2.BatchRecallRequest:
    queries = [made.queries[number % len(made.queries)] for number in range(1_000)]
    return recall_pb2.BatchRecallRequest(
        service=FILMS, requests=[by_vectors(query, service="", top_k=100) for query in queries]
    )


def an_exact_query(made: MadeArtifact) -> recall_pb2.RecallRequest:
    return by_vectors(*made.queries[:60], top_k=100, params=recall_pb2.SearchParams(exact=True))


def a_slow_model(_: MadeArtifact) -> recall_pb2.RecallRequest:
    features = {
        "history": recall_pb2.Feature(ints=recall_pb2.Int64List(values=[1, 2])),
        "age": recall_pb2.Feature(floats=recall_pb2.FloatList(values=[30.0])),
    }
    return recall_pb2.RecallRequest(service=FILMS, top_k=10, features=recall_pb2.FeatureQuery(features=features))


COSTLY = {"batches": (a_batch, 4), "exact searches": (an_exact_query, 16), "a slow model": (a_slow_model, 24)}


async def quick_seconds(caller: Caller, made: MadeArtifact, service: str, calls: int = QUICK_CALLS) -> np.ndarray:
    """Of one call after the other, with a pause between."""
    took = []
    for number in range(calls):
        request = by_vectors(made.queries[number % len(made.queries)], service=service)
        began = time.monotonic()
        answer = await caller.recall(request)
        took.append(time.monotonic() - began)
        assert len(answer.ids) == 10
        await asyncio.sleep(PAUSE_SECONDS)
    return np.array(took)


@pytest.mark.parametrize("kind", COSTLY)
async def test_a_callers_quick_queries_stay_quick_beside_a_flood_and_the_flood_goes_on(
    served: Harness, versions: dict[str, Version], kind: str
) -> None:
    make, callers = COSTLY[kind]
    made, _ = versions["movies"]
    alice = served.caller()
    await quick_seconds(alice, made, FILMS, 50)
    alone = await quick_seconds(alice, made, FILMS)
    with flood(served, ALICES_KEY, make(made), callers=callers) as flooding:
        beside = await quick_seconds(alice, made, FILMS)
    told = f"{kind}: quick {_told(alone)} alone, {_told(beside)} beside {_told(np.array(flooding.seconds))}"
    print(told)
    assert flooding.failures == []
    assert len(flooding.seconds) >= callers, "every costly caller is answered meanwhile"
    assert np.median(beside) < np.median(flooding.seconds) / 6, told
    assert np.percentile(beside, 99) < np.median(flooding.seconds) / 2, told
    assert np.median(beside) < 8 * np.median(alone), told


async def test_another_tenants_queries_stay_quick_beside_batches(served: Harness, versions: dict[str, Version]) -> None:
    films, _ = versions["movies"]
    books, _ = versions["novels"]
    charlie = served.caller(CHARLIES_KEY)
    await quick_seconds(charlie, books, BOOKS, 50)
    alone = await quick_seconds(charlie, books, BOOKS)
    with flood(served, ALICES_KEY, a_batch(films), callers=4) as flooding:
        beside = await quick_seconds(charlie, books, BOOKS)
    told = f"quick {_told(alone)} alone, {_told(beside)} beside {_told(np.array(flooding.seconds))}"
    print(told)
    assert flooding.failures == []
    assert np.median(beside) < 8 * np.median(alone), told
    assert np.percentile(beside, 99) < np.median(flooding.seconds) / 3, told


async def test_a_costly_callers_deadline_and_cancel_end_its_wait_and_nobody_elses(
    served: Harness, versions: dict[str, Version]
) -> None:
    made, _ = versions["movies"]
    with flood(served, ALICES_KEY, an_exact_query(made), callers=6) as flooding:
        alice = served.caller()
        began = time.monotonic()
        refused = await refusal(alice.call("BatchRecall", a_batch(made), seconds=0.05))
        assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 1
        cancelled = asyncio.create_task(alice.call("BatchRecall", a_batch(made)))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert len((await alice.recall(by_vectors(made.queries[0]))).ids) == 10
        answered = await alice.call("BatchRecall", a_batch(made))
        assert all(len(result.response.ids) == 100 for result in answered.results)
    assert flooding.failures == []


def _told(seconds: Any) -> str:
    return f"p50 {1e3 * np.median(seconds):.1f} ms p99 {1e3 * np.percentile(seconds, 99):.1f} ms"
