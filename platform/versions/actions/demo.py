"""The demo's service: registered and built from one action, whoever asks. Its drop is delivered by the build's worker.

The worker, because it is who reads the source: a console may not see that folder, and the build's row is the queue.
"""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from catalog.actions import service_create, service_release, service_update
from catalog.models import Service
from catalog.selectors import living_services_of
from common.actor import Actor
from common.errors import Conflict
from demo.drop import name_at
from demo.service import SERVICE, TENANT, TITLE, spec
from tenants.actions import tenant_create
from tenants.models import Tenant
from versions.actions.builds import build_request
from versions.models import Build
from versions.states import BuildState

ENDED_BADLY = (BuildState.FAILED, BuildState.CANCELLED)


def demo_tenant(*, actor: Actor) -> Tenant:
    """The team `demo`, made if it is not there. Raises Conflict when one of this name was deleted."""
    present = Tenant.objects.filter(name=TENANT, deleted_at__isnull=True).first()
    return present or tenant_create(actor=actor, name=TENANT, title=TITLE)


def demo_load(*, actor: Actor, tenant: Tenant, again: bool = False) -> Build:
    """Registers the demo's service in `tenant` unless it is there, and asks for a build of the demo's drop.

    Asked twice, it is one service and one build: the second time gives the build that is there, unless it ended badly.
    With `again` a service from before is brought back to the demo's spec and off hold, and built of another drop.
    Raises Conflict when a service of this name is not the demo's, QuotaExceeded.
    """
    service = _registered(actor, tenant)
    if not again:
        _refuse_a_stranger(service)
    else:
        wanted = {block: value for block, value in spec().items() if block != "name"}
        service = service_update(actor=actor, service=service, spec=wanted)
        service = service_release(actor=actor, service=service, reason="demo")
    return _build(actor, service, again=again)


def _registered(actor: Actor, tenant: Tenant) -> Service:
    present = _present(tenant)
    if present is None:
        try:
            return service_create(actor=actor, tenant=tenant, spec=spec())
        except Conflict:
            # Somebody else pressed at the same time.
            present = _present(tenant)
            if present is None:
                raise
    return present


def _refuse_a_stranger(service: Service) -> None:
    """A team's own service of this name must not get the demo's items."""
    wanted = spec()
    is_demo = service.spec["source"]["uri"] == wanted["source"]["uri"]
    is_demo &= service.spec["schema"]["dimension"] == wanted["schema"]["dimension"]
    if not is_demo:
        message = f"{service.tenant.name} has a service {SERVICE} of its own, and the demo's has the same name."
        raise Conflict(f"{message} Load the demo in another team.", reason="DEMO_NAME_TAKEN")


def _present(tenant: Tenant) -> Service | None:
    return living_services_of(tenant).select_related("tenant").filter(name=SERVICE).first()


@transaction.atomic
def _build(actor: Actor, service: Service, *, again: bool) -> Build:
    """One at a time for each service, so that whoever comes second sees the build of the first."""
    Service.objects.select_for_update().get(pk=service.pk)
    newest = Build.objects.of(service.tenant).filter(service=service).order_by("-number").first()
    if newest is not None and not again and newest.state not in ENDED_BADLY:
        return newest
    return build_request(actor=actor, service=service, drop=name_at(timezone.now()), demo=True)
