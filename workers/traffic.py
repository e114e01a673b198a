"""Turns what gateways tell of their callers, and of the keys that these used, into rows."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from documents.traffic import SETTLED_AFTER_SECONDS, SPAN_SECONDS, span_of
from tenants.actions import Use, keys_used
from versions import actions, routes
from workers.sweep import unless_redis_is_away

# The memory of a service that nobody calls is noted this often.
IDLE_SECONDS = 60


@unless_redis_is_away
def collect_traffic() -> None:
    """Notes every span that is over; the newest one also when nobody called."""
    _collect_key_uses()
    spans = routes.settled_traffic()
    spans.setdefault(_newest_settled(), {})
    for began, asked in spans.items():
        actions.traffic_record(began=began, asked=asked, with_idle=began.timestamp() % IDLE_SECONDS == 0)
    routes.forget_traffic(list(spans))
    actions.traffic_prune()


def _collect_key_uses() -> None:
    uses = []
    for told in routes.take_key_uses():
        _, tenant, _, service = told.service.split("/")
        at = datetime.fromtimestamp(told.at_seconds, UTC)
        uses.append(Use(prefix=told.prefix, tenant=tenant, service=service, at=at, address=told.address))
    keys_used(uses=uses)


def _newest_settled() -> datetime:
    return datetime.fromtimestamp(span_of(time.time() - SETTLED_AFTER_SECONDS) - SPAN_SECONDS, UTC)
