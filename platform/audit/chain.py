"""The chain of audit events: each carries a digest over itself and over the digest before it.

The digest is an HMAC under a key that is derived from the platform's pepper, so that whoever can write to the database
alone (a leaked password, a restored copy) cannot make a chain that holds. A secret of its own would be one more to
hand to every process on an upgrade; the pepper is with each of them already, and never changes, because every API key
would end with it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

from django.conf import settings

if TYPE_CHECKING:
    from datetime import datetime

# What stands before the first event.
GENESIS = "0" * 64
KEY_CONTEXT = b"recall audit chain 1"
# The columns that are digested, besides `at`; a new column needs a new form of the digest.
TEXTS = ("tenant", "service", "actor_kind", "actor", "address", "request_id", "verb", "target", "reason")
VALUES = ("before", "after")


def digest_of(event: Any, *, position: int, previous: str) -> str:
    """The digest of an event (or of a row of a migration) at `position`, behind one whose digest is `previous`."""
    told = {name: getattr(event, name) for name in (*TEXTS, *VALUES)}
    told |= {"position": position, "previous": previous, "at": _moment(event.at)}
    return hmac.new(_key(), canonical(told), hashlib.sha256).hexdigest()


def canonical(value: Any) -> bytes:
    """JSON that is the same before a value goes into a database and after it comes out."""
    plain = _plain(json.loads(json.dumps(value)))
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _plain(value: Any) -> Any:
    """PostgreSQL gives 1e22 back as a whole number and keeps 1.0 as it is; both become whole numbers here."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _moment(at: datetime) -> int:
    """Microseconds since 1970: what both databases keep."""
    whole = int(at.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + at.microsecond


def _key() -> bytes:
    return hmac.new(settings.KEY_PEPPER.encode(), KEY_CONTEXT, hashlib.sha256).digest()
