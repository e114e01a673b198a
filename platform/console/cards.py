"""One service in one line, for lists and for the head of its page."""

from __future__ import annotations

from typing import Any

from catalog.models import Service
from versions.selectors import activations_of, engine_reason, live_version, service_view


def card(service: Service) -> dict[str, Any]:
    """What answers "is anything wrong?"; `status` is live, building, held, failed or empty."""
    view, live, last_switch = service_view(service), live_version(service), activations_of(service).first()
    last_build = view["last_build"]
    return {
        "tenant": service.tenant.name,
        "name": service.name,
        "status": _status(service, last_build["state"] if last_build else ""),
        "live_version": service.live_version,
        "live_since": last_switch.at if last_switch else None,
        "items": live.items if live else None,
        "engine": live.engine if live else "",
        "engine_reason": engine_reason(live) if live else "",
        "recall": live.recall if live else None,
        "p99_ms": live.p99_ms if live else None,
        "last_build": last_build,
        "held": service.held_at is not None,
        "held_reason": service.held_reason,
        "on_release": view["held"]["on_release"] if view["held"] else "",
    }


def _status(service: Service, last_build_state: str) -> str:
    if last_build_state in ("PENDING", "RUNNING"):
        return "building"
    if service.held_at or last_build_state == "HELD":
        return "held"
    if last_build_state == "FAILED":
        return "failed"
    return "live" if service.live_version else "empty"
