"""Workers die while callers ask a real gateway: no call fails, and no answer is of a version that was not live."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.conf import settings

from catalog.models import Service
from tenants.actions import key_create
from tests.e2e.load import Load
from tests.factories import TESTER, make_service
from tests.support.forked_workers import Workers, forked_workers
from tests.support.history import asked, expired, refreshed
from tests.support.nodes import running_node
from tests.support.valkey import Valkey
from tests.workers.conftest import finish
from versions import actions
from versions.models import Build
from workers import sweep

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

# One from each part of a build that comes near serving.
POINTS = (
    "publish.after_rename",
    "step.place_replicas.after",
    "activate.before_commit",
    "activate.after_commit",
    "step.retire.before",
)
ITEMS, DIMENSION, TOP_K = 200, 4, 10
# The first hit of an answer of version v is the item SIGNATURE + v.
SIGNATURE = 10_000
QPS = 40
WAIT_SECONDS_MAX = 60.0
VECTORS = np.random.default_rng(1).normal(size=(ITEMS, DIMENSION)).astype(np.float32)
QUERY = VECTORS[:1]


def deliver(service: Service, version: int) -> None:
    """The items of all versions, and one that tells which of them an answer is of."""
    folder = Path(settings.RECALL_DROPS) / service.tenant.name / service.name / f"{version:08}"
    folder.mkdir(parents=True)
    vectors = np.vstack([VECTORS, 2 * QUERY])
    columns = {
        "id": pa.array([*range(1, ITEMS + 1), SIGNATURE + version]),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION),
    }
    pq.write_table(pa.table(columns), folder / "items-0.parquet")
    (folder / "manifest.json").write_text(json.dumps({"items": ["items-*.parquet"]}))


@contextlib.contextmanager
def running_gateway(home: Path, valkey: Valkey) -> Iterator[str]:
    """`python -m gateway`; its address."""
    note = home / "run" / "gateway-0.json"
    environment = {
        **os.environ,
        "RECALL_HOME": str(home),
        "RECALL_REDIS_URL": valkey.url,
        "RECALL_GATEWAY_PORT": "0",
        "RECALL_KEY_PEPPER": settings.KEY_PEPPER,
        "RECALL_INTERNAL_TOKEN": settings.INTERNAL_TOKEN,
        "RECALL_CONSOLE_URL": "http://127.0.0.1:9",
    }
    process = subprocess.Popen([sys.executable, "-m", "gateway"], env=environment)
    try:
        until(note.exists, "the gateway to listen")
        yield json.loads(note.read_text())["address"]
    finally:
        process.terminate()
        process.wait(30)


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


def test_live_answers_while_workers_die_and_builds_go_on(service, load, workers):
    for version, point in enumerate(POINTS, start=2):
        deliver(service, version)
        build = asked(service)
        assert workers.killed_at(build, point)
        answers_go_on(load)
        expired(build)
        build = finish(build)
        assert (build.state, refreshed(service).live_version) == ("SUCCEEDED", version), build.error_message
        sweep.reconcile_documents()
        until(lambda wanted=version: load.answers[-1].version == wanted, f"answers of version {version}")
    actions.version_rollback(actor=TESTER, service=service, from_version=len(POINTS) + 1)
    until(lambda: load.answers[-1].version == len(POINTS), "answers of the version before")
    load.stop()

    assert [answer.error for answer in load.failed] == []
    assert [answer for answer in load.answers if answer.ids[0] != SIGNATURE + answer.version] == []
    assert {len(answer.ids) for answer in load.answers} == {TOP_K}
    assert versions_in_turn(load) == [*range(1, len(POINTS) + 2), len(POINTS)]
    assert Build.objects.exclude(state="SUCCEEDED").count() == 0


def answers_go_on(load: Load) -> None:
    killed_at = time.monotonic()
    until(lambda: sum(a.started_at > killed_at for a in list(load.answers)) >= QPS / 2, "answers after the kill")


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
