"""The gateway in front of `python -m replicas.host` itself: real artifacts, real engines, real processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from recallpb.v1 import recall_pb2
from tests.gateway.harness import FILMS, Harness, limits, refusal, route
from tests.gateway.real import by_vectors, route_of
from tests.support.artifacts import MadeArtifact, exact_ids, make_artifact
from tests.support.replica_hosts import Host, host_command, running_host

DIMENSION = 16


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeArtifact:
    genres = ("string", [f"genre-{row % 7}" for row in range(500)])
    folder = tmp_path_factory.mktemp("artifacts")
    return make_artifact(folder, dimension=DIMENSION, service="movies", attributes={"genre": genres}, hidden=20)


@pytest.fixture(scope="module")
def host(made: MadeArtifact) -> Iterator[Host]:
    with running_host(made) as host:
        yield host


@pytest.fixture
async def films(harness: Harness, made: MadeArtifact, host: Host) -> Harness:
    harness.publish(route(route_of(made, host), limits=limits(allow_exact=True)))
    await harness.start()
    return harness


async def test_answers_are_those_of_exact_search(films: Harness, made: MadeArtifact) -> None:
    alice = films.caller()
    for vector in made.queries[:20]:
        answer = await alice.recall(by_vectors(vector))
        expected, scores = exact_ids(made, vector, 10)
        assert list(answer.ids) == expected
        np.testing.assert_allclose(answer.scores, scores, rtol=1e-4)
        assert (answer.version, answer.replica, answer.model_version) == (made.version, "r1", "mind-7")


async def test_a_batch_answers_like_single_calls(films: Harness, made: MadeArtifact) -> None:
    requests = [by_vectors(vector, top_k=5) for vector in made.queries]
    batch = await films.caller().call("BatchRecall", recall_pb2.BatchRecallRequest(service=FILMS, requests=requests))
    expected = [exact_ids(made, vector, 5)[0] for vector in made.queries]
    assert [list(result.response.ids) for result in batch.results] == expected


async def test_attributes_vectors_exclusions_and_timings_come_through(films: Harness, made: MadeArtifact) -> None:
    vector = made.queries[0]
    best, _ = exact_ids(made, vector, 3)
    asked = by_vectors(vector, top_k=3, return_attributes=["genre"], return_vectors=True, trace=True)
    asked.exclude.ids.append(best[0])
    answer = await films.caller().recall(asked)
    assert list(answer.ids) == exact_ids(made, vector, 3, exclude=[best[0]])[0]
    rows = [made.ids.index(number) for number in answer.ids]
    assert list(answer.attributes[0].strings.values) == [f"genre-{row % 7}" for row in rows]
    np.testing.assert_array_equal(np.frombuffer(answer.vectors[0].packed, "<f4"), made.vectors[rows[0]])
    assert 0 < answer.timings.search_us <= answer.timings.total_us


async def test_a_filter_and_an_exclusion_leave_a_full_answer_of_what_they_allow(
    films: Harness, made: MadeArtifact
) -> None:
    vector = made.queries[0]
    others = [number for row, number in enumerate(made.ids) if row % 7 not in (1, 2)]
    best = exact_ids(made, vector, 5, exclude=others)[0]
    asked = by_vectors(vector, top_k=10, filter="genre in ['genre-1', 'genre-2']")
    asked.exclude.ids.extend(best[:3])
    answer = await films.caller().recall(asked)
    assert list(answer.ids) == exact_ids(made, vector, 10, exclude=[*others, *best[:3]])[0]
    assert (len(answer.ids), answer.shortfall) == (10, 0)
    nothing = await films.caller().recall(by_vectors(vector, top_k=10, filter="genre is null"))
    assert (len(nothing.ids), nothing.shortfall) == (0, 10)


async def test_several_vectors_are_merged_and_tell_which_one_found_an_item(films: Harness, made: MadeArtifact) -> None:
    answer = await films.caller().recall(by_vectors(made.queries[0], made.queries[1], top_k=20))
    assert len(set(answer.ids)) == 20
    assert set(answer.found_by) == {0, 1}


def _by_items(*items: recall_pb2.WeightedItem, top_k: int = 10, **fields: Any) -> recall_pb2.RecallRequest:
    asked = {name: fields.pop(name) for name in recall_pb2.ItemQuery.DESCRIPTOR.fields_by_name if name in fields}
    return recall_pb2.RecallRequest(
        service=FILMS, items=recall_pb2.ItemQuery(items=items, **asked), top_k=top_k, **fields
    )


async def test_items_ask_by_their_weighted_mean_and_tell_what_was_known(films: Harness, made: MadeArtifact) -> None:
    """Watched a day apart, the second one liked less, the third one disliked; one left the catalogue."""
    hidden, unknown = made.ids[-1], 5
    request = _by_items(
        recall_pb2.WeightedItem(id=made.ids[0], timestamp_seconds=86_400),
        recall_pb2.WeightedItem(id=made.ids[1], weight=0.5, timestamp_seconds=0),
        recall_pb2.WeightedItem(id=hidden, weight=-0.25),
        recall_pb2.WeightedItem(id=unknown),
        half_life_seconds=86_400.0,
        require_version=made.version,
        return_attributes=["genre"],
    )

    answer = await films.caller().recall(request)

    mean = (made.vectors[0] + 0.25 * made.vectors[1] - 0.25 * made.vectors[-1]) / 1.5
    expected, scores = exact_ids(made, mean, 10, exclude=[made.ids[0], made.ids[1]])
    assert list(answer.ids) == expected
    np.testing.assert_allclose(answer.scores, scores, rtol=1e-4)
    assert list(answer.coverage.used.ids) == [made.ids[0], made.ids[1], hidden]
    assert list(answer.coverage.missing.ids) == [unknown]
    assert answer.coverage.weight_covered == pytest.approx(1.5 / 2.5)
    assert (answer.version, len(answer.attributes[0].strings.values)) == (made.version, 10)

    request.items.keep_query_items = True
    kept = await films.caller().recall(request)
    assert list(kept.ids) == exact_ids(made, mean, 10)[0]


async def test_a_batch_mixes_vectors_and_items_and_answers_each(films: Harness, made: MadeArtifact) -> None:
    requests = [by_vectors(vector, top_k=5) for vector in made.queries[:40]]
    requests[1::2] = [_by_items(recall_pb2.WeightedItem(id=made.ids[row]), top_k=5) for row in range(20)]
    requests[3] = _by_items(recall_pb2.WeightedItem(id=5), top_k=5)

    batch = await films.caller().call("BatchRecall", recall_pb2.BatchRecallRequest(service=FILMS, requests=requests))

    for number, result in enumerate(batch.results):
        row = number // 2
        if number == 3:
            assert (result.error.reason, result.error.field) == ("NO_ITEM_KNOWN", "items.items")
        elif number % 2:
            expected = exact_ids(made, made.vectors[row], 5, exclude=[made.ids[row]])[0]
            assert list(result.response.ids) == expected
        else:
            assert list(result.response.ids) == exact_ids(made, made.queries[number], 5)[0]


WRONG: dict[str, tuple[recall_pb2.RecallRequest, str]] = {
    "not a number": (by_vectors(np.full(DIMENSION, np.nan)), "vectors.vectors[0]"),
    "infinite": (by_vectors(np.full(DIMENSION, np.inf)), "vectors.vectors[0]"),
    "no query": (recall_pb2.RecallRequest(service=FILMS, top_k=5), "query"),
    "a weight too many": (by_vectors(np.ones(DIMENSION)), "vectors.weights"),
    "ids of the other type": (
        by_vectors(np.ones(DIMENSION), exclude=recall_pb2.ItemIds(text_ids=["a"])),
        "exclude.text_ids",
    ),
    "a filter that is none": (by_vectors(np.ones(DIMENSION), filter="genre = 'genre-1'"), "filter"),
    "a filter of a thousand levels": (
        by_vectors(np.ones(DIMENSION), filter="(" * 1_000 + "genre == 'a'" + ")" * 1_000),
        "filter",
    ),
    "an unknown attribute": (by_vectors(np.ones(DIMENSION), return_attributes=["colour"]), "return_attributes"),
}
WRONG |= {
    "no item": (_by_items(), "items.items"),
    "an item without id": (_by_items(recall_pb2.WeightedItem(id=1), recall_pb2.WeightedItem()), "items.items[1].id"),
    "an item of the other type": (_by_items(recall_pb2.WeightedItem(text_id="a")), "items.items[0].text_id"),
    "items that nobody knows": (_by_items(recall_pb2.WeightedItem(id=1)), "items.items"),
    "an item that must be known": (
        _by_items(recall_pb2.WeightedItem(id=1), on_missing=recall_pb2.FAIL),
        "items.items",
    ),
    "an unknown way with missing items": (
        _by_items(recall_pb2.WeightedItem(id=1), on_missing=7),
        "items.on_missing",
    ),
}
WRONG["a weight too many"][0].vectors.weights.extend([1.0, 2.0])


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_only_the_replica_can_refuse_names_its_field(films: Harness, wrong: str) -> None:
    request, field = WRONG[wrong]
    refused = await refusal(films.caller().recall(request))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    assert refused.reason.isupper()
    assert refused.details


async def test_items_come_with_attributes_and_missing_ones_are_named(films: Harness, made: MadeArtifact) -> None:
    wanted = recall_pb2.GetItemsRequest(
        service=FILMS, items=recall_pb2.ItemIds(ids=[made.ids[3], 5]), return_attributes=["genre"], return_vectors=True
    )
    answer = await films.caller().call("GetItems", wanted)
    assert (list(answer.ids), list(answer.missing.ids)) == ([made.ids[3]], [5])
    assert list(answer.attributes[0].strings.values) == ["genre-3"]
    wanted.items.text_ids.append("a")
    refused = await refusal(films.caller().call("GetItems", wanted))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields


async def test_a_replica_of_another_version_is_no_replica(harness: Harness, made: MadeArtifact, host: Host) -> None:
    version = route_of(made, host)
    version.version = made.version + 1
    harness.publish(route(version))
    await harness.start()
    refused = await refusal(harness.caller().recall(by_vectors(made.queries[0])))
    assert refused.code is grpc.StatusCode.UNAVAILABLE


async def test_a_killed_host_that_comes_back_fails_no_call(harness: Harness, made: MadeArtifact, host: Host) -> None:
    folder = harness.home
    started: list[subprocess.Popen[bytes]] = harness.processes
    started.append(_start(made, folder))
    version = route_of(made, host)
    version.replicas[0].address = f"unix:{folder}/r1.sock"
    harness.publish(route(version))
    await harness.start()
    await harness.until((folder / "r1.json").exists)
    alice = harness.caller()
    stopping = asyncio.Event()
    answered: list[int] = []

    async def keep_asking() -> None:
        while not stopping.is_set():
            answered.append((await alice.recall(by_vectors(made.queries[0]), seconds=10)).version)

    callers = [asyncio.create_task(keep_asking()) for _ in range(4)]
    await harness.until(lambda: len(answered) > 50)
    started[-1].kill()
    await asyncio.to_thread(started[-1].wait)
    started.append(_start(made, folder))
    before = len(answered)
    await harness.until(lambda: len(answered) > before + 50 or any(caller.done() for caller in callers))
    stopping.set()
    await asyncio.gather(*callers)
    assert set(answered) == {made.version}


def _start(made: MadeArtifact, folder: Path) -> subprocess.Popen[bytes]:
    (folder / "r1.json").unlink(missing_ok=True)
    return subprocess.Popen(host_command(made, folder, "r1"), env=os.environ | {"RECALL_HOME": str(folder)})
