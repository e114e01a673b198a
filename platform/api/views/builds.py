"""Builds, versions and replicas of a service."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from api.base import ApiView
from api.pagination import BY_NAME, NEWEST_NUMBER_FIRST, NEWEST_ROW_FIRST, paginate
from api.schema import PAGING, operation
from api.serializers import builds as shapes
from api.serializers.services import ReasonRequiredIn
from api.views.services import HIDDEN, ServiceApiView
from tenants.permissions import Permission, require_admin
from versions import actions, selectors
from versions.models import Build


class BuildsView(ServiceApiView):
    @operation(
        "builds_list",
        "The builds of a service, newest first",
        tag="builds",
        response=shapes.BuildPage,
        errors=HIDDEN,
        parameters=PAGING,
    )
    def get(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.VIEW)
        rows = selectors.builds_of(found).select_related("service").prefetch_related("steps")
        return Response(paginate(request, rows, order=NEWEST_NUMBER_FIRST, name="builds", render=selectors.build_view))


class BuildApiView(ServiceApiView):
    """Base of the views of one build."""

    def build(self, tenant: str, service: str, number: int, permission: Permission) -> Build:
        return selectors.build_get(self.service(tenant, service, permission), number)


class BuildView(BuildApiView):
    @operation(
        "builds_get",
        "One build with its steps and its log",
        tag="builds",
        response=shapes.BuildDetailOut,
        errors=HIDDEN,
    )
    def get(self, request: Request, tenant: str, service: str, number: int) -> Response:
        return Response(selectors.build_detail_view(self.build(tenant, service, number, Permission.VIEW)))


class BuildCancelView(BuildApiView):
    @operation("builds_cancel", "Stop a build", tag="builds", response=shapes.BuildOut, errors=(*HIDDEN, 409))
    def post(self, request: Request, tenant: str, service: str, number: int) -> Response:
        build = self.build(tenant, service, number, Permission.BUILD)
        return Response(selectors.build_view(actions.build_cancel(actor=self.caller.actor, build=build)))


class BuildRetryView(BuildApiView):
    @operation(
        "builds_retry",
        "Try a failed build again from the step that failed",
        tag="builds",
        response=shapes.BuildOut,
        errors=(*HIDDEN, 409),
    )
    def post(self, request: Request, tenant: str, service: str, number: int) -> Response:
        build = self.build(tenant, service, number, Permission.BUILD)
        return Response(selectors.build_view(actions.build_retry(actor=self.caller.actor, build=build)))


class BuildOverrideView(BuildApiView):
    @operation(
        "builds_override",
        "Let a held build go on past its guard",
        tag="builds",
        request=ReasonRequiredIn,
        response=shapes.BuildOut,
        errors=(*HIDDEN, 409),
    )
    def post(self, request: Request, tenant: str, service: str, number: int) -> Response:
        build = self.build(tenant, service, number, Permission.OPERATE)
        asked = self.input(ReasonRequiredIn)
        return Response(selectors.build_view(actions.build_override(actor=self.caller.actor, build=build, **asked)))


class VersionsView(ServiceApiView):
    @operation(
        "versions_list",
        "The versions of a service, newest first",
        tag="versions",
        response=shapes.VersionPage,
        errors=HIDDEN,
        parameters=PAGING,
    )
    def get(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.VIEW)
        rows = selectors.versions_of(found).select_related("service", "build")
        return Response(
            paginate(request, rows, order=NEWEST_NUMBER_FIRST, name="versions", render=selectors.version_view)
        )


class VersionView(ServiceApiView):
    @operation("versions_get", "One version", tag="versions", response=shapes.VersionOut, errors=HIDDEN)
    def get(self, request: Request, tenant: str, service: str, number: int) -> Response:
        found = self.service(tenant, service, Permission.VIEW)
        return Response(selectors.version_view(selectors.version_get(found, number)))


class ReplicasView(ServiceApiView):
    @operation(
        "replicas_list",
        "Where the versions of a service are loaded",
        tag="versions",
        response=shapes.ReplicaPage,
        errors=HIDDEN,
        parameters=PAGING,
    )
    def get(self, request: Request, tenant: str, service: str) -> Response:
        rows = selectors.replicas_of(self.service(tenant, service, Permission.VIEW))
        return Response(paginate(request, rows, order=NEWEST_ROW_FIRST, name="replicas", render=selectors.replica_view))


class NodesView(ApiView):
    @operation(
        "nodes_list",
        "The hosts of the data plane (platform administrators)",
        tag="platform",
        response=shapes.NodePage,
        errors=(403,),
        parameters=PAGING,
    )
    def get(self, request: Request) -> Response:
        require_admin(self.caller)
        return Response(paginate(request, selectors.nodes(), order=BY_NAME, name="nodes", render=selectors.node_view))
