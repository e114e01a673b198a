"""How much of its quota each tenant uses, so that a limit is seen coming. Reads only; others enforce the limits.

The number of queries does not grow with the number of tenants or services.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.utils import timezone

from catalog.models import Service
from documents.traffic import SPAN_SECONDS
from tenants.models import Quota, Tenant
from versions.estimates import BYTES, NEAR_PERCENT
from versions.models import Replica, TrafficSpan, Version
from versions.queue import running_builds
from versions.sizes import held_bytes
from versions.states import ReplicaState
from versions.traffic import LAG_SECONDS, LATELY_SECONDS

FULL_PERCENT = 100
OK, NEAR, FULL = "ok", "near", "full"


@dataclass(frozen=True)
class Use:
    """One limit and what is used of it. `unit` is `bytes` or empty; `remedy`: what to do before, or when, it is full.

    `waits`: what goes beyond the limit waits and is not refused, so that nobody need be warned of it.
    """

    name: str
    what: str
    used: int
    limit: int
    remedy: str
    unit: str = ""
    waits: bool = False

    @property
    def percent(self) -> int:
        """Rounded down, so that 100 is only ever full."""
        return 100 * self.used // self.limit if self.limit else FULL_PERCENT

    @property
    def level(self) -> str:
        if self.percent >= FULL_PERCENT:
            return FULL
        return NEAR if self.percent >= NEAR_PERCENT else OK

    @property
    def warns(self) -> bool:
        return self.level != OK and not self.waits


def quota_uses(tenants: Sequence[Tenant], *, peak_seconds: int = LATELY_SECONDS) -> dict[int, list[Use]]:
    """By the tenant's key. `peak_seconds`: the busiest span of so long is what is asked of a tenant."""
    keys = [tenant.pk for tenant in tenants]
    services, items, memory = _services(keys), _items(keys), _memory(keys)
    peaks, running = _peaks(keys, peak_seconds), _running(keys)
    return {
        quota.tenant_id: [
            Use("services_max", "services", services.get(quota.tenant_id, 0), quota.services_max, SERVICES_REMEDY),
            Use("items_max", "items in live versions", items.get(quota.tenant_id, 0), quota.items_max, ITEMS_REMEDY),
            Use(
                "memory_bytes_max", "memory of loaded versions", memory[quota.tenant_id], quota.memory_bytes_max,
                MEMORY_REMEDY, unit=BYTES,
            ),
            Use("qps_max", "queries a second", peaks.get(quota.tenant_id, 0), quota.qps_max, QPS_REMEDY),
            Use(
                "builds_at_once_max", "builds at once", running.get(quota.tenant_id, 0), quota.builds_at_once_max,
                BUILDS_REMEDY, waits=True,
            ),
        ]
        for quota in Quota.objects.filter(tenant__in=keys)
    }  # fmt: skip


SERVICES_REMEDY = (
    "A further service is refused. Delete one that nobody asks any more, or ask an administrator for more."
)
ITEMS_REMEDY = "A build that would go beyond it is held. Drop fewer items, delete a service, or ask for more."
MEMORY_REMEDY = (
    "A new version is loaded beside the live one, and its build is held where it does not fit. Set versions.standby to "
    "cold or versions.keep lower, choose a smaller engine, delete a service, or ask an administrator for more."
)
QPS_REMEDY = (
    "Callers beyond it get RESOURCE_EXHAUSTED. Find who asks more than usual in the charts of your services, or ask an "
    "administrator for more."
)
BUILDS_REMEDY = "Further builds wait for their turn; nothing is refused."


def _services(keys: Sequence[int]) -> Mapping[int, int]:
    return _by_tenant(Service.objects.filter(tenant__in=keys, deleted_at__isnull=True), "tenant_id", Count("pk"))


def _items(keys: Sequence[int]) -> Mapping[int, int]:
    living = Q(service__tenant__in=keys, service__deleted_at__isnull=True)
    live = Version.objects.filter(living, service__live_version=F("number"))
    return _by_tenant(live, "service__tenant_id", Sum("items"))


def _memory(keys: Sequence[int]) -> Mapping[int, int]:
    """As `sizes.held_bytes` has it, which reads a version's whole report only where no agent has told the memory."""
    present = Replica.objects.filter(version__service__tenant__in=keys, version__completed_at__isnull=False)
    present = present.exclude(state=ReplicaState.GONE)
    is_told = Q(rss_bytes__gt=0) | Q(state=ReplicaState.WITHDRAWN)
    held = defaultdict(int, _by_tenant(present.filter(is_told), "version__service__tenant_id", Sum("rss_bytes")))
    for replica in present.exclude(is_told).select_related("version__service"):
        held[replica.version.service.tenant_id] += held_bytes(replica)
    return held


def _peaks(keys: Sequence[int], seconds: int) -> Mapping[int, int]:
    """Queries a second in the busiest span; rounded up, because a little is not nothing."""
    since = timezone.now() - timedelta(seconds=seconds + LAG_SECONDS)
    spans = TrafficSpan.objects.filter(service__tenant__in=keys, at__gte=since, queries__gt=0).order_by()
    peaks: dict[int, int] = defaultdict(int)
    for tenant, _, queries in spans.values_list("service__tenant_id", "at").annotate(asked=Sum("queries")):
        peaks[tenant] = max(peaks[tenant], ceil(queries / SPAN_SECONDS))
    return peaks


def _running(keys: Sequence[int]) -> Mapping[int, int]:
    return _by_tenant(running_builds().filter(service__tenant__in=keys), "service__tenant_id", Count("pk"))


def _by_tenant(rows: QuerySet[Any], tenant: str, figure: Count | Sum) -> Mapping[int, int]:
    counted: Iterable[tuple[int, int]] = rows.order_by().values_list(tenant).annotate(figure=figure)
    return dict(counted)
