"""Replicas that freeze, answer wrongly or grow slow, as real processes on two nodes, and the audits that find them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from alerts.models import Alert
from catalog.models import Service
from documents.store import ROUTES
from recallpb.internal.v1 import documents_pb2
from replicas.identity import start_ticks
from tests.factories import make_service
from tests.support import saboteur
from tests.support.nodes import Node, running_node
from tests.support.valkey import Valkey
from versions.models import Replica
from workers import audit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

# As beat rings. What is asserted of a time is ten times what is promised, as others run beside it; the promise itself
# is held by arithmetic, in tests/versions/test_health.py.
ROUND_SECONDS = 1.0
UNROUTED_SECONDS_MAX = 5 * 10
CURED_SECONDS_MAX = 120


@dataclass
class Platform:
    """A service whose live version is loaded on two real nodes."""

    service: Service
    nodes: dict[str, Node]
    valkey: Valkey
    orders: Path

    def replica(self, name: str) -> Replica:
        return Replica.objects.get(node__name=name)

    def pid(self, name: str) -> int:
        return self.nodes[name].report(f"r{self.replica(name).pk}").pid

    def spoil(self, name: str, how: str) -> None:
        """The process that is the node's replica now answers wrongly, or slowly; its successor will not."""
        fresh = self.orders / "fresh"
        fresh.write_text(how)
        fresh.rename(self.orders / str(self.pid(name)))

    def routed(self) -> set[str]:
        payload = self.valkey.client().hget(ROUTES.docs_key, "films/movies") or b""
        route = documents_pb2.Route.FromString(payload)
        return {replica.node for replica in route.versions[0].replicas}

    def audited_until(self, true: Callable[[], bool], seconds_max: float) -> None:
        """Rounds as beat rings for them, until `true` holds."""
        began = time.monotonic()
        while time.monotonic() - began < seconds_max:
            audit.replicas_in_turn()
            if true():
                return
            time.sleep(ROUND_SECONDS)
        rows = list(Replica.objects.values("node__name", "state", "verdict", "sick_reason", "orders", "results"))
        raise AssertionError(f"not within {seconds_max} s: {rows}")


@pytest.fixture
def platform(films, build_of, valkey, tmp_path) -> Iterator[Platform]:
    orders = tmp_path / "orders"
    orders.mkdir()
    environment = {
        "TESTS_SABOTAGE": str(orders),
        "PYTHONPATH": os.path.dirname(saboteur.__file__),
        # As in production: the agent alone would kill a frozen process only after some 18 s.
        "RECALL_AUDIT_EVERY_SECONDS": "1",
        "RECALL_DESCRIBE_EVERY_SECONDS": "1",
        "RECALL_DESCRIBE_SECONDS_MAX": "5",
    }
    service = make_service(films, replicas={"count": 2}, guards={"max_p99_ratio": None})
    with (
        running_node(tmp_path / "alpha", valkey, "alpha", **environment) as alpha,
        running_node(tmp_path / "beta", valkey, "beta", **environment) as beta,
    ):
        build = build_of(service, "20260101", items=500)
        assert build.state == "SUCCEEDED", build.error_message
        found = Platform(service, {"alpha": alpha, "beta": beta}, valkey, orders)
        well = Replica.objects.filter(verdict="OK", sick_reason="")
        found.audited_until(lambda: well.count() == 2, CURED_SECONDS_MAX)
        yield found


def goes_and_comes_back(platform: Platform, name: str, reason: str) -> None:
    """The replica on node `name` leaves the routes in time, is replaced and returns; its alert comes and goes."""
    other = next(node for node in platform.nodes if node != name)
    before, subject = platform.pid(name), f"r{platform.replica(name).pk}"
    platform.audited_until(lambda: platform.routed() == {other}, UNROUTED_SECONDS_MAX)
    alert = Alert.objects.get(reason=reason)
    assert (alert.subject, alert.state) == (subject, "OPEN")
    cures = platform.replica(other).cures
    platform.audited_until(lambda: platform.routed() == {"alpha", "beta"}, CURED_SECONDS_MAX)
    assert start_ticks(before) is None
    assert platform.pid(name) not in (0, before)
    alert.refresh_from_db()
    assert alert.state == "RESOLVED"
    cured = platform.replica(name)
    assert (cured.sick_reason, cured.verdict, cured.withheld, cured.orders) == ("", "OK", False, [])
    assert platform.replica(other).cures == cures


def test_a_replica_that_freezes_or_answers_wrongly_or_slowly_leaves_the_routes_and_is_replaced(
    platform: Platform,
) -> None:
    os.kill(platform.pid("alpha"), signal.SIGSTOP)
    goes_and_comes_back(platform, "alpha", "replica.frozen")

    platform.spoil("beta", "wrong")
    goes_and_comes_back(platform, "beta", "replica.wrong")

    platform.spoil("alpha", "0.4")
    goes_and_comes_back(platform, "alpha", "replica.slow")
