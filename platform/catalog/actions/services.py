"""Everything that changes what a service is asked to be. Each action is one transaction with its audit event in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max
from django.utils import timezone

from audit.actions import record
from bundles import places
from bundles.errors import SourceError, UriError
from bundles.places import Source
from catalog import blocks, webhooks
from catalog.faults import Fault
from catalog.models import Draft, Service
from catalog.patch import changes_between, merged_spec
from catalog.selectors import living_services_of
from catalog.spec import ServiceSpec, parse_spec
from common.actor import Actor
from common.checks import check_reason
from common.dispatch import after_commit
from common.errors import Conflict, FailedPrecondition, InvalidArgument, QuotaExceeded
from tenants.actions import keys_revoke_of_service
from tenants.models import Quota, Tenant
from tenants.permissions import service_not_found, tenant_not_found


def service_create(*, actor: Actor, tenant: Tenant, spec: Mapping[str, Any], draft: Draft | None = None) -> Service:
    """Registers a service; nothing is built yet. A `draft` that it was made of becomes it, once.

    Raises InvalidArgument with every fault of the spec, Conflict when the name is taken (DRAFT_DONE when the draft has
    become a service before), QuotaExceeded.
    """
    wanted = spec_check(tenant=tenant, spec=spec)
    return _create(actor=actor, tenant=tenant, wanted=wanted, draft=draft)


def service_update(
    *,
    actor: Actor,
    service: Service,
    spec: Mapping[str, Any],
    replace: bool = False,
    expected_spec_generation: int | None = None,
) -> Service:
    """Lays `spec` over the present one, or with `replace` puts it in its place; an equal spec changes nothing.

    A change of the schema takes effect with the next activation, a change of the limits at once.
    Raises InvalidArgument as service_create does, Conflict when another change came first.
    """
    if not isinstance(spec, Mapping):
        raise InvalidArgument("A change is an object with the fields to change.", reason="INVALID_SPEC")
    present = {"name": service.name, **service.spec}
    wanted = spec_check(tenant=service.tenant, spec=spec if replace else merged_spec(present, spec))
    if wanted.name != service.name:
        message = "A service keeps its name. Create another one and delete this one."
        raise InvalidArgument(message, field="name", details=[{"field": "name", "message": message}])
    expected = service.spec_generation if expected_spec_generation is None else expected_spec_generation
    return _update(actor=actor, service=service, wanted=wanted, expected=expected)


@transaction.atomic
def service_delete(*, actor: Actor, service: Service, reason: str = "") -> Service:
    """Takes the service away: its route becomes a tombstone, its own keys end, its name is free again.

    The row stays. Versions, replicas and builds under way are for `versions` to withdraw.
    """
    reason = check_reason(reason)
    service = _locked(service)
    keys_revoke_of_service(actor=actor, tenant=service.tenant, service=service.name)
    before = {"spec": service.spec, "live_version": service.live_version}
    service.deleted_at = timezone.now()
    service.live_version = None
    # An activation under way compares live_generation, and so comes too late.
    service.live_generation += 1
    service.route_generation += 1
    service.save(update_fields=["deleted_at", "live_version", "live_generation", "route_generation"])
    _record(actor, "service.delete", service, reason=reason, before=before)
    after_commit("routes.publish", service.pk)
    return service


@transaction.atomic
def service_hold(*, actor: Actor, service: Service, reason: str = "") -> Service:
    """From now on nothing is activated by itself. Holding again replaces the reason."""
    reason = check_reason(reason)
    service = _locked(service)
    before = {"held": service.held_at is not None, "reason": service.held_reason}
    service.held_at = service.held_at or timezone.now()
    service.held_reason = reason
    service.save(update_fields=["held_at", "held_reason"])
    _record(actor, "service.hold", service, reason=reason, before=before, after={"held": True, "reason": reason})
    return service


@transaction.atomic
def service_release(*, actor: Actor, service: Service, reason: str = "") -> Service:
    """Ends a hold; releasing what is not held changes nothing."""
    reason = check_reason(reason)
    service = _locked(service)
    if service.held_at is None:
        return service
    before = {"held": True, "reason": service.held_reason}
    service.held_at, service.held_reason = None, ""
    service.save(update_fields=["held_at", "held_reason"])
    _record(actor, "service.release", service, reason=reason, before=before, after={"held": False, "reason": ""})
    return service


def source_at(tenant: Tenant, uri: str) -> Source:
    """A source of a tenant with what the platform lets it name: its own folder, and the configured remote places."""
    return Source(
        uri=uri,
        tenant=tenant.name,
        root=str(Path(settings.RECALL_DROPS) / tenant.name),
        settings_file=str(settings.RECALL_SOURCES_FILE),
    )


def spec_check(*, tenant: Tenant, spec: object) -> ServiceSpec:
    """A spec as the tenant's service would have it, with every default. Changes nothing.

    Follows links on disk, therefore outside every transaction; asks no remote place.

    Raises InvalidArgument with every fault, those of addresses that this platform does not allow among them;
    FailedPrecondition when the platform's own settings of remote places cannot be used.
    """

    def also(source: blocks.Source | None, notify: blocks.Notify | None) -> Iterator[Fault]:
        if source is not None:
            yield from _source_faults(tenant, source.uri)
        if notify is not None and notify.webhook is not None:
            yield from _webhook_faults(notify.webhook)

    return parse_spec(spec, also)


def _source_faults(tenant: Tenant, uri: str) -> Iterator[Fault]:
    try:
        places.locate(source_at(tenant, uri))
    except SourceError as error:
        raise FailedPrecondition(error.message, reason="SOURCE_BAD_SETTINGS", field="source.uri") from error
    except UriError as error:
        yield {"field": "source.uri", "message": f"{error.message} {error.remedy}"}


def _webhook_faults(url: str) -> Iterator[Fault]:
    try:
        webhooks.check_allowed(url, settings.WEBHOOK_HOSTS)
    except ValueError as error:
        yield {"field": "notify.webhook", "message": str(error)}


@transaction.atomic
def _create(*, actor: Actor, tenant: Tenant, wanted: ServiceSpec, draft: Draft | None) -> Service:
    quota = _locked_quota(tenant)
    if draft is not None:
        _finish(draft, wanted.name)
    _check_services_max(tenant, quota)
    _check_qps(wanted, quota)
    if living_services_of(tenant).filter(name=wanted.name).exists():
        message = f"{tenant.name} has a service {wanted.name} already. Choose another name."
        raise Conflict(message, reason="SERVICE_EXISTS", field="name")
    service = Service.objects.create(
        tenant=tenant,
        name=wanted.name,
        spec=wanted.stored(),
        route_generation=_first_route_generation(tenant, wanted.name),
        created_by=actor.name,
    )
    _record(actor, "service.create", service, after=service.spec)
    after_commit("routes.publish", service.pk)
    return service


def _finish(draft: Draft, service: str) -> None:
    if not Draft.objects.of(draft.tenant).filter(pk=draft.pk, service="").update(service=service):
        raise Conflict("This draft has become a service already.", reason="DRAFT_DONE")


def _locked_quota(tenant: Tenant) -> Quota:
    """One creation at a time for each tenant, so that counts and names hold until the row is there."""
    if not Tenant.objects.select_for_update().filter(pk=tenant.pk, deleted_at__isnull=True).exists():
        raise tenant_not_found()
    return Quota.objects.get(tenant=tenant)


def _check_services_max(tenant: Tenant, quota: Quota) -> None:
    present = living_services_of(tenant).count()
    if present >= quota.services_max:
        raise QuotaExceeded(
            f"{tenant.name} has {present} of the {quota.services_max} services that its quota allows (services_max). "
            "Delete one that is not used any more, or ask a platform administrator for more."
        )


def _check_qps(wanted: ServiceSpec, quota: Quota) -> None:
    if wanted.limits.qps > quota.qps_max:
        message = (
            f"limits.qps is {wanted.limits.qps:,} and the tenant's quota allows {quota.qps_max:,} (qps_max). "
            "Lower limits.qps, or ask a platform administrator for more."
        )
        raise QuotaExceeded(message, field="limits.qps", details=[{"field": "limits.qps", "message": message}])


def _first_route_generation(tenant: Tenant, name: str) -> int:
    """Above that of every deleted service of this name, so that their tombstones never win."""
    newest = Service.objects.of(tenant).filter(name=name).aggregate(newest=Max("route_generation"))["newest"]
    return (newest or 0) + 1


@transaction.atomic
def _update(*, actor: Actor, service: Service, wanted: ServiceSpec, expected: int) -> Service:
    service = _locked(service)
    if service.spec_generation != expected:
        message = f"Somebody else changed {service.name} meanwhile. Look at it again and repeat your change."
        raise Conflict(message, reason="SPEC_CHANGED")
    before, after = changes_between(service.spec, wanted.stored())
    if not after:
        return service
    limits_changed = service.spec["limits"] != wanted.stored()["limits"]
    if limits_changed:
        _check_qps(wanted, _locked_quota(service.tenant))
    rows = Service.objects.filter(pk=service.pk)
    rows.update(
        spec=wanted.stored(),
        spec_generation=F("spec_generation") + 1,
        route_generation=F("route_generation") + (1 if limits_changed else 0),
    )
    _record(actor, "service.update", service, before=before, after=after)
    if limits_changed:
        after_commit("routes.publish", service.pk)
    return rows.select_related("tenant").get()


def _locked(service: Service) -> Service:
    """The row as it is now, locked until the transaction ends. Raises NotFound when it was deleted."""
    living = Service.objects.select_for_update(of=("self",)).select_related("tenant").filter(deleted_at__isnull=True)
    row = living.filter(pk=service.pk).first()
    if row is None:
        raise service_not_found()
    return row


def _record(
    actor: Actor, verb: str, service: Service, *, reason: str = "", before: Any = None, after: Any = None
) -> None:
    record(
        actor=actor,
        verb=verb,
        tenant=service.tenant.name,
        service=service.name,
        target=service.name,
        reason=reason,
        before=before,
        after=after,
    )
