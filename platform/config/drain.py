"""How long a version stays loaded after it left the routes: at least as long as a call may still be under way."""

from __future__ import annotations

import math

from django.core.exceptions import ImproperlyConfigured

from config.env import env_int

DRAIN, DEADLINE = "RECALL_RETIRE_DRAIN_SECONDS", "RECALL_GATEWAY_DEADLINE_MS_MAX"
# As in gateway/settings.py, which is another plane's; a test holds the two together.
DEADLINE_MS_MAX = 10_000
MS_PER_SECOND = 1_000


def drain_seconds() -> int:
    """The longest deadline that gateways allow, unless more is asked for. Raises ImproperlyConfigured for less."""
    deadline_ms = env_int(DEADLINE, DEADLINE_MS_MAX)
    least = math.ceil(deadline_ms / MS_PER_SECOND)
    drain = env_int(DRAIN, least)
    if drain < least:
        message = f"{DRAIN} is {drain}, and a call may take {deadline_ms} ms ({DEADLINE}): it must be at least {least}."
        raise ImproperlyConfigured(message)
    return drain
