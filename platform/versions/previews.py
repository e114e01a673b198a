"""What a spec would mean before it is registered or changed: faults, engine with reasons, memory, quota.

The one answer that the wizard, REST and the CLI give. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from catalog.actions import spec_check
from catalog.models import Service
from catalog.patch import merged_spec
from catalog.selectors import decided_by, living_services_of
from catalog.sources import source_inspect
from common.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from engines import registry
from tenants.models import Tenant, is_valid_name
from versions.estimates import Estimate, estimate
from versions.selectors import live_version

# What a row takes beside its vector when nobody has seen one: an id and its key.
ROW_BYTES_UNSEEN = 24


class Outlook(NamedTuple):
    """`faults`: {field, message} of the spec as it is. `estimate` is None with faults, or without a count of items."""

    faults: list[dict[str, Any]]
    estimate: Estimate | None


class Preview(NamedTuple):
    """`spec` with every default. `drop`: what was looked into; `problem`: why it was not, or what a build of it meets.

    `exists`: whether the service is there, so that the spec was laid over the present one. `warnings`: what of it is
    right and may hold a build all the same, as sentences.
    """

    spec: dict[str, Any]
    exists: bool
    estimate: Estimate | None
    drop: str
    problem: str
    warnings: list[str]


def outlook(
    *,
    tenant: Tenant,
    spec: Mapping[str, Any],
    items: int | None,
    inspection: Mapping[str, Any] | None,
    present: Service | None = None,
) -> Outlook:
    """Of `spec` for as many items as somebody expects, or more if the drop that was looked into holds more."""
    try:
        checked = spec_check(tenant=tenant, spec=spec)
    except InvalidArgument as error:
        return Outlook([dict(fault) for fault in error.details], None)
    found = inspection or {}
    known = [count for count in (items, found.get("rows")) if count]
    if not known:
        return Outlook([], None)
    row_bytes = found["check"]["row_bytes"] if found else ROW_BYTES_UNSEEN
    stored = checked.stored()
    return Outlook([], estimate(tenant=tenant, spec=stored, items=max(known), row_bytes=row_bytes, present=present))


def preview(*, tenant: Tenant, spec: Mapping[str, Any], items: int | None = None) -> Preview:
    """Of a spec as somebody would send it; its source is looked into for how many items there are and how large.

    Raises InvalidArgument with every fault of the spec. A source that cannot be read is a `problem`, not an error.
    """
    present = _present(tenant, spec)
    wanted = merged_spec({"name": present.name, **present.spec}, spec) if present else spec
    stored = {"name": wanted.get("name"), **spec_check(tenant=tenant, spec=wanted).stored()}
    inspection, problem = _looked_into(tenant, stored)
    found = outlook(tenant=tenant, spec=stored, items=items, inspection=inspection, present=present)
    drop = inspection["drop"] if inspection else ""
    warnings = _warnings(present, stored) if present else []
    return Preview(stored, present is not None, found.estimate, drop, problem, warnings)


def _present(tenant: Tenant, spec: Mapping[str, Any]) -> Service | None:
    name = spec.get("name")
    known = isinstance(name, str) and is_valid_name(name)
    return living_services_of(tenant).filter(name=name).first() if known else None


def _warnings(present: Service, spec: Mapping[str, Any]) -> list[str]:
    """A first index at a server is compared with one in memory, and the way there and back is part of its p99."""
    live, engine, guards = live_version(present), spec["engine"]["name"], spec["guards"]
    remote = registry.remote_names()
    if live is None or live.engine in remote or engine not in remote or guards["max_p99_ratio"] is None:
        return []
    return [
        f"{engine} asks a server for each search, and version {live.number}, which is live, is searched in memory: "
        f"guards.max_p99_ratio ({guards['max_p99_ratio']:g}) may hold the first build. Override that build once, or "
        "raise guards.p99_floor_ms to what callers can bear."
    ]


def _looked_into(tenant: Tenant, spec: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The inspection, or why there is none; with one, what a build of that drop would fail with."""
    try:
        inspection = source_inspect(tenant=tenant, uri=spec["source"]["uri"], **decided_by(spec))
    except (FailedPrecondition, Unavailable, DeadlineExceeded) as error:
        return None, error.message
    problem = inspection["check"]["problem"]
    return inspection, problem["message"] if problem else ""
