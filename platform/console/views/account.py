"""One's own account: the teams one is in, where one is signed in, and one's password."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth import authenticate, update_session_auth_hash
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.actions import password_change, session_end, sessions_end_others
from accounts.agents import in_words
from accounts.selectors import account_of, must_change_password, session_get, sessions_of
from common.errors import InvalidArgument
from console.base import caller_of, page, way_back
from console.forms import PasswordForm

HERE = "console:account"


@require_GET
@never_cache
@page
def index(request: HttpRequest) -> HttpResponse:
    user, here = _user(request), request.session.session_key
    sessions = [
        {"row": session, "browser": in_words(session.agent), "is_this": session.session_key == here}
        for session in sessions_of(user)
    ]
    context = {
        "teams": sorted(caller_of(request).tenant_roles.items()),
        "account": account_of(user),
        "sessions": sessions,
        "others": sum(not session["is_this"] for session in sessions),
    }
    return render(request, "console/account.html", context)


@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("present", "password", "again")
@never_cache
@page
def password(request: HttpRequest) -> HttpResponse:
    """The present password is asked through the same door as at sign-in, so that wrong ones lock here too."""
    user, form = _user(request), PasswordForm(request.POST or None)
    wanted = request.POST.get("next") or request.GET.get("next", "")
    if request.method == "POST" and form.is_valid() and _changed(request, user, form):
        return redirect(way_back(request, wanted, HERE))
    context = {"form": form, "must": must_change_password(user), "next": wanted}
    return render(request, "console/password.html", context)


@require_POST
@page
def end_session(request: HttpRequest, session: str) -> HttpResponse:
    found = session_get(_user(request), session)
    session_end(actor=caller_of(request).actor, session=found)
    if found.session_key == request.session.session_key:
        return redirect("console:login")
    messages.success(request, f"{in_words(found.agent)} is signed out.")
    return redirect(HERE)


@require_POST
@page
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    ended = sessions_end_others(actor=caller_of(request).actor, user=_user(request), keep=request.session.session_key)
    messages.success(request, f"Signed out everywhere else: {ended} session{'' if ended == 1 else 's'} ended.")
    return redirect(HERE)


def _changed(request: HttpRequest, user: User, form: PasswordForm) -> bool:
    """Whether the password is the new one now; if not, the form says why."""
    given = form.cleaned_data
    if authenticate(request, username=user.get_username(), password=given["present"]) is None:
        form.add_error("present", "This is not your present password.")
        return False
    try:
        password_change(
            actor=caller_of(request).actor, user=user, password=given["password"], keep=request.session.session_key
        )
    except InvalidArgument as error:
        form.take(error)
        return False
    update_session_auth_hash(request, user)
    messages.success(request, "Your password is changed, and you are signed out everywhere else.")
    return True


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)
