"""One Valkey for all, emptied before each test; one harness for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.gateway.harness import Harness, route, route_version
from tests.support.exact_replica import ExactReplica
from tests.support.valkey import Valkey, running_valkey


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[Valkey]:
    with running_valkey() as valkey:
        yield valkey


@pytest.fixture
def valkey(shared_valkey: Valkey) -> Valkey:
    with shared_valkey.client() as client:
        client.flushall()
    return shared_valkey


@pytest.fixture
async def harness(valkey: Valkey) -> AsyncIterator[Harness]:
    """Everything but a gateway: the test starts it."""
    harness = Harness(valkey)
    yield harness
    await harness.close()


@pytest.fixture
async def replica(harness: Harness) -> ExactReplica:
    """Version 1 of Alice's service, with its route published."""
    replica = await harness.replica()
    harness.publish(route(route_version(1, replica.address)))
    return replica


@pytest.fixture
async def films(harness: Harness, replica: ExactReplica) -> Harness:
    """Alice's service `films/movies`, version 1 live, behind a running gateway."""
    await harness.start()
    return harness
