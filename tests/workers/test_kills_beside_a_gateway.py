"""Workers die at every failpoint while callers ask a real gateway: no call fails, and each answer is of what was live.

What is left behind is looked at one failpoint at a time, in `test_failpoints`.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.conf import settings

import failpoints
from catalog.models import Service
from tenants.actions import key_create
from tests.e2e.load import Load
from tests.factories import TESTER, make_service
from tests.support.forked_workers import Workers, forked_workers
from tests.support.gateways import running_gateway
from tests.support.history import asked, expired, refreshed
from tests.support.nodes import running_node
from tests.workers.conftest import finish
from versions import actions
from versions.models import Build
from workers import pipeline, sweep

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

# The failpoints that lie within a step, by the first part of their names.
WITHIN = {
    "import_items": "import_child",
    "check_items": "compare_child",
    "build_index": "build_child",
    "tune_search": "tune_child",
    "publish_artifact": "publish",
    "activate": "activate",
}
# Each build dies at every sixth point, so that no step loses more workers than a build may.
BUILDS = 6
ITEMS, DIMENSION, TOP_K = 200, 4, 10
# The first hit of an answer from drop d is the item SIGNATURE + d.
SIGNATURE = 10_000
QPS = 40
ANSWERS_AFTER_A_KILL = 4
WAIT_SECONDS_MAX = 60.0
VECTORS = np.random.default_rng(1).normal(size=(ITEMS, DIMENSION)).astype(np.float32)
QUERY = VECTORS[:1]


def points() -> list[str]:
    """Every failpoint, in the order in which a build reaches them."""
    found = ["build.claimed"]
    for step in pipeline.STEPS:
        within = [name for name in failpoints.NAMES if name.partition(".")[0] == WITHIN.get(step.name)]
        found += [f"step.{step.name}.before", *within, f"step.{step.name}.after"]
    return [*found, "build.before_success"]


def deliver(service: Service, drop: int) -> None:
    """The items of all drops, and one that tells from which of them an answer is."""
    folder = Path(settings.RECALL_DROPS) / service.tenant.name / service.name / f"{drop:08}"
    folder.mkdir(parents=True)
    vectors = np.vstack([VECTORS, 2 * QUERY])
    columns = {
        "id": pa.array([*range(1, ITEMS + 1), SIGNATURE + drop]),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION),
    }
    pq.write_table(pa.table(columns), folder / "items-0.parquet")
    (folder / "manifest.json").write_text(json.dumps({"items": ["items-*.parquet"]}))


@pytest.fixture
def workers(tmp_path: Path, db: None) -> Iterator[Workers]:
    with forked_workers(tmp_path) as pool:
        yield pool


@pytest.fixture
def service(films, folders, valkey) -> Iterator[Service]:
    """Version 1 is live on a real node."""
    service = make_service(films, guards={"max_p99_ratio": None}, limits={"qps": 1000, "concurrency": 100})
    with running_node(folders / "node", valkey):
        deliver(service, 1)
        assert finish(asked(service)).state == "SUCCEEDED"
        yield service


@pytest.fixture
def load(service, valkey) -> Iterator[Load]:
    key = key_create(actor=TESTER, tenant=service.tenant, scope="read").text
    sweep.reconcile_documents()
    with tempfile.TemporaryDirectory(prefix="recall-gateway-") as home, running_gateway(Path(home), valkey) as address:
        name = f"tenants/{service.tenant.name}/services/{service.name}"
        with Load(target=address, key=key, service=name, queries=QUERY, qps=QPS, top_k=TOP_K) as load:
            until(lambda: any(not answer.error for answer in list(load.answers)), "the first answer")
            load.answers.clear()
            yield load


def test_live_answers_while_workers_die_at_every_failpoint_and_builds_go_on(service, load, workers):
    assert set(failpoints.NAMES) <= set(points())
    # A build that failed and is tried again makes a version of another number.
    drops = {1: 1}
    for drop in range(2, BUILDS + 2):
        deliver(service, drop)
        build = asked(service)
        for point in points()[drop - 2 :: BUILDS]:
            die_and_go_on(build, point, workers)
            answers_go_on(load)
        build = finish(build)
        assert build.state == "SUCCEEDED", build.error_message
        drops[build.version_number] = drop
        assert refreshed(service).live_version == build.version_number
        sweep.reconcile_documents()
        until(lambda wanted=build.version_number: load.answers[-1].version == wanted, f"answers from drop {drop}")
    *_, before, last = drops
    actions.version_rollback(actor=TESTER, service=service, from_version=last)
    until(lambda: load.answers[-1].version == before, "answers of the version before")
    load.stop()

    assert [answer.error for answer in load.failed] == []
    assert [answer for answer in load.answers if answer.ids[0] != SIGNATURE + drops[answer.version]] == []
    assert {len(answer.ids) for answer in load.answers} == {TOP_K}
    assert versions_in_turn(load) == [*drops, before]
    assert Build.objects.exclude(state="SUCCEEDED").count() == 0


def die_and_go_on(build: Build, point: str, workers: Workers) -> None:
    """The worker, or its child, is killed at `point`; then the build is anybody's who claims it."""
    if "_child." in point:
        assert workers.start(build, f"{point}=kill").wait() == 0
        build.refresh_from_db()
        assert f"failpoint {point}: kill" in build.error_message
        actions.build_retry(actor=TESTER, build=build)
    else:
        assert workers.killed_at(build, point), point
        expired(build)


def answers_go_on(load: Load) -> None:
    begin = time.monotonic()
    wanted = ANSWERS_AFTER_A_KILL
    until(lambda: sum(each.started_at > begin for each in load.answers[-2 * wanted :]) >= wanted, f"{wanted} answers")


def versions_in_turn(load: Load) -> list[int]:
    """As callers saw them: calls by their start, so that one of two at once that ends later does not count as older."""
    seen: list[int] = []
    for answer in sorted(load.answers, key=lambda answer: answer.started_at):
        if not seen or seen[-1] != answer.version:
            seen.append(answer.version)
    return seen


def until(what: Callable[[], object], name: str) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS_MAX
    while not what():
        assert time.monotonic() < give_up_at, f"waited {WAIT_SECONDS_MAX:g} s for {name}"
        time.sleep(0.02)
