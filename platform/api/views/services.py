"""Services, and the verbs that steer what is live."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from api.base import ApiView
from api.pagination import BY_NAME, paginate
from api.schema import PAGING, operation
from api.serializers import services as shapes
from api.serializers.builds import BuildOut
from catalog import actions, selectors
from catalog.models import Service
from catalog.spec import ServiceSpec
from tenants.permissions import Permission
from versions import actions as versions
from versions.models import Activation
from versions.selectors import activation_view, build_view, service_view

HIDDEN = (403, 404)


class ServiceApiView(ApiView):
    """Base of the views of one service."""

    def service(self, tenant: str, service: str, permission: Permission) -> Service:
        """The service, once the caller may do this to it. Raises NotFound for foreign and unknown alike."""
        return selectors.service_get(self.tenant(tenant, permission, service), service)


class ServicesView(ApiView):
    @operation(
        "services_list",
        "The services of a tenant",
        tag="services",
        response=shapes.ServicePage,
        errors=HIDDEN,
        parameters=PAGING,
    )
    def get(self, request: Request, tenant: str) -> Response:
        # A key of one service may list too, and finds its own.
        found = self.tenant(tenant, Permission.VIEW, self.caller.key_service)
        rows = selectors.services_of(found, self.caller)
        return Response(paginate(request, rows, order=BY_NAME, name="services", render=service_view))

    @operation(
        "services_create",
        "Register a service",
        tag="services",
        request=ServiceSpec,
        response=shapes.ServiceOut,
        status=201,
        errors=(*HIDDEN, 409, 429),
    )
    def post(self, request: Request, tenant: str) -> Response:
        found = self.tenant(tenant, Permission.MANAGE)
        service = actions.service_create(actor=self.caller.actor, tenant=found, spec=self.body)
        return Response(service_view(service), status=201)


class ServiceView(ServiceApiView):
    @operation("services_get", "One service", tag="services", response=shapes.ServiceOut, errors=HIDDEN)
    def get(self, request: Request, tenant: str, service: str) -> Response:
        return Response(service_view(self.service(tenant, service, Permission.VIEW)))

    @operation(
        "services_update",
        "Change a service's spec",
        tag="services",
        request=shapes.ServicePatchIn,
        response=shapes.ServiceOut,
        errors=(*HIDDEN, 409),
    )
    def patch(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.MANAGE)
        return Response(service_view(actions.service_update(actor=self.caller.actor, service=found, spec=self.body)))

    @operation("services_delete", "Delete a service", tag="services", status=204, errors=(*HIDDEN, 409))
    def delete(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.MANAGE)
        actions.service_delete(actor=self.caller.actor, service=found)
        return Response(status=204)


class ServiceBuildView(ServiceApiView):
    @operation(
        "services_build",
        "Turn a drop into a version",
        tag="builds",
        request=shapes.BuildIn,
        response=BuildOut,
        status=201,
        errors=(*HIDDEN, 409, 429),
    )
    def post(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.BUILD)
        build = versions.build_request(actor=self.caller.actor, service=found, **self.input(shapes.BuildIn))
        return Response(build_view(build), status=201)


class ServiceActivateView(ServiceApiView):
    @operation(
        "services_activate",
        "Make a loaded version live",
        tag="versions",
        request=shapes.ActivateIn,
        response=shapes.ActivationOut,
        errors=(*HIDDEN, 409),
    )
    def post(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.OPERATE)
        asked = self.input(shapes.ActivateIn)
        activation = versions.version_activate(
            actor=self.caller.actor,
            service=found,
            number=asked["version"],
            reason=asked["reason"],
            expected_live_generation=asked["expected_live_generation"],
            anyway=asked["anyway"],
        )
        return Response(_acknowledged(activation))


class ServiceRollbackView(ServiceApiView):
    @operation(
        "services_rollback",
        "Go back to the version that was live before",
        tag="versions",
        request=shapes.RollbackIn,
        response=shapes.ActivationOut,
        errors=(*HIDDEN, 409),
    )
    def post(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.OPERATE)
        asked = self.input(shapes.RollbackIn)
        return Response(_acknowledged(versions.version_rollback(actor=self.caller.actor, service=found, **asked)))


class ServiceClearView(ServiceApiView):
    @operation(
        "services_clear",
        "Take what is live away: the service answers nothing until a version is activated",
        tag="versions",
        request=shapes.ReasonRequiredIn,
        response=shapes.ServiceOut,
        errors=(*HIDDEN, 409),
    )
    def post(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.OPERATE)
        cleared = versions.live_clear(actor=self.caller.actor, service=found, **self.input(shapes.ReasonRequiredIn))
        return Response(service_view(cleared))


class ServiceHoldView(ServiceApiView):
    @operation(
        "services_hold",
        "Keep what is live: nothing is activated by itself",
        tag="services",
        request=shapes.ReasonRequiredIn,
        response=shapes.ServiceOut,
        errors=(*HIDDEN, 409),
    )
    def post(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.OPERATE)
        held = actions.service_hold(actor=self.caller.actor, service=found, **self.input(shapes.ReasonRequiredIn))
        return Response(service_view(held))


class ServiceReleaseView(ServiceApiView):
    @operation(
        "services_release",
        "End a hold",
        tag="services",
        request=shapes.ReasonIn,
        response=shapes.ServiceOut,
        errors=(*HIDDEN, 409),
    )
    def post(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.OPERATE)
        released = actions.service_release(actor=self.caller.actor, service=found, **self.input(shapes.ReasonIn))
        return Response(service_view(released))


def _acknowledged(activation: Activation) -> dict[str, Any]:
    """The switch as JSON; one that changed something waits a moment for the gateways."""
    return activation_view(versions.activation_await(activation=activation) if activation.changed else activation)
