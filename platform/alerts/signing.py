"""How a receiver knows that a webhook is ours: an HMAC over the time and the body, as docs/tenants/alerts.md tells.

The secret of a tenant is derived and stored nowhere, so that a copy of the database signs nothing; it is the same for
as long as nobody rotates it, therefore it can be read again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from alerts.models import TenantAlerts
from tenants.models import Tenant

HEADER = "Recall-Signature"
PREFIX = "whsec_"
CONTEXT = "recall webhook secret 1"


def secrets_of(tenant: Tenant) -> tuple[str, str, datetime | None]:
    """The present secret, the one before it while it signs too (else empty), and until when it does."""
    book = TenantAlerts.objects.of(tenant).first() or TenantAlerts(tenant=tenant)
    until = book.secret_before_until
    present = _secret(tenant, book.secret_generation)
    if until is None or until <= timezone.now():
        return present, "", None
    return present, _secret(tenant, book.secret_generation - 1), until


def signature(secrets: Sequence[str], *, timestamp: int, body: bytes) -> str:
    """`t=<seconds since 1970>,v1=<hex>`, with one `v1` for each secret."""
    signed = f"{timestamp}.".encode() + body
    digests = (hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join([f"t={timestamp}", *(f"v1={digest}" for digest in digests)])


def _secret(tenant: Tenant, generation: int) -> str:
    told = f"{CONTEXT}/{tenant.name}/{generation}".encode()
    digest = hmac.new(settings.KEY_PEPPER.encode(), told, hashlib.sha256).digest()
    return PREFIX + base64.urlsafe_b64encode(digest).decode().rstrip("=")
