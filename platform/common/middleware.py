"""For each HTTP request an id, in the log, the audit trail and the answer; and cookies that keep to TLS."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

HEADER = "X-Request-Id"
# What a caller may send as an id; anything else could forge lines of a log.
ALLOWED = re.compile(r"^[A-Za-z0-9_-]{8,64}$")


class RequestIdMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        sent = request.headers.get(HEADER, "")
        request_id = sent if ALLOWED.match(sent) else secrets.token_hex(8)
        request.META["recall.request_id"] = request_id
        response = self.get_response(request)
        response[HEADER] = request_id
        return response


class SecureCookiesMiddleware:
    """A cookie that was given out over TLS is never sent without it, whatever RECALL_SECURE_COOKIES says."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.is_secure():
            for name in {settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME} & set(response.cookies):
                response.cookies[name]["secure"] = True
        return response
