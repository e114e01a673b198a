"""The server behind one tenant's engine dies, freezes, or loses a collection under load: who notices, and who not.

Alice's service lies at an instance, Charlie's is an index in a file; both are on one node, behind one gateway.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from alerts.models import Alert
from catalog.models import Service
from engines.milvus.connection import instance
from engines.milvus.reference import read_reference
from recall_client.client import Client
from recall_client.errors import Unavailable
from tenants.actions import key_create
from tenants.models import Tenant
from tests.e2e.load import Answer, Load
from tests.factories import TESTER, make_service
from tests.support.gateways import running_gateway
from tests.support.milvus import MilvusLite, running_milvus
from tests.support.nodes import running_node
from versions import selectors
from versions.models import Replica
from workers import audit, sweep

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

WAIT_SECONDS_MAX = 90.0
ROUND_SECONDS = 0.5
ITEMS, DIMENSION, TOP_K = 300, 4, 10
QUERY = np.random.default_rng(7).normal(size=DIMENSION).astype(np.float32)
SCHEMA = {"dimension": DIMENSION, "metric": "ip"}
GUARDS = {"max_p99_ratio": None}
LIMITS = {"qps": 1_000, "concurrency": 200}
# Alice's calls are few: this server takes one at a time.
ALICES_QPS, CHARLIES_QPS = 20, 40
DEADLINE_SECONDS = 1.0
# A call that is over so long after its deadline was kept from hearing of it by the machine.
SLACK_SECONDS = 2.0
CALLS_MIN = 100
# Charlie's p99 while Alice's server is away, against the one before: what a busy machine does by itself is no fault.
P99_RATIO_MAX, P99_FLOOR_SECONDS = 10.0, 0.25


@dataclass
class Platform:
    """Both services with callers that go on, and the instance behind one of them."""

    server: MilvusLite
    alice: Load
    charlie: Load
    client: Client
    service: Service

    def alerts(self) -> list[tuple[str, str, str]]:
        return [(each.service.name, each.reason, each.state) for each in Alert.objects.order_by("pk")]

    def audited_until(self, true: Callable[[], object], name: str) -> None:
        """Rounds as beat rings for them, until `true` holds."""
        give_up_at = time.monotonic() + WAIT_SECONDS_MAX
        while not true():
            rows = list(Replica.objects.values("state", "verdict", "sick_reason", "error", "cures"))
            assert time.monotonic() < give_up_at, f"waited {WAIT_SECONDS_MAX:g} s for {name}: {self.alerts()} {rows}"
            time.sleep(ROUND_SECONDS)
            audit.replicas_in_turn()
            sweep.reconcile_documents()

    def calls_since(self, load: Load, moment: float) -> list[Answer]:
        return [answer for answer in list(load.answers) if answer.started_at >= moment]

    def is_away(self) -> bool:
        return ("movies", "engine.unavailable", "OPEN") in self.alerts()

    def is_back(self) -> bool:
        answers = self.alice.answers[-ALICES_QPS:]
        return not self.is_away() and not any(answer.error for answer in answers)


@pytest.fixture
def platform(films, books, build_of, folders, valkey, monkeypatch) -> Iterator[Platform]:
    with ExitStack() as stack:
        server = stack.enter_context(running_milvus())
        monkeypatch.setenv("RECALL_MILVUS_INSTANCES", f"blue={server.uri}")
        stack.enter_context(running_node(folders / "node", valkey))
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="recall-gateway-"))
        services = [
            make_service(tenant, name, schema=SCHEMA, engine=engine, guards=GUARDS, limits=LIMITS)
            for tenant, name, engine in ((films, "movies", "milvus"), (books, "novels", "hnsw"))
        ]
        for service in services:
            build = build_of(service, "1", items=ITEMS, dimension=DIMENSION)
            assert build.state == "SUCCEEDED", build.error_message
        keys = [key_of(service.tenant) for service in services]
        sweep.reconcile_documents()
        address = stack.enter_context(running_gateway(Path(home), valkey))
        loads = [
            stack.enter_context(load_of(service, address, key, qps))
            for service, key, qps in zip(services, keys, (ALICES_QPS, CHARLIES_QPS), strict=True)
        ]
        client = stack.enter_context(Client(address, keys[0], service="films/movies"))
        platform = Platform(server, *loads, client, services[0])
        well = Replica.objects.filter(verdict="OK", sick_reason="")
        platform.audited_until(lambda: well.count() == 2 and platform.is_back(), "both to be well")
        yield platform
        if server.runs:
            server.thaw()


def key_of(tenant: Tenant) -> str:
    return key_create(actor=TESTER, tenant=tenant, scope="read").text


def load_of(service: Service, address: str, key: str, qps: float) -> Load:
    name = f"tenants/{service.tenant.name}/services/{service.name}"
    return Load(
        target=address, key=key, service=name, queries=[QUERY], qps=qps, top_k=TOP_K, deadline_seconds=DEADLINE_SECONDS
    )


def p99(answers: list[Answer]) -> float:
    return float(np.percentile([answer.seconds for answer in answers], 99))


def codes(answers: list[Answer]) -> set[str]:
    return {answer.error.partition(":")[0] for answer in answers if answer.error}


def idle(platform: Platform) -> float:
    """Charlie's p99 while all is well."""
    began = time.monotonic()

    def enough() -> bool:
        return len(platform.calls_since(platform.charlie, began)) >= CALLS_MIN

    platform.audited_until(enough, "calls while all is well")
    assert platform.calls_since(platform.charlie, began)
    return p99(platform.calls_since(platform.charlie, began))


def comes_back(platform: Platform, began: float, idle_p99: float) -> None:
    """Everybody is answered again, by processes that nobody has restarted, and Charlie has noticed nothing."""
    replicas = list(Replica.objects.values_list("pk", "respawns", "cures"))
    platform.audited_until(platform.is_back, "answers, and the end of the alert")
    assert (
        list(Replica.objects.values_list("pk", "respawns", "cures"))
        == replicas
        == [(pk, 0, 0) for pk, _, _ in replicas]
    )
    assert {(service, reason) for service, reason, _ in platform.alerts()} == {("movies", "engine.unavailable")}
    alices, charlies = (platform.calls_since(load, began) for load in (platform.alice, platform.charlie))
    assert max(answer.seconds for answer in alices) < DEADLINE_SECONDS + SLACK_SECONDS
    assert len(charlies) >= CALLS_MIN
    assert [answer.error for answer in charlies if answer.error] == []
    assert p99(charlies) <= max(P99_RATIO_MAX * idle_p99, P99_FLOOR_SECONDS)


def test_callers_of_a_server_that_dies_or_freezes_hear_so_and_nobody_else_notices(platform: Platform) -> None:
    idle_p99 = idle(platform)

    began = time.monotonic()
    platform.server.kill()
    platform.audited_until(platform.is_away, "an alert")
    away = time.monotonic()
    with pytest.raises(Unavailable) as heard:
        platform.client.recall(QUERY, top_k=TOP_K)
    assert heard.value.reason == "ENGINE_UNAVAILABLE"
    platform.audited_until(lambda: len(platform.calls_since(platform.charlie, away)) >= CALLS_MIN, "calls meanwhile")
    failed = [answer for answer in platform.calls_since(platform.alice, began) if answer.error]
    assert codes(failed) == {"UNAVAILABLE"}, failed
    # Nobody waits for a server that refuses.
    assert np.median([answer.seconds for answer in failed]) < DEADLINE_SECONDS / 4
    platform.server.start()
    comes_back(platform, began, idle_p99)

    began = time.monotonic()
    platform.server.freeze()
    platform.audited_until(platform.is_away, "an alert")
    away = time.monotonic()
    platform.audited_until(lambda: len(platform.calls_since(platform.charlie, away)) >= CALLS_MIN, "calls meanwhile")
    # At first callers wait for it, some in the gateway's line; then nobody waits any more.
    assert codes(platform.calls_since(platform.alice, began)) <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    failed = platform.calls_since(platform.alice, away)
    assert codes(failed) == {"UNAVAILABLE"}, failed
    assert np.median([answer.seconds for answer in failed]) < DEADLINE_SECONDS / 4
    platform.server.thaw()
    comes_back(platform, began, idle_p99)


def test_a_collection_that_somebody_dropped_is_noticed_and_told_of_its_service_alone(platform: Platform) -> None:
    told = read_reference(Path(selectors.version_get(platform.service, 1).artifact) / "index")
    instance("blue").tell(lambda client: client.drop_collection(told.collection))
    platform.audited_until(lambda: ("movies", "replica.wrong", "OPEN") in platform.alerts(), "an alert")
    alert = Alert.objects.get()
    assert alert.severity == "critical"
    assert f"the instance blue: collection '{told.collection}' does not exist" in alert.message
    assert platform.charlie.failed == []
