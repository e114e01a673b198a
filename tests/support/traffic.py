"""What callers asked, for tests that look at it afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from catalog.models import Service
from documents.traffic import LATENCY_SECONDS, SPAN_SECONDS, Traffic
from versions import actions
from versions.traffic import _recorded_until


def newest_span() -> datetime:
    """The beginning of the newest span that pages show."""
    return datetime.fromtimestamp(_recorded_until() - SPAN_SECONDS, UTC)


def calls(count: int, *, seconds: float = 0.0015, queries: int = 0, codes: Mapping[str, int] | None = None) -> Traffic:
    """`count` calls that all took so long and ended well, unless `codes` says otherwise."""
    counts = [0] * (len(LATENCY_SECONDS) + 1)
    counts[next((i for i, bound in enumerate(LATENCY_SECONDS) if seconds <= bound), len(LATENCY_SECONDS))] = count
    return Traffic(queries=queries or count, codes=dict(codes or {"OK": count}), counts=counts)


def asked(service: Service, traffic: Traffic, *, spans_ago: int = 0, with_idle: bool = False) -> datetime:
    """Notes `traffic` as a span; returns when it began."""
    began = newest_span() - timedelta(seconds=spans_ago * SPAN_SECONDS)
    name = f"tenants/{service.tenant.name}/services/{service.name}"
    actions.traffic_record(began=began, asked={name: traffic}, with_idle=with_idle)
    return began
