"""What every page shares: sign-in, who asks, and how an error looks to a person."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.selectors import must_change_password
from catalog.models import Service
from catalog.selectors import service_get
from common.addresses import client_address
from common.errors import NotFound, PermissionDenied, RecallError
from tenants.models import Tenant
from tenants.permissions import Caller, Permission, caller_of_user, require, require_admin
from tenants.selectors import tenant_get

# Ids of the parts that refresh themselves, and the status by which htmx ends that.
PARTS_ASKED_AGAIN = frozenset({"status", "progress", "first-call", "compared", "reading"})
STOP_ASKING = 286
PASSWORD_PAGE = "console:account-password"  # noqa: S105  (the name of a page)

View = Callable[..., HttpResponseBase]


def page(view: View) -> View:
    """A page for people who signed in with a password of their own.

    Errors are pages too: 404 for what is not theirs, 403 with what is missing.
    """

    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return _elsewhere_first(request, reverse("console:login"))
        if must_change_password(request.user) and not _is_password_page(request):
            return _elsewhere_first(request, reverse(PASSWORD_PAGE))
        try:
            return view(request, *args, **kwargs)
        except NotFound as error:
            return _refused(request, error, "Not found", status=404)
        except PermissionDenied as error:
            return _refused(request, error, "Not allowed", status=403)
        except RecallError as error:
            return _back_with(request, error)

    return shown


def _elsewhere_first(request: HttpRequest, address: str) -> HttpResponse:
    """To `address`, and from there back. A part of a page takes the whole page there."""
    part_of = request.headers.get("HX-Current-URL")
    if part_of is None and request.method not in ("GET", "HEAD"):
        # What was pressed is no page to come back to.
        messages.warning(request, "Nothing was done: sign in, and press it again.")
        back = way_back(request, request.headers.get("Referer", ""), reverse("console:home"))
        return redirect(f"{address}?{urlencode({'next': back})}")
    if part_of is None:
        return redirect(f"{address}?{urlencode({'next': request.get_full_path()})}")
    whole = urlsplit(part_of)
    back = way_back(request, f"{whole.path}?{whole.query}" if whole.query else whole.path, "/")
    return HttpResponse(headers={"HX-Redirect": f"{address}?{urlencode({'next': back})}"})


def _refused(request: HttpRequest, error: RecallError, title: str, *, status: int) -> HttpResponse:
    """A part that its page asks for again and again is told so in its place, by the status that ends the asking."""
    if request.headers.get("HX-Trigger") in PARTS_ASKED_AGAIN:
        return render(request, "console/_error.html", {"error": error}, status=STOP_ASKING)
    return render(request, "console/error.html", {"error": error, "title": title}, status=status)


def way_back(request: HttpRequest, wanted: str, default: str) -> str:
    """`wanted` when it is an address of this console, else `default`."""
    hosts = {request.get_host()}
    is_ours = url_has_allowed_host_and_scheme(wanted, allowed_hosts=hosts, require_https=request.is_secure())
    return wanted if is_ours else default


def caller_of(request: HttpRequest) -> Caller:
    return caller_of_user(
        cast(User, request.user),
        request_id=request.META.get("recall.request_id", ""),
        address=client_address(request),
    )


def admin_for(request: HttpRequest) -> Caller:
    """Raises PermissionDenied for anybody but a platform administrator."""
    caller = caller_of(request)
    require_admin(caller)
    return caller


def tenant_for(request: HttpRequest, name: str, permission: Permission, service: str = "") -> tuple[Caller, Tenant]:
    """Raises NotFound for a foreign or unknown tenant, PermissionDenied for too low a role."""
    caller = caller_of(request)
    tenant = tenant_get(caller, name)
    require(caller, permission, tenant, service)
    return caller, tenant


def service_for(
    request: HttpRequest, tenant: str, service: str, permission: Permission
) -> tuple[Caller, Tenant, Service]:
    caller, owner = tenant_for(request, tenant, permission, service)
    return caller, owner, service_get(owner, service)


def _back_with(request: HttpRequest, error: RecallError) -> HttpResponse:
    """The page the person came from, with the error on top; nothing was changed."""
    if request.headers.get("HX-Request"):
        return render(request, "console/_error.html", {"error": error})
    if request.method != "POST":
        return render(request, "console/error.html", {"error": error, "title": "That did not work"}, status=400)
    messages.error(request, error.message)
    return redirect(way_back(request, request.headers.get("Referer", ""), "console:home"))


def _is_password_page(request: HttpRequest) -> bool:
    return request.resolver_match is not None and request.resolver_match.view_name == PASSWORD_PAGE
