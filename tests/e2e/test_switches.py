"""Switches and rollbacks to and fro under load. `make bench-switches` does the same fifty times and faster."""

from __future__ import annotations

import pytest

from benchmarks.switches import mixed, switch_to_and_fro, two_versions
from tests.e2e.load import Load
from tests.e2e.platform import Platform, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.servers, pytest.mark.timeout(600)]

ITEMS = 10_000
SWITCHES = 10
QPS = 100
# Ten times what one takes on an idle machine.
ROLLBACK_SECONDS_MAX = 1.0


def test_ten_switches_fail_no_call_and_mix_no_answer(platform: Platform) -> None:
    queries = two_versions(platform, "toandfro", items=ITEMS)
    service = f"tenants/{platform.tenant}/services/toandfro"
    with Load(target=platform.gateway, key=platform.key, service=service, queries=queries, qps=QPS) as load:
        eventually(lambda: len(load.answers) > QPS / 2, seconds_max=20, what="the load to run")
        switched = switch_to_and_fro(platform, "toandfro", load, switches=SWITCHES)
    load.check_complete()
    assert [answer.error for answer in load.failed] == []
    assert mixed(load.answers, items=ITEMS) == []
    assert {answer.version for answer in load.answers} == {1, 2}
    assert len(switched.rollbacks) == len(switched.activations) == SWITCHES / 2
    assert max(switched.rollbacks) < ROLLBACK_SECONDS_MAX
    live = platform.api("GET", "/services/toandfro")
    assert (live["live_version"], live["live_generation"]) == (2, 2 + SWITCHES)
