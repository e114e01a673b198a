"""recall traffic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from cli.api import Json as Body
from cli.api import open_api
from cli.options import ServiceName, Tenant
from cli.output import Json, bytes_text, moment, remark, show, table
from cli.sparks import sparkline

HOURS_MAX = 24
# As many as stand in one line of a terminal beside the figures.
POINTS = 48
LATENCIES = ("p50", "p95", "p99")


def traffic(
    service: ServiceName,
    hours: Annotated[int, typer.Option(help="How far back.", min=1, max=HOURS_MAX)] = 1,
    points: Annotated[int | None, typer.Option(help="With --json: at most so many steps.", min=1)] = None,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """What was asked of a service: queries a second, latency, errors by code, memory, and the switches."""
    api = open_api()
    steps = points if points and as_json else POINTS
    found = api.get(f"{api.service_path(service, tenant)}/metrics?hours={hours}&points={steps}")
    show(found, as_json=as_json, human=lambda: _tell(found))


def _tell(found: Body) -> None:
    points = found["points"]
    if not any(point["queries_per_second"] or point["errors"] for point in points):
        remark("Nobody called in this time.")
    rows = [_figure("queries a second", [point["queries_per_second"] for point in points])]
    rows += [_figure(f"{name} ms", [point[f"{name}_ms"] for point in points]) for name in LATENCIES]
    codes = sorted({code for point in points for code in point["errors"]})
    rows += [_figure(f"{code}, calls", [point["errors"].get(code, 0) for point in points]) for code in codes]
    rows.append(_memory([point["memory_bytes"] for point in points]))
    table(("", f"since {moment(points[0]['at'])}", "most", "newest"), rows, empty="")
    remark(f"a bar for every {found['step_seconds']} s; times are in UTC")
    for switch in found["switches"]:
        what = f"{switch['kind']} {switch['from_version'] or '–'} -> {switch['to_version']}"
        remark(f"{moment(switch['at'])} {what} by {switch['actor']}")


def _figure(name: str, values: list[float | None]) -> tuple[object, ...]:
    return (name, sparkline(values), *_most_and_last(values))


def _memory(values: list[int | None]) -> tuple[object, ...]:
    told = (None if value is None else bytes_text(int(value)) for value in _most_and_last(values))
    return ("memory", sparkline(values), *told)


def _most_and_last(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in values if value is not None]
    return max(known, default=None), known[-1] if known else None
