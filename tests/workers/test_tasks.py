"""Messages, queues and the schedule."""

from __future__ import annotations

import pytest

from catalog.models import Service
from common.dispatch import QUEUES
from documents.store import ROUTES
from tests.factories import make_service
from tests.support.history import activated, made_version, refreshed
from tests.workers.conftest import published
from versions.models import Build, SourceWatch
from workers import audit, doorbell, tasks
from workers.app import app

app.loader.import_default_modules()


def test_every_message_that_actions_send_is_a_task_of_the_workers():
    assert set(QUEUES) <= set(app.tasks)


def test_every_tick_is_a_task_and_expires_before_it_piles_up_and_audits_wait_behind_nothing_else():
    ticks = app.conf.beat_schedule.values()
    assert len(ticks) >= 5
    for tick in ticks:
        assert tick["task"] in app.tasks
        assert tick["options"]["queue"] == ("health" if tick["task"] == "audit.replicas" else "control")
        assert tick["schedule"] <= tick["options"]["expires"] <= 2 * tick["schedule"]


def test_builds_have_a_queue_of_their_own():
    assert {queue for name, queue in QUEUES.items() if name.startswith("build.")} == {"builds"}
    assert {queue for name, queue in QUEUES.items() if not name.startswith("build.")} == {"control"}


@pytest.mark.django_db(transaction=True)
def test_a_message_with_more_than_we_know_is_taken(films_service: Service, node):
    """While a new release is rolled out, old workers hear new senders."""
    build = published(films_service)
    tasks.run_build(build.pk, colour="blue")
    assert Build.objects.get(pk=build.pk).state == "SUCCEEDED"
    assert refreshed(films_service).live_version == 1


@pytest.mark.django_db
def test_publishing_tasks_write_routes(films_service, valkey):
    tasks.publish_route(films_service.pk)
    assert valkey.client().hkeys(ROUTES.stamps_key) == [b"films/movies"]
    valkey.client().flushall()
    tasks.publish_tenant(films_service.tenant_id)
    assert valkey.client().hkeys(ROUTES.stamps_key) == [b"films/movies"]
    for task in (tasks.sweep_builds, tasks.sweep_reports, tasks.sweep_documents, tasks.sweep_versions):
        task()


@pytest.mark.django_db(transaction=True)
def test_one_worker_at_a_time_looks_at_sources_so_that_slow_ones_leave_the_others_free(films_service, valkey):
    with doorbell.alone("sources", seconds_max=10) as mine:
        assert mine
        tasks.sweep_sources()
        assert not SourceWatch.objects.exists()
    tasks.sweep_sources()
    assert SourceWatch.objects.filter(looked_at__isnull=False).count() == 1


@pytest.mark.django_db
def test_publishing_tasks_shrug_when_redis_is_away(films_service, settings, caplog):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    tasks.publish_route(films_service.pk)
    tasks.publish_tenant(films_service.tenant_id)
    assert caplog.text.count("the sweeper will") == 2


@pytest.mark.django_db(transaction=True)
def test_one_worker_at_a_time_audits_and_services_have_their_turn(films, books, valkey, monkeypatch):
    made = [make_service(films, "one"), make_service(films, "two"), make_service(books, "three")]
    services = [activated(made_version(service)).service for service in made]
    rounds: list[list[int]] = []
    monkeypatch.setattr(audit, "replicas", rounds.append)
    tasks.audit_replicas()
    assert rounds.pop() == [service.pk for service in services]
    monkeypatch.setattr(audit, "REPLICAS_MAX", 2)
    for _ in range(3):
        tasks.audit_replicas()
    first, second, third = (service.pk for service in services)
    assert rounds == [[first, second], [third, first], [second, third]]
    with doorbell.alone("audit", seconds_max=10):
        tasks.audit_replicas()
    assert len(rounds) == 3


def test_a_turn_is_at_least_one_and_no_more_than_fits(valkey):
    work = {1: 3, 2: 9, 3: 1, 4: 1}
    assert [doorbell.in_turn("t", work, most=4) for _ in range(4)] == [[1], [2], [3, 4], [1]]
    assert doorbell.in_turn("t", {3: 1, 5: 1, 7: 9}, most=4) == [3, 5], "keys may come and go"
    assert doorbell.in_turn("t", {3: 1, 5: 1}, most=4) == [3, 5]
    assert doorbell.in_turn("t", {}, most=4) == []
