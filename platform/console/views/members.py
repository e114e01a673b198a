"""The people of a team: who may do what, who comes and who goes."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.checks import generated_password
from common.errors import Conflict, InvalidArgument, NotFound
from console.base import page, tenant_for
from console.forms import MemberForm, RoleForm
from console.permission_words import rungs_of
from tenants.actions import member_add, member_remove, member_set_role
from tenants.models import Role, Tenant
from tenants.permissions import ROLES, Caller, Permission, is_allowed
from tenants.selectors import member_get, members_of

PEOPLE_SHOWN_MAX = 500


@require_GET
@page
def index(request: HttpRequest, tenant: str) -> HttpResponse:
    caller, owner = tenant_for(request, tenant, Permission.VIEW)
    return _shown(request, caller, owner, MemberForm())


@require_POST
@never_cache
@page
def add(request: HttpRequest, tenant: str) -> HttpResponse:
    """A new person's password is shown in the answer itself, and once: nobody can read it anywhere later."""
    caller, owner = tenant_for(request, tenant, Permission.MANAGE)
    form = MemberForm(request.POST)
    if not form.is_valid():
        return _shown(request, caller, owner, form)
    given = form.cleaned_data
    password = generated_password() if given["new"] else None
    try:
        member = member_add(
            actor=caller.actor, tenant=owner, username=given["username"], role=given["role"], password=password
        )
    except (Conflict, InvalidArgument, NotFound) as error:
        form.take(error)
        return _shown(request, caller, owner, form)
    if password:
        return _shown(request, caller, owner, MemberForm(), made={"username": member.user, "password": password})
    messages.success(request, f"{member.user} is {member.role} of {owner.name}.")
    return redirect("console:members", owner.name)


@require_POST
@page
def set_role(request: HttpRequest, tenant: str, username: str) -> HttpResponse:
    caller, owner = tenant_for(request, tenant, Permission.MANAGE)
    member, form = member_get(owner, username), RoleForm(request.POST)
    if not form.is_valid():
        raise InvalidArgument("Choose viewer, operator or owner.", field="role")
    member = member_set_role(actor=caller.actor, member=member, role=form.cleaned_data["role"])
    messages.success(request, f"{member.user} is {member.role} of {owner.name} from the next click on.")
    return redirect("console:members", owner.name)


@require_POST
@page
def remove(request: HttpRequest, tenant: str, username: str) -> HttpResponse:
    caller, owner = tenant_for(request, tenant, Permission.MANAGE)
    member_remove(actor=caller.actor, member=member_get(owner, username))
    messages.success(request, f"{username} is no member of {owner.name} any more.")
    is_left = not caller.is_admin and username == caller.actor.name
    return redirect("console:home") if is_left else redirect("console:members", owner.name)


def _shown(
    request: HttpRequest, caller: Caller, tenant: Tenant, form: MemberForm, made: dict[str, Any] | None = None
) -> HttpResponse:
    everybody = members_of(tenant)
    members, count = list(everybody[:PEOPLE_SHOWN_MAX]), everybody.count()
    owners = everybody.filter(role=Role.OWNER).count()
    context = {
        "tenant": tenant,
        "people": [
            {
                "member": member,
                "is_self": member.user.get_username() == caller.actor.name,
                "is_last_owner": member.role == Role.OWNER and owners == 1,
                "form": RoleForm(initial={"role": member.role}, auto_id=f"id_%s_{member.pk}"),
            }
            for member in members
        ],
        "people_left_out": count - len(members),
        "roles": rungs_of(ROLES),
        "form": form,
        "made": made,
        "may_manage": is_allowed(caller, Permission.MANAGE, tenant),
    }
    return render(request, "console/members.html", context)
