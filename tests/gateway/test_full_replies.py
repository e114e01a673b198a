"""Many callers whose answers together fit no reply of a real replica, while each one's does: all are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from recallpb.v1 import recall_pb2
from replicas.settings import MIB
from tests.gateway.harness import FILMS, Harness, limits, refusal, route
from tests.gateway.real import by_vectors, route_of
from tests.support.artifacts import MadeArtifact, exact_ids, make_artifact
from tests.support.replica_hosts import Host, running_host

pytestmark = pytest.mark.servers

ITEMS, CALLERS = 600, 60
# An answer of 100 items takes 0.2 MB of the half MiB that this replica's replies hold.
TEXT_BYTES, TOP_K = 2_000, 100


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeArtifact:
    plots = ("string", [f"{row:06d}" + "x" * TEXT_BYTES for row in range(ITEMS)])
    return make_artifact(
        tmp_path_factory.mktemp("artifacts"), items=ITEMS, service="movies", attributes={"plot": plots}
    )


@pytest.fixture(scope="module")
def host(made: MadeArtifact) -> Iterator[Host]:
    with running_host(made, RECALL_REPLICA_ANSWER_BYTES_MAX=str(MIB)) as host:
        yield host


@pytest.fixture
async def films(harness: Harness, made: MadeArtifact, host: Host) -> Harness:
    harness.publish(route(route_of(made, host), limits=limits(max_top_k=ITEMS)))
    await harness.start()
    return harness


async def test_nobody_is_refused_for_what_others_ask_at_the_same_time(films: Harness, made: MadeArtifact) -> None:
    alice = films.caller()
    vectors = [made.queries[number % len(made.queries)] for number in range(CALLERS)]
    asked = (alice.recall(by_vectors(vector, top_k=TOP_K, return_attributes=["plot"])) for vector in vectors)
    for vector, answer in zip(vectors, await asyncio.gather(*asked), strict=True):
        assert list(answer.ids) == exact_ids(made, vector, TOP_K)[0]
        assert len(answer.attributes[0].strings.values) == TOP_K


async def test_a_batch_gets_all_its_answers_too(films: Harness, made: MadeArtifact) -> None:
    requests = [by_vectors(vector, service="", top_k=TOP_K, return_attributes=["plot"]) for vector in made.queries[:20]]
    batch = await films.caller().call("BatchRecall", recall_pb2.BatchRecallRequest(service=FILMS, requests=requests))
    expected = [exact_ids(made, vector, TOP_K)[0] for vector in made.queries[:20]]
    assert [list(result.response.ids) for result in batch.results] == expected


async def test_an_answer_too_large_for_any_reply_is_refused_for_good_with_its_field(
    films: Harness, made: MadeArtifact
) -> None:
    refused = await refusal(films.caller().recall(by_vectors(made.queries[0], top_k=400, return_attributes=["plot"])))
    assert (refused.code.name, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "ANSWER_TOO_LARGE", ["top_k"])
    assert refused.retry_seconds == 0
