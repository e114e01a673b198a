"""Every RPC of RecallService, without a key, with a foreign key, and with a foreign service's name.

A new RPC fails here until a request for it is written down.
"""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from recallpb.v1 import recall_pb2
from tests.gateway.harness import (
    ALICES_KEY,
    BOOKS,
    CHARLIES_KEY,
    FILMS,
    Harness,
    key,
    query,
    refusal,
    route,
    route_version,
)

SERVICE = recall_pb2.DESCRIPTOR.services_by_name["RecallService"]
UNKNOWN = "tenants/films/services/nothing"


def request_for(rpc: str, service: str) -> Any:
    """A request that is right in every way but perhaps its service."""
    requests = {
        "Recall": query(service),
        "BatchRecall": recall_pb2.BatchRecallRequest(service=service, requests=[query("")]),
        "GetItems": recall_pb2.GetItemsRequest(service=service, items=recall_pb2.ItemIds(ids=[1_000_001])),
        "CountItems": recall_pb2.CountItemsRequest(service=service),
        "GetServiceInfo": recall_pb2.GetServiceInfoRequest(service=service),
    }
    assert rpc in requests, f"{rpc} is new: write down a request for it here"
    return requests[rpc]


RPCS = [method.name for method in SERVICE.methods]


@pytest.fixture
async def both(harness: Harness) -> Harness:
    """Alice's films and Charlie's books, each with its own key."""
    replica = await harness.replica()
    harness.publish(route(route_version(1, replica.address)))
    harness.publish(route(route_version(1, replica.address), name=BOOKS))
    await harness.start()
    return harness


@pytest.mark.parametrize("rpc", RPCS)
async def test_it_answers_its_owner(both: Harness, rpc: str) -> None:
    answer = await both.caller(ALICES_KEY).call(rpc, request_for(rpc, FILMS))
    expected = GetMessageClass(SERVICE.methods_by_name[rpc].output_type)
    assert isinstance(answer, expected)
    assert answer.ByteSize() > 0


@pytest.mark.parametrize("rpc", RPCS)
async def test_it_is_closed_without_a_key(both: Harness, rpc: str) -> None:
    for service in (FILMS, UNKNOWN, "nonsense"):
        refused = await refusal(both.caller("").call(rpc, request_for(rpc, service)))
        assert refused.code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("rpc", RPCS)
async def test_a_foreign_service_and_an_unknown_one_look_the_same(both: Harness, rpc: str) -> None:
    for credential, foreign in ((CHARLIES_KEY, FILMS), (ALICES_KEY, BOOKS)):
        refused = await refusal(both.caller(credential).call(rpc, request_for(rpc, foreign)))
        unknown = await refusal(both.caller(credential).call(rpc, request_for(rpc, UNKNOWN)))
        assert refused.code is grpc.StatusCode.PERMISSION_DENIED
        assert (refused.raw_status, refused.details) == (unknown.raw_status, unknown.details)


@pytest.mark.parametrize("rpc", RPCS)
async def test_a_key_for_another_service_of_the_tenant_does_not_open_it(both: Harness, rpc: str) -> None:
    series = "rk_series00_" + "s" * 32
    keys = (key(ALICES_KEY), key(series, service="series"))
    assert both.gateway
    stamp = both.publish(route(route_version(1, both.socket("r1")), keys=keys))
    routes = both.gateway.routes
    await both.until(lambda: routes.stamp_of("films/movies") == stamp)
    refused = await refusal(both.caller(series).call(rpc, request_for(rpc, FILMS)))
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_batch_reaches_no_foreign_service_through_its_members(both: Harness) -> None:
    batch = recall_pb2.BatchRecallRequest(service=FILMS, requests=[query(BOOKS), query(FILMS)])
    foreign, own = (await both.caller(ALICES_KEY).call("BatchRecall", batch)).results
    assert foreign.error.reason == "SERVICE_MISMATCH"
    assert own.response.version == 1
