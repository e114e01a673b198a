"""Tenants, their quotas, members and keys."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from api.base import ApiView
from api.pagination import BY_NAME, NEWEST_ROW_FIRST, Order, paginate, shown_as
from api.schema import PAGING, operation
from api.serializers import tenants as shapes
from catalog.selectors import service_get
from tenants import actions, selectors
from tenants.models import ApiKey
from tenants.permissions import Permission, require_admin

BY_USERNAME = Order("user__username", str)


class TenantsView(ApiView):
    @operation("tenants_list", "Your tenants", tag="tenants", response=shapes.TenantPage, parameters=PAGING)
    def get(self, request: Request) -> Response:
        rows = selectors.tenants_of(self.caller)
        return Response(paginate(request, rows, order=BY_NAME, name="tenants", render=shown_as(shapes.TenantOut)))

    @operation(
        "tenants_create",
        "Make a tenant (platform administrators)",
        tag="tenants",
        request=shapes.TenantCreate,
        response=shapes.TenantOut,
        status=201,
        errors=(403, 409),
    )
    def post(self, request: Request) -> Response:
        require_admin(self.caller)
        tenant = actions.tenant_create(actor=self.caller.actor, **self.input(shapes.TenantCreate))
        return Response(shapes.TenantOut(tenant).data, status=201)


class TenantView(ApiView):
    @operation("tenants_get", "One tenant", tag="tenants", response=shapes.TenantOut, errors=(403, 404))
    def get(self, request: Request, tenant: str) -> Response:
        return Response(shapes.TenantOut(self.tenant(tenant, Permission.VIEW)).data)

    @operation(
        "tenants_update",
        "Change a tenant's title",
        tag="tenants",
        request=shapes.TenantPatch,
        response=shapes.TenantOut,
        errors=(403, 404),
    )
    def patch(self, request: Request, tenant: str) -> Response:
        found = self.tenant(tenant, Permission.MANAGE)
        changed = actions.tenant_update(actor=self.caller.actor, tenant=found, **self.input(shapes.TenantPatch))
        return Response(shapes.TenantOut(changed).data)

    @operation(
        "tenants_delete",
        "Close a tenant that has no services (platform administrators)",
        tag="tenants",
        status=204,
        errors=(403, 404),
    )
    def delete(self, request: Request, tenant: str) -> Response:
        actions.tenant_delete(actor=self.caller.actor, tenant=self.tenant(tenant, Permission.ADMIN))
        return Response(status=204)


class QuotaView(ApiView):
    @operation("quota_get", "A tenant's quota", tag="tenants", response=shapes.QuotaOut, errors=(403, 404))
    def get(self, request: Request, tenant: str) -> Response:
        return Response(shapes.QuotaOut(self.tenant(tenant, Permission.VIEW).quota).data)

    @operation(
        "quota_update",
        "Change a tenant's quota (platform administrators)",
        tag="tenants",
        request=shapes.QuotaPatch,
        response=shapes.QuotaOut,
        errors=(403, 404),
    )
    def patch(self, request: Request, tenant: str) -> Response:
        found = self.tenant(tenant, Permission.ADMIN)
        quota = actions.quota_update(actor=self.caller.actor, tenant=found, **self.input(shapes.QuotaPatch))
        return Response(shapes.QuotaOut(quota).data)


class MembersView(ApiView):
    @operation(
        "members_list",
        "The people of a tenant",
        tag="members",
        response=shapes.MemberPage,
        errors=(403, 404),
        parameters=PAGING,
    )
    def get(self, request: Request, tenant: str) -> Response:
        rows = selectors.members_of(self.tenant(tenant, Permission.VIEW))
        return Response(paginate(request, rows, order=BY_USERNAME, name="members", render=shown_as(shapes.MemberOut)))

    @operation(
        "members_create",
        "Take a person into a tenant",
        tag="members",
        request=shapes.MemberCreate,
        response=shapes.MemberOut,
        status=201,
        errors=(403, 404, 409),
    )
    def post(self, request: Request, tenant: str) -> Response:
        found = self.tenant(tenant, Permission.MANAGE)
        member = actions.member_add(actor=self.caller.actor, tenant=found, **self.input(shapes.MemberCreate))
        return Response(shapes.MemberOut(member).data, status=201)


class MemberView(ApiView):
    @operation(
        "members_update",
        "Change a person's role",
        tag="members",
        request=shapes.MemberPatch,
        response=shapes.MemberOut,
        errors=(403, 404),
    )
    def patch(self, request: Request, tenant: str, username: str) -> Response:
        member = selectors.member_get(self.tenant(tenant, Permission.MANAGE), username)
        changed = actions.member_set_role(actor=self.caller.actor, member=member, **self.input(shapes.MemberPatch))
        return Response(shapes.MemberOut(changed).data)

    @operation("members_delete", "Let a person go", tag="members", status=204, errors=(403, 404))
    def delete(self, request: Request, tenant: str, username: str) -> Response:
        member = selectors.member_get(self.tenant(tenant, Permission.MANAGE), username)
        actions.member_remove(actor=self.caller.actor, member=member)
        return Response(status=204)


class KeysView(ApiView):
    @operation(
        "keys_list",
        "The keys of a tenant, newest first; ended ones too",
        tag="keys",
        response=shapes.KeyPage,
        errors=(403, 404),
        parameters=PAGING,
    )
    def get(self, request: Request, tenant: str) -> Response:
        rows = selectors.keys_of(self.tenant(tenant, Permission.VIEW))
        return Response(paginate(request, rows, order=NEWEST_ROW_FIRST, name="keys", render=shown_as(shapes.KeyOut)))

    @operation(
        "keys_create",
        "Make a key; the answer is the only place where it is ever shown",
        tag="keys",
        request=shapes.KeyCreate,
        response=shapes.NewKeyOut,
        status=201,
        errors=(403, 404, 429),
    )
    def post(self, request: Request, tenant: str) -> Response:
        found = self.tenant(tenant, Permission.MANAGE)
        asked = self.input(shapes.KeyCreate)
        if asked["service"]:
            service_get(found, asked["service"])
        return _new_key(actions.key_create(actor=self.caller.actor, tenant=found, **asked))


class KeyRevokeView(ApiView):
    @operation("keys_revoke", "End a key for good", tag="keys", response=shapes.KeyOut, errors=(403, 404))
    def post(self, request: Request, tenant: str, prefix: str) -> Response:
        key = selectors.key_get(self.tenant(tenant, Permission.MANAGE), prefix)
        return Response(shapes.KeyOut(actions.key_revoke(actor=self.caller.actor, key=key)).data)


class KeyRotateView(ApiView):
    @operation(
        "keys_rotate",
        "Replace a key; the old one works a while longer",
        tag="keys",
        request=shapes.KeyRotate,
        response=shapes.NewKeyOut,
        status=201,
        errors=(403, 404, 409, 429),
    )
    def post(self, request: Request, tenant: str, prefix: str) -> Response:
        key = selectors.key_get(self.tenant(tenant, Permission.MANAGE), prefix)
        return _new_key(actions.key_rotate(actor=self.caller.actor, key=key, **self.input(shapes.KeyRotate)))


def _new_key(new: actions.NewKey) -> Response:
    shown: ApiKey = new.key
    return Response({**shapes.KeyOut(shown).data, "key": new.text}, status=201)
