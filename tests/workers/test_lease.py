"""A claim that is kept alive beside the steps, and the database that goes away meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import InterfaceError, connection
from django.db.backends.signals import connection_created
from django.utils import timezone

from tests.support.history import asked, claimed
from versions import actions
from versions.actions import FenceLost
from versions.models import Build
from workers import lease
from workers.context import BuildContext, RowProgress
from workers.lease import Lease

pytestmark = pytest.mark.django_db(transaction=True)
WAIT_SECONDS_MAX = 30.0


def dropped(*_: Any) -> Any:
    """What psycopg says of a connection that the server has closed; it is no DatabaseError."""
    raise InterfaceError("connection already closed")


@pytest.fixture
def drop_leases(monkeypatch) -> Iterator[Callable[[int], None]]:
    """The next so many connections that a lease opens are dropped as soon as they are used."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.02)
    left = [0]

    def opened(connection: Any, **_: Any) -> None:
        if threading.current_thread().name.startswith("lease-"):
            connection.execute_wrappers[:] = [dropped] if left[0] else []
            left[0] -= 1 if left[0] else 0

    connection_created.connect(opened)
    yield lambda count: left.__setitem__(0, count)
    connection_created.disconnect(opened)


@pytest.fixture
def ctx(films_service) -> BuildContext:
    build = asked(films_service)
    claim = claimed(build)
    actions.step_start(claim, "build_index")
    return BuildContext(claim=claim, build=build, step="build_index", started_at=timezone.now(), lease=Lease(claim))


def test_a_lease_outlives_dropped_connections(ctx, drop_leases, caplog):
    drop_leases(3)
    before = Build.objects.get(pk=ctx.build.pk).lease_until
    with ctx.lease:
        until(lambda: Build.objects.get(pk=ctx.build.pk).lease_until > before)
        ctx.lease.check()
    assert caplog.text.count("was not renewed") == 3


def test_a_lease_that_cannot_be_renewed_for_its_time_is_lost(ctx, drop_leases, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.2)
    drop_leases(10**6)
    with ctx.lease, pytest.raises(FenceLost):
        until(ctx.lease.check)


def test_a_child_is_not_stopped_because_its_progress_cannot_be_written(ctx, caplog):
    with connection.execute_wrapper(dropped):
        RowProgress(ctx)(1, 4)
    assert "does not tell its progress" in caplog.text
    RowProgress(ctx)(2, 4)
    assert ctx.build.steps.get(name="build_index").progress == 0.5


def test_a_step_that_waits_looks_again_when_the_database_is_back(ctx, valkey):
    seen = iter([dropped, lambda: "found"])
    assert ctx.poll(lambda: next(seen)()) == "found"


def until(look: Callable[[], Any]) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS_MAX
    while not look():
        assert time.monotonic() < give_up_at, f"waited {WAIT_SECONDS_MAX:g} s"
        time.sleep(0.02)
