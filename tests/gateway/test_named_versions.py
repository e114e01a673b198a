"""Who names a version or a model is answered by that one or not at all, also while the live version changes.

Two versions are loaded whose vectors have nothing in common: an answer that searched one model's vector in the other
model's index would be caught by its items, its scores and its order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recall_client import Answer, AsyncClient, FailedPrecondition
from recallpb.v1 import recall_pb2
from tests.gateway.harness import ALICES_KEY, FILMS, Harness, refusal, route
from tests.gateway.real import IDS_PER_VERSION, by_vectors, route_of
from tests.support.artifacts import MadeArtifact, exact_ids, make_artifact
from tests.support.replica_hosts import Host, running_host

DIMENSION = 16
TOP_K = 10
SWITCHES = 8
ANSWERS_PER_SWITCH = 60
Version = tuple[MadeArtifact, Host]


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Version]]:
    """Versions 1 and 2 of Alice's service, each made by a model of its own."""
    folder = tmp_path_factory.mktemp("artifacts")
    made = [
        make_artifact(
            folder,
            dimension=DIMENSION,
            service="movies",
            version=number,
            model_version=f"tower-{number}",
            first_id=number * IDS_PER_VERSION,
            seed=number,
        )
        for number in (1, 2)
    ]
    with ExitStack() as stack:
        yield {one.version: (one, stack.enter_context(running_host(one))) for one in made}


def publish(harness: Harness, versions: dict[int, Version], *numbers: int) -> Any:
    """The first is live, the others are hot."""
    return harness.publish(route(*(route_of(*versions[number]) for number in numbers)))


def is_of(answer: Any, version: int, made: MadeArtifact, vector: np.ndarray[Any, Any]) -> bool:
    """Whether the answer is what exact search finds in this version, and says so."""
    expected, scores = exact_ids(made, vector, TOP_K)
    says_so = (answer.version, answer.model_version) == (version, f"tower-{version}")
    return says_so and list(answer.ids) == expected and np.allclose(answer.scores, scores, rtol=1e-4)


NUMBERS = st.sampled_from([0, 1, 2, 3, -1, 2**63 - 1])
MODELS = st.sampled_from(["", "tower-1", "tower-2", "tower-3", "tower-1 "])


@pytest.mark.parametrize("loaded", [(1,), (2, 1), (1, 2)])
@given(asked=st.lists(st.tuples(NUMBERS, MODELS), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_first_loaded_version_that_is_both_answers(
    harness: Harness, versions: dict[int, Version], loaded: tuple[int, ...], asked: list[tuple[int, str]]
) -> None:
    publish(harness, versions, *loaded)
    if harness.gateway is None:
        await harness.start()
    caller = harness.caller()
    await _until_live(harness, loaded[0])
    requests = [
        by_vectors(versions[1][0].queries[0], service="", require_version=number, model_version=model)
        for number, model in asked
    ]
    batch = await caller.call("BatchRecall", recall_pb2.BatchRecallRequest(service=FILMS, requests=requests))
    for (number, model), request, result in zip(asked, requests, batch.results, strict=True):
        fitting = [one for one in loaded if number in (0, one) and model in ("", f"tower-{one}")]
        request.service = FILMS
        if fitting:
            single = await caller.recall(request)
            for answer in (single, result.response):
                assert is_of(answer, fitting[0], versions[fitting[0]][0], versions[1][0].queries[0])
            continue
        reason = "MODEL_VERSION_NOT_LOADED" if number in (0, *loaded) else "VERSION_NOT_LOADED"
        field = "model_version" if number in (0, *loaded) else "require_version"
        refused = await refusal(caller.recall(request))
        assert (refused.code, refused.reason, refused.fields) == (grpc.StatusCode.FAILED_PRECONDITION, reason, [field])
        assert (result.error.code, result.error.reason, result.error.field) == (9, reason, field)


async def test_a_candidate_answers_only_who_requires_it_by_its_number(
    harness: Harness, versions: dict[int, Version]
) -> None:
    harness.publish(route(route_of(*versions[1]), candidates=[route_of(*versions[2])]))
    await harness.start()
    caller = harness.caller()
    vector = versions[1][0].queries[0]
    assert is_of(await caller.recall(by_vectors(vector)), 1, versions[1][0], vector)
    for model in ("", "tower-2"):
        required = await caller.recall(by_vectors(vector, require_version=2, model_version=model))
        assert is_of(required, 2, versions[2][0], vector)
    refused = await refusal(caller.recall(by_vectors(vector, model_version="tower-2")))
    assert refused.reason == "MODEL_VERSION_NOT_LOADED"
    refused = await refusal(caller.recall(by_vectors(vector, require_version=2, model_version="tower-1")))
    assert refused.reason == "MODEL_VERSION_NOT_LOADED"
    info = await caller.call("GetServiceInfo", recall_pb2.GetServiceInfoRequest(service=FILMS))
    assert (info.live.version, info.HasField("previous")) == (1, False)


async def _until_live(harness: Harness, number: int) -> None:
    gateway = harness.gateway
    assert gateway

    def is_live() -> bool:
        found = gateway.routes.find(FILMS)
        return found is not None and found.versions[0].number == number

    await harness.until(is_live)


async def test_no_answer_mixes_a_model_with_another_models_index_while_versions_switch(
    harness: Harness, versions: dict[int, Version]
) -> None:
    publish(harness, versions, 1)
    await harness.start()
    answered: dict[str, list[int]] = {"tower-1": [], "tower-2": [], "": []}
    refused: list[str] = []
    stopping = asyncio.Event()

    async def keep_asking(client: AsyncClient, model: str, number: int) -> None:
        """As a program with its own tower does: its vectors are of `model`."""
        while not stopping.is_set():
            number = (number + 1) % 50
            vector = versions[1][0].queries[number]
            try:
                answer = await client.recall(vector, top_k=TOP_K, model_version=model)
            except FailedPrecondition as error:
                refused.append(f"{model} {error.reason}")
                continue
            assert model in ("", answer.model_version)
            assert is_of(answer, answer.version, versions[answer.version][0], vector)
            answered[model].append(answer.version)

    async with AsyncClient(
        f"127.0.0.1:{harness.port}", ALICES_KEY, service="films/movies", deadline_ms=5_000
    ) as client:
        callers = [asyncio.create_task(keep_asking(client, model, start)) for start, model in enumerate(answered)]
        await harness.until(lambda: len(answered["tower-1"]) > ANSWERS_PER_SWITCH and refused)
        early = set(refused)
        publish(harness, versions, 2, 1)
        await harness.until(lambda: len(answered["tower-2"]) > 1 or any(caller.done() for caller in callers))
        refused.clear()
        for switch in range(SWITCHES):
            publish(harness, versions, *((1, 2) if switch % 2 else (2, 1)))
            until = len(answered[""]) + ANSWERS_PER_SWITCH
            await harness.until(lambda: len(answered[""]) > until or any(caller.done() for caller in callers))  # noqa: B023
        stopping.set()
        await asyncio.gather(*callers)

    assert early == {"tower-2 MODEL_VERSION_NOT_LOADED"}, "before its version is loaded, and from nobody else"
    assert refused == [], "a caller that names the live or the previous model is never refused"
    assert (set(answered["tower-1"]), set(answered["tower-2"])) == ({1}, {2})
    assert set(answered[""]) == {1, 2}, "who names nothing goes along with the switches"


async def test_a_batch_keeps_to_the_route_that_was_live_when_it_came(
    harness: Harness, versions: dict[int, Version]
) -> None:
    publish(harness, versions, 1, 2)
    await harness.start()
    queries = versions[1][0].queries[:150]
    async with AsyncClient(
        f"127.0.0.1:{harness.port}", ALICES_KEY, service="films/movies", deadline_ms=5_000
    ) as client:
        for switch in range(SWITCHES):
            asked = asyncio.create_task(client.batch_recall(queries, top_k=TOP_K))
            await asyncio.sleep(0.002 * switch)
            publish(harness, versions, *((1, 2) if switch % 2 else (2, 1)))
            results = await asked
            answers = [result for result in results if isinstance(result, Answer)]
            assert len(answers) == len(queries)
            [version] = {answer.version for answer in answers}
            made = versions[version][0]
            assert all(is_of(*found) for found in zip(answers, [version] * 150, [made] * 150, queries, strict=True))
