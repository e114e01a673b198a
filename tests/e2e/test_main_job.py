"""The main job under load: builds beside the live version, switches, and the way back."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.e2e.conftest import hnsw_service
from tests.e2e.drops import write_drop
from tests.e2e.load import Answer, Load
from tests.e2e.platform import Platform, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.servers, pytest.mark.timeout(900)]


ITEMS = 300_000
DIMENSION = 64
QPS = 200
ROLLBACK_SECONDS_MAX = 1.0


def test_two_builds_two_switches_and_a_rollback_fail_no_call(platform: Platform) -> None:
    """Version v holds the ids [v * ITEMS, (v + 1) * ITEMS), so that an answer shows which version it came from."""
    platform.api("POST", "/services", hnsw_service("films", dimension=DIMENSION))
    vectors = write_drop(platform.source("films"), "20260101", items=ITEMS, dimension=DIMENSION, first_id=ITEMS, seed=1)
    assert platform.build("films")["version"] == 1

    service = f"tenants/{platform.tenant}/services/films"
    with Load(target=platform.gateway, key=platform.key, service=service, queries=vectors[:2000], qps=QPS) as load:
        for number in (2, 3):
            name = f"2026010{number}"
            write_drop(
                platform.source("films"), name, items=ITEMS, dimension=DIMENSION, first_id=number * ITEMS, seed=number
            )
            assert platform.build("films", seconds_max=300)["version"] == number
            eventually(
                lambda n=number: load.answers[-1].version == n, seconds_max=5, what=f"answers of version {number}"
            )

        asked_at = time.monotonic()
        platform.api("POST", "/services/films:rollback", {"from_version": 3, "reason": "the drop was bad"})
        eventually(lambda: load.seconds_since(asked_at, 2) is not None, seconds_max=10, what="an answer of version 2")
        rollback_seconds = load.seconds_since(asked_at, 2)
        time.sleep(1)

    report(load.answers, rollback_seconds)
    load.check_complete()
    assert load.failed == []
    assert {answer.version for answer in load.answers} == {1, 2, 3}
    assert [answer for answer in load.answers if not answers_from_its_version(answer)] == []
    assert load.answers[-1].version == 2
    assert rollback_seconds is not None
    assert rollback_seconds < ROLLBACK_SECONDS_MAX


def answers_from_its_version(answer: Answer) -> bool:
    low = answer.version * ITEMS
    return len(answer.ids) == 100 and all(low <= item < low + ITEMS for item in answer.ids)


def report(answers: list[Answer], rollback_seconds: float | None) -> None:
    milliseconds = np.array([answer.seconds for answer in answers]) * 1000
    p50, p99 = np.percentile(milliseconds, [50, 99])
    print(
        f"\n{len(answers)} calls over two builds, two switches and a rollback: p50 {p50:.1f} ms, p99 {p99:.1f} ms; "
        f"rollback to first old answer {rollback_seconds or float('nan'):.3f} s"
    )
