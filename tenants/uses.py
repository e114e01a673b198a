"""When keys were used, on what, and from where: what a person wants to know before ending one.

Gateways tell of calls over gRPC (`workers.traffic`), the API of those over REST. There is no audit event: a use changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from tenants.models import ApiKey, KeyUse, Tenant

# A use is noted when the one noted before it is so old: times are right to the minute.
KEY_USE_SECONDS = 60


@dataclass(frozen=True)
class Use:
    """One call with the key of this prefix. `service` is empty for what is asked of the tenant or the platform."""

    prefix: str
    tenant: str
    service: str
    at: datetime
    address: str


def key_used(*, key: ApiKey, address: str) -> None:
    """A call over REST, at this moment, whatever it asks for."""
    now = timezone.now()
    if key.last_used_at is None or now - key.last_used_at >= timedelta(seconds=KEY_USE_SECONDS):
        keys_used(uses=[Use(key.prefix, key.tenant.name, "", now, address)])


@transaction.atomic
def keys_used(*, uses: Iterable[Use]) -> None:
    """Notes each use whose key is known and is of that tenant; one that is older than what is noted changes nothing."""
    uses = list(uses)
    found = {key.prefix: key for key in _keys_of(uses)}
    noted = {(row.key_id, row.service): row for row in KeyUse.objects.filter(key__in=found.values())}
    first: dict[tuple[int, str], KeyUse] = {}
    for use in uses:
        key = found.get(use.prefix)
        if key is None or key.tenant.name != use.tenant:
            continue
        row = noted.get((key.pk, use.service))
        if row is None:
            made = KeyUse(key=key, service=use.service, first_at=use.at, last_at=use.at, address=use.address)
            first[key.pk, use.service] = made
        elif use.at - row.last_at >= timedelta(seconds=KEY_USE_SECONDS):
            KeyUse.objects.filter(pk=row.pk, last_at__lt=use.at).update(last_at=use.at, address=use.address)
        unseen = Q(last_used_at__isnull=True) | Q(last_used_at__lte=use.at - timedelta(seconds=KEY_USE_SECONDS))
        if key.last_used_at is None or use.at - key.last_used_at >= timedelta(seconds=KEY_USE_SECONDS):
            ApiKey.objects.filter(unseen, pk=key.pk).update(last_used_at=use.at)
    # Somebody else may be noting the first use at this moment.
    KeyUse.objects.bulk_create(first.values(), ignore_conflicts=True)


def key_uses_forget(*, tenant: Tenant, service: str) -> None:
    """The next service of this name starts as one that nobody has called."""
    KeyUse.objects.of(tenant).filter(service=service).delete()


def first_use_of(tenant: Tenant, service: str, *, since: datetime) -> KeyUse | None:
    """The first call of a service by a key, since the service is there; None when there was none."""
    uses = KeyUse.objects.of(tenant).filter(service=service, first_at__gte=since)
    return uses.select_related("key").order_by("first_at", "pk").first()


def last_uses_of(keys: Iterable[ApiKey]) -> dict[int, KeyUse]:
    """The newest use of each of these keys, by the key's row; whose they may be is the caller's to say."""
    uses: QuerySet[KeyUse] = KeyUse.objects.filter(key__in=list(keys)).order_by("last_at", "pk")
    return {use.key_id: use for use in uses}


def _keys_of(uses: Iterable[Use]) -> QuerySet[ApiKey]:
    return ApiKey.objects.filter(prefix__in={use.prefix for use in uses}).select_related("tenant")
