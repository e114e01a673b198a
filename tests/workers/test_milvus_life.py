"""A service whose index lies at a server, over two instances: from its first drop until its oldest version is gone.

Builds, a real node, a real gateway and its callers; only the servers are smaller than those of a real installation.
"""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest

from catalog.actions import service_release, service_update
from catalog.models import Service
from engines.milvus.connection import instance
from engines.milvus.reference import read_reference
from recall_client.client import Client
from recall_client.results import Answer
from tenants.actions import key_create
from tests.factories import TESTER, make_service
from tests.support.children import index_builders
from tests.support.gateways import running_gateway
from tests.support.history import asked, refreshed
from tests.support.nodes import running_node
from tests.support.source import write_drop
from tests.workers.conftest import finish
from versions import actions, selectors
from versions.models import Build, Version
from workers import files, reports, sweep

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers, pytest.mark.milvus]

WAIT_SECONDS_MAX = 60.0
DIMENSION, TOP_K = 4, 10
QUERY = np.random.default_rng(7).normal(size=DIMENSION).astype(np.float32)
SCHEMA = {"dimension": DIMENSION, "metric": "ip", "attributes": [{"name": "year", "type": "int64"}]}
GUARDS = {"max_p99_ratio": None, "max_drop_percent": None, "max_growth_percent": None}
# Each query of the tuning and of the warm-up is a call of the server, and there are no more of them than items.
FEW = 100
# Takes some seconds to insert and to index.
MANY = 20_000
INSTANCES = ("blue", "green")


@pytest.fixture
def callers_of(instances, folders, valkey) -> Callable[[Service], object]:
    """A gateway with a caller of the service, beside the node that its versions are loaded on."""

    @contextmanager
    def running(service: Service) -> Iterator[Client]:
        key = key_create(actor=TESTER, tenant=service.tenant, scope="read").text
        sweep.reconcile_documents()
        with (
            running_node(folders / "node", valkey),
            tempfile.TemporaryDirectory(prefix="recall-gateway-") as home,
            running_gateway(Path(home), valkey) as address,
            Client(address, key, service=f"{service.tenant.name}/{service.name}") as client,
        ):
            yield client

    return running


def test_a_service_lives_on_two_instances_and_leaves_nothing_at_them(films, callers_of, build_of, settings):
    settings.RETIRE_DRAIN_SECONDS = settings.RETIRE_FILES_SECONDS = 0
    service = make_service(films, schema=SCHEMA, engine="milvus", search={"at": 10}, guards=GUARDS)
    with callers_of(service) as client:
        for number, where in ((1, "blue"), (2, "green")):
            assert state(build_of(service, str(number), **drop(FEW + number))) == "SUCCEEDED"
            assert place(service, number)[0] == where
            assert told_place(service, number) == ([where], [f"The index is made at {where}."])
            answers_rightly(client, version=number, items=FEW + number)
        assert collections() == {place(service, 1), place(service, 2)}

        actions.version_rollback(actor=TESTER, service=service, from_version=2)
        answers_rightly(client, version=1, items=FEW + 1)

        write_drop(service, "3", **drop(MANY))
        killed = killed_while_building(service)
        assert (killed.state, killed.error_reason) == ("FAILED", "engine.crashed"), killed.error_message
        assert "SIGKILL" in killed.error_message
        # It was made where version 2 is, which is not live any more.
        assert {where for where, _ in collections() - {place(service, 1), place(service, 2)}} == {"green"}
        Build.objects.filter(pk=killed.pk).update(ended_at="2020-01-01T00:00:00+00:00")
        files.delete_files()
        assert collections() == {place(service, 1), place(service, 2)}
        answers_rightly(client, version=1, items=FEW + 1)

        going = place(service, 2)
        service_release(actor=TESTER, service=refreshed(service), reason="Drop 4 is good.")
        assert state(build_of(service, "4", **drop(FEW + 4))) == "SUCCEEDED"
        live = refreshed(service).live_version
        answers_rightly(client, version=live, items=FEW + 4)
        # One that is marked bad is nothing that a rollback goes to.
        assert [version.number for version in selectors.versions_of(service).filter(state="RETIRING")] == [2]
        until(lambda: swept() and going not in collections(), "the collection of version 2 to go")
        assert collections() == {place(service, 1), place(service, live)}
        assert Version.objects.get(number=2).files_deleted_at is not None
        actions.version_rollback(actor=TESTER, service=service, from_version=live)
        answers_rightly(client, version=1, items=FEW + 1)


def test_a_service_changes_its_engine_by_builds_and_goes_back(films, callers_of, build_of):
    service = make_service(films, schema=SCHEMA, engine="hnsw", search={"at": 10}, guards=GUARDS)
    with callers_of(service) as client:
        for number, engine in ((1, "hnsw"), (2, "milvus"), (3, "hnsw")):
            service_update(actor=TESTER, service=refreshed(service), spec={"engine": engine})
            assert state(build_of(refreshed(service), str(number), **drop(FEW + number))) == "SUCCEEDED"
            assert selectors.version_get(service, number).engine == engine
            answers_rightly(client, version=number, items=FEW + number)
        actions.version_rollback(actor=TESTER, service=service, from_version=3)
        answers_rightly(client, version=2, items=FEW + 2)


def told_place(service: Service, number: int) -> tuple[list[str], list[str]]:
    """Where a version is, as its team sees it, and what its build's log said of that."""
    version = selectors.version_get(service, number)
    said = version.build.lines.filter(text__startswith="The index is made at").values_list("text", flat=True)
    return selectors.version_view(version)["places"], list(said)


def drop(items: int) -> dict[str, object]:
    return {"items": items, "dimension": DIMENSION, "attributes": {"year": pa.array(years(items))}}


def years(items: int) -> np.ndarray:
    """Of the items 1, 2, 3, ..., in their order."""
    return 1950 + np.arange(items) % 70


def answers_rightly(client: Client, *, version: int | None, items: int) -> None:
    """Callers are answered from this version: the nearest of its items, as they lie in its drop."""
    sweep.reconcile_documents()
    until(lambda: ask(client).version == version, f"answers from version {version}")
    vectors = np.random.default_rng(items).normal(size=(items, DIMENSION)).astype(np.float32)
    order = np.argsort(-(vectors @ QUERY))
    answer = ask(client)
    assert len(set(answer.ids.tolist()) & set((order[:TOP_K] + 1).tolist())) >= TOP_K - 1
    assert answer.attributes["year"].tolist() == years(items)[answer.ids - 1].tolist()
    old = order[years(items)[order] < 1960]
    assert ask(client, filter="year < 1960").ids[:3].tolist() == (old[:3] + 1).tolist()


def ask(client: Client, **options: str) -> Answer:
    return client.recall(QUERY, top_k=TOP_K, return_attributes=["year"], **options)  # type: ignore[arg-type]


def state(build: Build) -> str:
    assert not build.error_message, build.error_message
    return build.state


def place(service: Service, number: int) -> tuple[str, str]:
    """Instance and collection that the version is made of."""
    told = read_reference(Path(selectors.version_get(service, number).artifact) / "index")
    return told.instance, told.collection


def collections() -> set[tuple[str, str]]:
    """Of both instances."""
    return {
        (name, collection)
        for name in INSTANCES
        for collection in instance(name).tell(lambda client: client.list_collections())
    }


def killed_while_building(service: Service) -> Build:
    """A build whose child is killed as soon as there is a collection of it."""
    before = collections()
    killing = threading.Thread(target=kill_when_there_are_more_than, args=(before,))
    killing.start()
    build = finish(asked(service))
    killing.join()
    return build


def kill_when_there_are_more_than(before: set[tuple[str, str]]) -> None:
    until(lambda: collections() > before, "the build to make a collection")
    for child in index_builders(psutil.Process()):
        child.send_signal(signal.SIGKILL)


def swept() -> bool:
    reports.collect()
    sweep.retire_versions()
    sweep.reconcile_documents()
    files.delete_files()
    return True


def until(what: Callable[[], object], name: str) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS_MAX
    while not what():
        assert time.monotonic() < give_up_at, f"waited {WAIT_SECONDS_MAX:g} s for {name}"
        time.sleep(0.02)
