"""How long an order may take: each one for itself, however long its step has been at others before."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.support.history import asked, claimed, completed, place, report_all_ready
from versions import actions
from versions.models import Build
from workers import context, orders, patience
from workers.context import BuildContext
from workers.lease import Lease
from workers.outcomes import StepFailed, Wait

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]
FIRST, SECOND = "v1-warm-1", "v1-compare-1-v0"


@pytest.fixture
def ctx(films_service, valkey, monkeypatch) -> BuildContext:
    """In a step that began an hour ago; no node carries anything out."""
    monkeypatch.setattr(context, "POLL_SECONDS_MAX", 0.0)
    build = asked(films_service)
    claim = claimed(build)
    place(claim, completed(claim))
    report_all_ready()
    actions.step_start(claim, "activate")
    began_at = timezone.now() - timedelta(hours=1)
    build = Build.objects.select_related("service__tenant").get(pk=build.pk)
    return BuildContext(claim=claim, build=build, step="activate", started_at=began_at, lease=Lease(claim))


def given(ctx: BuildContext, order_id: str) -> Any:
    return orders.carry_out(ctx, ctx.version, "WARM", order_id, "warming up")


def test_an_order_that_comes_late_in_its_step_has_its_whole_time(ctx):
    waiting = given(ctx, FIRST)
    assert isinstance(waiting, Wait)
    since = (timezone.now() - timedelta(seconds=orders.ORDER_SECONDS_MAX + 1)).isoformat()
    ctx.build.context[patience.WAITS] = {**waiting.context[patience.WAITS], "since": since}
    assert isinstance(given(ctx, SECOND), Wait)
    with pytest.raises(StepFailed) as failed:
        given(ctx, FIRST)
    assert failed.value.reason == "replica.order_timeout"
