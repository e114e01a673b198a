"""A build from a drop in S3 to live: a real S3 server, database, Valkey and children; the node is on paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalog.models import Service
from common.errors import InvalidArgument
from tests.factories import make_service
from tests.support.history import asked
from tests.support.s3 import BUCKET, S3Server, running_s3
from tests.support.source import write_drop
from tests.support.sources_file import write_sources
from tests.support.valkey import free_port
from tests.workers.conftest import finish
from versions.models import Build
from workers import patience, pipeline

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture
def configured(server: S3Server, folders: Path, settings) -> Path:
    """Alice's tenant may read its prefix."""
    settings.RECALL_SOURCES_FILE = write_sources(folders / "sources.toml", {"films": {"s3": [server.place("films")]}})
    return settings.RECALL_SOURCES_FILE


@pytest.fixture
def remote_service(films, configured: Path, request: pytest.FixtureRequest) -> Service:
    """Its source lies in S3, in a prefix of this test's own."""
    uri = f"s3://{BUCKET}/films/{request.node.name}/"
    return make_service(films, source={"uri": uri})


@pytest.fixture
def deliver(server: S3Server, remote_service: Service) -> Callable[..., None]:
    def upload(name: str, **drop: object) -> None:
        folder = write_drop(remote_service, name, **drop)
        prefix = remote_service.spec["source"]["uri"].removeprefix(f"s3://{BUCKET}/")
        server.upload(folder, f"{prefix}{name}/")

    return upload


def test_a_drop_in_s3_becomes_the_live_version(remote_service, deliver, node, server, settings):
    deliver("20260101", items=60, count=60, model_version="mind-7")
    build = finish(asked(remote_service))
    assert (build.state, build.error_message) == ("SUCCEEDED", "")
    assert (build.drop_name, build.drop["count"], build.drop["files"]) == ("20260101", 60, 1)
    remote_service.refresh_from_db()
    assert remote_service.live_version == 1

    again = finish(asked(remote_service))
    assert (again.state, again.error_reason) == ("CANCELLED", "build.duplicate")

    kept = [path for path in settings.RECALL_WORK.rglob("*") if path.is_file()]
    assert [path for path in kept if "spool" in path.parts] == []
    secret = server.users["films"].secret
    assert secret not in str([vars(each) for each in Build.objects.all()])
    assert [path for path in kept if secret.encode() in path.read_bytes()] == []


def test_a_bad_drop_in_s3_is_the_user_s_and_leaves_no_spool(remote_service, deliver, node, settings):
    deliver("20260101", items=60, dimension=5)
    build = finish(asked(remote_service))
    assert (build.state, build.error_reason, build.error_owner) == ("FAILED", "drop.dimension_mismatch", "user")
    assert [path for path in settings.RECALL_WORK.rglob("*") if "spool" in path.name] == []


def test_a_build_waits_for_a_server_that_is_away_and_then_fails(
    remote_service, configured, server, valkey, monkeypatch
):
    nowhere = server.place("films", endpoint_url=f"http://127.0.0.1:{free_port()}")
    write_sources(configured, {"films": {"s3": [nowhere]}})
    build = asked(remote_service)
    pipeline.run(build.pk)
    build.refresh_from_db()
    assert (build.state, build.wake_at is not None) == ("RUNNING", True)
    step = build.steps.get(name="resolve_drop")
    assert step.detail.startswith("The server cannot be reached.")
    assert "Another try follows" in step.detail
    monkeypatch.setattr(patience, "PATIENCE_SECONDS_MAX", 0.0)
    build = finish(build)
    assert (build.state, build.error_reason, build.error_owner) == ("FAILED", "source.unreachable", "platform")


def test_a_server_that_goes_away_before_the_fetch_is_waited_for_too(
    remote_service, deliver, configured, server, node, monkeypatch
):
    deliver("20260101", items=60, count=60)
    steps = dict(pipeline.STEPS)

    def away_then(ctx):
        write_sources(configured, {"films": {"s3": [server.place("films", endpoint_url="http://127.0.0.1:1")]}})
        outcome = steps["import_items"](ctx)
        write_sources(configured, {"films": {"s3": [server.place("films")]}})
        monkeypatch.setattr(pipeline, "STEPS", tuple(steps_before))
        return outcome

    steps_before = list(pipeline.STEPS)
    swapped = [
        pipeline.Step(each.name, away_then if each.name == "import_items" else each.run) for each in steps_before
    ]
    monkeypatch.setattr(pipeline, "STEPS", tuple(swapped))
    build = asked(remote_service)
    pipeline.run(build.pk)
    build.refresh_from_db()
    assert (build.state, build.steps.get(name="import_items").state) == ("RUNNING", "RUNNING")
    assert build.steps.get(name="import_items").detail.startswith("The server cannot be reached.")
    assert finish(build).state == "SUCCEEDED"


def test_a_place_that_is_not_configured_cannot_be_registered(films, books, configured):
    for tenant, uri in (
        (books, f"s3://{BUCKET}/films/movies/"),
        (films, "s3://vault/"),
        (films, "webhdfs://nn:9870/x/"),
    ):
        with pytest.raises(InvalidArgument, match="RECALL_SOURCES_FILE") as caught:
            make_service(tenant, source={"uri": uri})
        assert caught.value.field == "source.uri"
        assert caught.value.details[0]["field"] == "source.uri"


def test_a_place_that_is_taken_away_stops_the_next_build(remote_service, configured, valkey):
    configured.write_text("")
    build = finish(asked(remote_service))
    assert (build.state, build.error_reason, build.error_owner) == ("FAILED", "uri.not_allowed", "user")
