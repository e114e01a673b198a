"""What gateways ask the control plane, with the platform's own token."""

from __future__ import annotations

import hmac

from django.conf import settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response

from api.authentication import Machine
from api.base import ApiView
from tenants.selectors import revoked_prefixes

HEADER = "X-Recall-Internal"


class InternalAuthentication(BaseAuthentication):
    """The shared token of console and gateways; neither keys nor sessions open what is behind it."""

    def authenticate(self, request: Request) -> tuple[Machine, None]:
        sent = request.headers.get(HEADER, "").encode()
        if not hmac.compare_digest(sent, settings.INTERNAL_TOKEN.encode()):
            raise AuthenticationFailed(f"Send the platform's token in {HEADER}.")
        return Machine("gateway"), None

    def authenticate_header(self, request: Request) -> str:
        return HEADER


class RevocationsView(ApiView):
    """Prefixes of keys that ended lately, so that they die in gateways even when Redis is away."""

    authentication_classes = [InternalAuthentication]
    schema = None

    def get(self, request: Request) -> Response:
        return Response({"revoked_prefixes": revoked_prefixes()})
