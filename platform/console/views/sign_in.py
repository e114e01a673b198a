"""Signing in, and what somebody sees who typed wrong passwords too often."""

from __future__ import annotations

from typing import Any

from axes.helpers import get_client_username
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from accounts.actions import sessions_forget_expired, sign_in_locked
from accounts.selectors import sign_in_locked_until
from common.actor import Actor
from common.addresses import client_address, sign_in_address

TOO_MANY_REQUESTS = 429


class SignIn(LoginView):
    template_name = "console/login.html"
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        sessions_forget_expired()
        return super().form_valid(form)


def locked_out(
    request: HttpRequest, _response: HttpResponse | None, credentials: dict[str, Any] | None
) -> HttpResponse:
    """AXES_LOCKOUT_CALLABLE: stands in place of the page that a wrong password, or any during a lock, would have shown.

    It says the same of a name that is nobody's.
    """
    username = get_client_username(request, credentials) or ""
    until = sign_in_locked_until(username, sign_in_address(request))
    # Set by the attempt that locked; what comes during a lock is not counted.
    if getattr(request, "axes_failures_since_start", None) is not None:
        sign_in_locked(actor=_stranger(request), username=username, until=until)
    seconds = max(1, round((until - timezone.now()).total_seconds())) if until else 1
    context = {"until": until, "seconds": seconds}
    response = render(request, "console/locked.html", context, status=TOO_MANY_REQUESTS)
    response["Retry-After"], response["Cache-Control"] = str(seconds), "no-store"
    return response


def _stranger(request: HttpRequest) -> Actor:
    """Whoever it is: nobody knows, but from where."""
    request_id = request.META.get("recall.request_id", "")
    return Actor(kind="system", name="sign-in", request_id=request_id, address=client_address(request))
