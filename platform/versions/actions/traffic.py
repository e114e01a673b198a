"""Rows for the charts: what was asked of each service, span by span, for a day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, Sum
from django.db.models.functions import Now

from catalog.models import Service
from documents.traffic import Traffic
from versions.models import Replica, TrafficSpan
from versions.states import PLACED

KEPT_SECONDS = 24 * 3600
ROWS_AT_ONCE = 500


@transaction.atomic
def traffic_record(*, began: datetime, asked: Mapping[str, Traffic], with_idle: bool) -> None:
    """Notes one span: what was asked, by `tenants/{tenant}/services/{service}`, and the memory that each service took.

    `with_idle`: also for services that have replicas and that nobody called. A span that is noted already stays as it
    is, so that this may run twice; names of services that are gone are passed over.
    """
    memory = _memory()
    wanted = Q(name__in={name.rpartition("/")[2] for name in asked})
    if with_idle:
        wanted |= Q(pk__in=memory)
    living = Service.objects.filter(wanted, deleted_at__isnull=True)
    rows = []
    for key, tenant, name in living.values_list("pk", "tenant__name", "name"):
        traffic = asked.get(f"tenants/{tenant}/services/{name}")
        row = TrafficSpan(service_id=key, at=began, rss_bytes=memory.get(key, 0))
        if traffic is not None:
            row.queries, row.codes, row.counts = traffic.queries, traffic.codes, traffic.counts
        if traffic is not None or (with_idle and key in memory):
            rows.append(row)
    TrafficSpan.objects.bulk_create(rows, batch_size=ROWS_AT_ONCE, ignore_conflicts=True)


def traffic_prune() -> None:
    """Deletes what is older than KEPT_SECONDS."""
    TrafficSpan.objects.filter(at__lt=Now() - timedelta(seconds=KEPT_SECONDS)).delete()


def _memory() -> dict[int, int]:
    """Bytes that the replicas of each service take, by its key."""
    placed = Replica.objects.filter(state__in=PLACED, rss_bytes__gt=0).order_by()
    sums = placed.values("version__service").annotate(bytes=Sum("rss_bytes"))
    return {row["version__service"]: row["bytes"] for row in sums}
