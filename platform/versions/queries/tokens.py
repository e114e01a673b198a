"""The short-lived token by which the control plane asks the gateway on somebody's behalf."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

from django.conf import settings

# A token is good for 60 to 120 seconds. Ends lie on whole minutes, so that the gateway sees few different tokens.
TOKEN_STEP_SECONDS = 60


def internal_token(*, tenant: str, service: str, by: str, scope: str = "read") -> str:
    """`rt_<claims>.<signature>`, both base64url; the gateway accepts it without any look-up."""
    expires_at = (int(time.time()) // TOKEN_STEP_SECONDS + 2) * TOKEN_STEP_SECONDS
    claims = {"t": tenant, "s": service, "scope": scope, "exp": expires_at, "by": by}
    body = "rt_" + _base64(json.dumps(claims, separators=(",", ":")).encode())
    signature = hmac.digest(settings.INTERNAL_TOKEN.encode(), body.encode(), hashlib.sha256)
    return f"{body}.{_base64(signature)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
