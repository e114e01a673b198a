"""Reading tenants, members and keys."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from tenants import keys
from tenants.models import ApiKey, KeyUse, Member, Quota, Role, Tenant, is_valid_name
from tenants.permissions import Caller, caller_of_user, tenant_not_found

# How long before its end people are warned of a key.
KEY_WARNING_DAYS = 14
# Routes stop naming a key when it is revoked; gateways hear of its prefix this long, in case a route is stale.
REVOCATIONS_TOLD_DAYS = 7
REVOCATIONS_MAX = 10_000

# Compared with when a prefix is unknown, so that an answer takes as long as for a known one.
_NO_DIGEST = "0" * 64


def tenants_of(who: Caller | User | AnonymousUser) -> QuerySet[Tenant]:
    """The tenants that `who` may see, by name; all of them for a platform administrator."""
    caller = _caller(who)
    living = Tenant.objects.filter(deleted_at__isnull=True).order_by("name")
    if caller.is_admin:
        return living
    return living.filter(name__in=[caller.key_tenant] if caller.key_tenant else list(caller.tenant_roles))


def tenant_get(who: Caller | User | AnonymousUser, name: str) -> Tenant:
    """Raises NotFound with the same words for an unknown tenant and for another's."""
    tenant = tenants_of(who).filter(name=name).first() if is_valid_name(name) else None
    if tenant is None:
        raise tenant_not_found()
    return tenant


def members_of(tenant: Tenant) -> QuerySet[Member]:
    return Member.objects.of(tenant).select_related("user").order_by("user__username")


def member_get(tenant: Tenant, username: str) -> Member:
    """Raises NotFound with the same words for a stranger and for another tenant's member."""
    return Member.objects.select_related("user").of_or_404(tenant, user__username=_lookup_text(username))


def keys_of(tenant: Tenant) -> QuerySet[ApiKey]:
    """All keys of the tenant, newest first, revoked and expired ones too."""
    return ApiKey.objects.of(tenant).order_by("-pk")


def active_keys_of(tenant: Tenant) -> QuerySet[ApiKey]:
    """The keys that open something now: those that routes carry."""
    unexpired = Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now())
    return keys_of(tenant).filter(unexpired, revoked_at__isnull=True)


def keys_ending(tenants: Iterable[Tenant]) -> QuerySet[ApiKey]:
    """Keys that end within KEY_WARNING_DAYS, the next one first; whose they may be is the caller's to say.

    One that was replaced is meant to end, and is not among them.
    """
    now = timezone.now()
    ending = ApiKey.objects.filter(tenant__in=list(tenants), revoked_at__isnull=True, rotated_at__isnull=True)
    soon = {"expires_at__gt": now, "expires_at__lte": now + timedelta(days=KEY_WARNING_DAYS)}
    return ending.filter(**soon).select_related("tenant").order_by("expires_at", "pk")


def owners_of(tenant: Tenant) -> list[str]:
    """Who may make keys, register services and take people in, by name."""
    owners = Member.objects.of(tenant).filter(role=Role.OWNER).order_by("user__username")
    return list(owners.values_list("user__username", flat=True))


def quota_of(tenant: Tenant) -> Quota:
    return Quota.objects.get(tenant=tenant)


def key_get(tenant: Tenant, prefix: str) -> ApiKey:
    """Raises NotFound with the same words for an unknown key and for another tenant's."""
    return ApiKey.objects.of_or_404(tenant, prefix=_lookup_text(prefix))


def key_verify(text: str) -> ApiKey | None:
    """The key that `text` is, when it is known, neither revoked nor expired, and its tenant is there; else None."""
    prefix = keys.prefix_of(text)
    key = ApiKey.objects.select_related("tenant").filter(prefix=prefix).first() if prefix else None
    digest = keys.digest_of(text, pepper=settings.KEY_PEPPER)
    if not keys.is_same_digest(digest, key.digest if key else _NO_DIGEST) or key is None:
        return None
    expired = key.expires_at is not None and key.expires_at <= timezone.now()
    return None if expired or key.revoked_at or key.tenant.deleted_at else key


def keys_with_prefixes(prefixes: Iterable[str]) -> QuerySet[ApiKey]:
    """These keys of all tenants, with their tenants; whose they may be is the caller's to say."""
    return ApiKey.objects.filter(prefix__in=set(prefixes)).select_related("tenant")


def first_use_of(tenant: Tenant, service: str, *, since: datetime) -> KeyUse | None:
    """The first call of a service by a key, since the service is there; None when there was none."""
    uses = KeyUse.objects.of(tenant).filter(service=service, first_at__gte=since)
    return uses.select_related("key").order_by("first_at", "pk").first()


def last_uses_of(keys: Iterable[ApiKey]) -> dict[int, KeyUse]:
    """The newest use of each of these keys, by the key's row; whose they may be is the caller's to say."""
    uses: QuerySet[KeyUse] = KeyUse.objects.filter(key__in=list(keys)).order_by("last_at", "pk")
    return {use.key_id: use for use in uses}


def revoked_prefixes() -> list[str]:
    """Prefixes of the keys that ended within the last REVOCATIONS_TOLD_DAYS, the one that ended last first."""
    now = timezone.now()
    since = now - timedelta(days=REVOCATIONS_TOLD_DAYS)
    ended = Q(revoked_at__gte=since) | Q(expires_at__gte=since, expires_at__lte=now)
    keys_ended = ApiKey.objects.filter(ended).order_by(Coalesce("revoked_at", "expires_at").desc(), "-pk")
    return list(keys_ended.values_list("prefix", flat=True)[:REVOCATIONS_MAX])


def usage_of(tenant: Tenant) -> dict[str, int]:
    """What the tenant has, as far as this layer knows; items, memory and builds are counted by `versions`."""
    return {
        "services": tenant.services.filter(deleted_at__isnull=True).count(),
        "keys": active_keys_of(tenant).count(),
        "members": members_of(tenant).count(),
    }


def _caller(who: Caller | User | AnonymousUser) -> Caller:
    return who if isinstance(who, Caller) else caller_of_user(who)


def _lookup_text(text: str) -> str:
    """A text from a URL may hold anything, and PostgreSQL refuses to look for some of it; empty is never found."""
    return text if text.isprintable() else ""
