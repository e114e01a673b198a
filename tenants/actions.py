"""Everything that changes tenants, people and keys. Each action is one transaction with its audit event in it.

That a key was used is noted without one: it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts.actions import user_create
from audit.actions import record
from common.actor import Actor
from common.checks import check_text
from common.dispatch import after_commit
from common.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, QuotaExceeded, StateConflict
from tenants import keys
from tenants.checks import check_choice, check_expiry, check_limits, check_name
from tenants.models import ApiKey, KeyUse, Member, Quota, Role, Scope, Tenant
from tenants.selectors import active_keys_of, keys_with_prefixes

# Every route document of a tenant carries its keys.
ACTIVE_KEYS_PER_TENANT_MAX = 200
# Of the list of revoked keys that gateways keep no tenant may fill so much that others fall out of it.
KEYS_MADE_PER_DAY_MAX = 500
KEY_OVERLAP_SECONDS = 3_600
KEY_OVERLAP_SECONDS_MAX = 30 * 24 * 3_600
# A use is noted when the one noted before it is so old: times are right to the minute.
KEY_USE_SECONDS = 60
TITLE_CHARACTERS_MAX = 200
KEY_NAME_CHARACTERS_MAX = 100


@dataclass(frozen=True)
class NewKey:
    """A key just made. `text` is the key itself; it is shown once and stored nowhere."""

    key: ApiKey
    text: str


@dataclass(frozen=True)
class Use:
    """One call with the key of this prefix. `service` is empty for what is asked of the tenant or the platform."""

    prefix: str
    tenant: str
    service: str
    at: datetime
    address: str


# ---- tenants and quotas


@transaction.atomic
def tenant_create(*, actor: Actor, name: str, title: str = "", owner: User | str | None = None) -> Tenant:
    """Makes a tenant with the default quota and, when given, its first owner (a user or a user name)."""
    check_name(name, field="name")
    remedy = "Make the user first."
    first_owner = _existing_user(owner, field="owner", remedy=remedy) if owner is not None else None
    if Tenant.objects.filter(name=name).exists():
        raise Conflict(f"The tenant name {name} is taken. Choose another.", reason="TENANT_EXISTS", field="name")
    title = check_text(title, field="title", characters_max=TITLE_CHARACTERS_MAX)
    tenant = Tenant.objects.create(name=name, title=title)
    Quota.objects.create(tenant=tenant)
    after = {"title": title, "owner": first_owner.username if first_owner else None}
    record(actor=actor, verb="tenant.create", tenant=name, target=name, after=after)
    if first_owner is not None:
        Member.objects.create(tenant=tenant, user=first_owner, role=Role.OWNER)
    return tenant


@transaction.atomic
def tenant_update(*, actor: Actor, tenant: Tenant, title: str) -> Tenant:
    """Changes the title. A name stays: routes, keys and the audit trail say it."""
    tenant = _locked(tenant)
    before = tenant.title
    tenant.title = check_text(title, field="title", characters_max=TITLE_CHARACTERS_MAX)
    tenant.save(update_fields=["title"])
    record(
        actor=actor,
        verb="tenant.update",
        tenant=tenant.name,
        target=tenant.name,
        before={"title": before},
        after={"title": tenant.title},
    )
    return tenant


@transaction.atomic
def tenant_delete(*, actor: Actor, tenant: Tenant) -> None:
    """Closes an empty tenant: its keys end, its members leave, its name stays taken."""
    tenant = _locked(tenant)
    services = tenant.services.filter(deleted_at__isnull=True).count()
    if services:
        message = f"{tenant.name} still has {services} service{'s' if services > 1 else ''}. Delete them first."
        raise FailedPrecondition(message, reason="TENANT_NOT_EMPTY")
    _revoke(ApiKey.objects.of(tenant))
    members = list(Member.objects.of(tenant).values_list("user__username", flat=True))
    Member.objects.of(tenant).delete()
    tenant.deleted_at = timezone.now()
    tenant.save(update_fields=["deleted_at"])
    before = {"title": tenant.title, "members": members}
    record(actor=actor, verb="tenant.delete", tenant=tenant.name, target=tenant.name, before=before)


@transaction.atomic
def quota_update(*, actor: Actor, tenant: Tenant, **limits: int) -> Quota:
    """Sets the given limits. Raises InvalidArgument naming each that is unknown or not a whole number from 0 up."""
    check_limits(limits)
    tenant = _locked(tenant)
    quota = Quota.objects.get(tenant=tenant)
    before = {name: getattr(quota, name) for name in limits}
    for name, value in limits.items():
        setattr(quota, name, value)
    quota.save()
    _tell_gateways(tenant)
    record(actor=actor, verb="quota.update", tenant=tenant.name, target=tenant.name, before=before, after=limits)
    return quota


# ---- people


@transaction.atomic
def member_add(
    *,
    actor: Actor,
    tenant: Tenant,
    username: str,
    role: str,
    password: str | None = None,
    must_change_password: bool = True,
) -> Member:
    """Takes a person into the tenant. With `password` the person is new and is made; without, they must exist.

    A new person must change the password, which somebody else knows, unless that somebody is the person themselves.
    Raises Conflict for a member already there, or for a password given for a person who has one.
    """
    check_choice(role, Role.values, field="role")
    tenant = _locked(tenant)
    known = User.objects.filter(username=username).first()
    if known is not None and password:
        message = f"{username} exists already and has a password. Leave the password out."
        raise Conflict(message, reason="USER_EXISTS", field="password")
    if known is None and password:
        known, _ = user_create(actor=actor, username=username, password=password, must_change=must_change_password)
    user = known or _existing_user(username, field="username", remedy="Give a password to make one.")
    if Member.objects.of(tenant).filter(user=user).exists():
        message = f"{username} is a member of {tenant.name} already. Change the role instead."
        raise Conflict(message, reason="MEMBER_EXISTS", field="username")
    member = Member.objects.create(tenant=tenant, user=user, role=role)
    record(actor=actor, verb="member.add", tenant=tenant.name, target=user.username, after={"role": role})
    return member


@transaction.atomic
def member_set_role(*, actor: Actor, member: Member, role: str) -> Member:
    """Raises FailedPrecondition when the tenant would be left without an owner."""
    check_choice(role, Role.values, field="role")
    tenant = _locked(member.tenant)
    member = Member.objects.select_related("user").of_or_404(tenant, pk=member.pk)
    if role != Role.OWNER:
        _check_not_last_owner(member)
    before, member.role = member.role, role
    member.save(update_fields=["role"])
    record(
        actor=actor,
        verb="member.set_role",
        tenant=tenant.name,
        target=member.user.username,
        before={"role": before},
        after={"role": role},
    )
    return member


@transaction.atomic
def member_remove(*, actor: Actor, member: Member) -> None:
    """Raises FailedPrecondition when the tenant would be left without an owner."""
    tenant = _locked(member.tenant)
    member = Member.objects.select_related("user").of_or_404(tenant, pk=member.pk)
    _check_not_last_owner(member)
    record(
        actor=actor,
        verb="member.remove",
        tenant=tenant.name,
        target=member.user.username,
        before={"role": member.role},
    )
    member.delete()


# ---- keys


@transaction.atomic
def key_create(
    *,
    actor: Actor,
    tenant: Tenant,
    scope: str,
    service: str = "",
    name: str = "",
    expires_at: datetime | None = None,
) -> NewKey:
    """Makes a key of the whole tenant, or of its service `service`; that it exists is the caller's to check.

    Raises InvalidArgument naming the field, QuotaExceeded at ACTIVE_KEYS_PER_TENANT_MAX and KEYS_MADE_PER_DAY_MAX keys.
    """
    check_choice(scope, Scope.values, field="scope")
    if service:
        check_name(service, field="service")
    check_expiry(expires_at)
    name = check_text(name, field="name", characters_max=KEY_NAME_CHARACTERS_MAX)
    tenant = _locked(tenant)
    new = _make_key(
        ApiKey(tenant=tenant, service=service, name=name, scope=scope, expires_at=expires_at, created_by=actor.name)
    )
    _record_key(actor, "key.create", new.key, after=_told(new.key))
    _tell_gateways(tenant)
    return new


@transaction.atomic
def key_rotate(*, actor: Actor, key: ApiKey, overlap_seconds: int = KEY_OVERLAP_SECONDS) -> NewKey:
    """Makes a key like `key`, with as long a life; the old one still opens for `overlap_seconds`.

    Raises StateConflict for a key that is revoked, expired, or was rotated before.
    """
    if not 0 <= overlap_seconds <= KEY_OVERLAP_SECONDS_MAX:
        message = f"The overlap must be 0 to {KEY_OVERLAP_SECONDS_MAX:,} seconds."
        raise InvalidArgument(message, field="overlap_seconds")
    tenant = _locked(key.tenant)
    old = ApiKey.objects.of_or_404(tenant, pk=key.pk)
    now = timezone.now()
    if old.revoked_at or old.rotated_at or (old.expires_at and old.expires_at <= now):
        raise StateConflict(f"The key {old.prefix} is revoked, expired or rotated already. Make a new one.")
    ends_at = now + timedelta(seconds=overlap_seconds)
    life = old.expires_at - old.created_at if old.expires_at else None
    like = ApiKey(
        tenant=tenant,
        service=old.service,
        name=old.name,
        scope=old.scope,
        expires_at=now + life if life else None,
        created_by=actor.name,
    )
    before = _told(old)
    old.expires_at = min(old.expires_at or ends_at, ends_at)
    old.rotated_at = now
    old.save(update_fields=["expires_at", "rotated_at"])
    new = _make_key(like)
    _record_key(actor, "key.rotate", old, before=before, after=_told(new.key))
    _tell_gateways(tenant)
    return new


@transaction.atomic
def key_revoke(*, actor: Actor, key: ApiKey) -> ApiKey:
    """Ends a key for good; revoking it again changes nothing."""
    tenant = _locked(key.tenant)
    if _revoke(ApiKey.objects.of(tenant).filter(pk=key.pk)):
        _record_key(actor, "key.revoke", key, before=_told(key))
        _tell_gateways(tenant)
    return ApiKey.objects.of_or_404(tenant, pk=key.pk)


@transaction.atomic
def keys_revoke_of_service(*, actor: Actor, tenant: Tenant, service: str) -> None:
    """Ends every key of one service, so that the next service of that name does not inherit them, or their uses."""
    for key in active_keys_of(tenant).filter(service=service):
        key_revoke(actor=actor, key=key)
    key_uses_forget(tenant=tenant, service=service)


# ---- what keys were used for


def key_used(*, key: ApiKey, address: str) -> None:
    """A call over REST, at this moment, whatever it asks for."""
    now = timezone.now()
    if key.last_used_at is None or now - key.last_used_at >= timedelta(seconds=KEY_USE_SECONDS):
        keys_used(uses=[Use(key.prefix, key.tenant.name, "", now, address)])


@transaction.atomic
def keys_used(*, uses: Iterable[Use]) -> None:
    """Notes each use whose key is known and is of that tenant; one that is older than what is noted changes nothing."""
    uses = list(uses)
    found = {key.prefix: key for key in keys_with_prefixes(use.prefix for use in uses)}
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


# ---- helpers, in the order of their first use


def _existing_user(who: User | str, *, field: str, remedy: str) -> User:
    user = who if isinstance(who, User) else User.objects.filter(username=who).first()
    if user is None:
        raise NotFound(f"There is no user {who}. {remedy}", reason="USER_NOT_FOUND", field=field)
    return user


def _locked(tenant: Tenant) -> Tenant:
    """The tenant's row as it is now, locked until the transaction ends, so that counts and checks hold."""
    return Tenant.objects.select_for_update().get(pk=tenant.pk)


def _revoke(chosen: Any) -> int:
    count: int = chosen.filter(revoked_at__isnull=True).update(revoked_at=timezone.now())
    return count


def _tell_gateways(tenant: Tenant) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(route_generation=F("route_generation") + 1)
    after_commit("routes.publish_tenant", tenant.pk)


def _check_not_last_owner(member: Member) -> None:
    others = Member.objects.of(member.tenant).filter(role=Role.OWNER).exclude(pk=member.pk)
    if member.role == Role.OWNER and not others.exists():
        message = f"{member.user} is the last owner of {member.tenant}. Make somebody else owner first."
        raise FailedPrecondition(message, reason="LAST_OWNER")


def _make_key(key: ApiKey) -> NewKey:
    present = active_keys_of(key.tenant).count()
    if present >= ACTIVE_KEYS_PER_TENANT_MAX:
        raise QuotaExceeded(
            f"{key.tenant} has {present} active keys; at most {ACTIVE_KEYS_PER_TENANT_MAX} are allowed. "
            "Revoke one that is not used any more."
        )
    since = timezone.now() - timedelta(days=1)
    if ApiKey.objects.of(key.tenant).filter(created_at__gte=since).count() >= KEYS_MADE_PER_DAY_MAX:
        raise QuotaExceeded(f"{key.tenant} has made {KEYS_MADE_PER_DAY_MAX} keys within a day; wait before the next.")
    text = keys.make_key_text()
    key.prefix = keys.prefix_of(text) or ""
    key.digest = keys.digest_of(text, pepper=settings.KEY_PEPPER)
    key.save()
    return NewKey(key=key, text=text)


def _record_key(actor: Actor, verb: str, key: ApiKey, *, before: Any = None, after: Any = None) -> None:
    record(
        actor=actor,
        verb=verb,
        tenant=key.tenant.name,
        service=key.service,
        target=key.prefix,
        before=before,
        after=after,
    )


def _told(key: ApiKey) -> dict[str, Any]:
    """What the audit trail may know of a key: everything but the digest."""
    expires_at = key.expires_at.isoformat() if key.expires_at else None
    return {
        "prefix": key.prefix,
        "name": key.name,
        "scope": key.scope,
        "service": key.service,
        "expires_at": expires_at,
    }
