"""Who did what in a team, as a page with filters and as a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from audit.models import AuditEvent
from audit.selectors import EVENTS_EXPORTED_MAX, EVENTS_PAGE_DEFAULT, events_exported, events_of
from common.checks import whole_number
from console.base import page, tenant_for
from tenants.permissions import Permission, is_allowed

FILTERS = ("service", "actor", "verb")
FILTER_CHARACTERS_MAX = 150
EVENT_ID_MAX = 10**18 - 1
COLUMNS = (
    "at",
    "actor_kind",
    "actor",
    "verb",
    "service",
    "target",
    "reason",
    "address",
    "request_id",
    "before",
    "after",
)
# A spreadsheet would take a text that begins so for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@require_GET
@page
def index(request: HttpRequest, tenant: str) -> HttpResponse:
    caller, owner = tenant_for(request, tenant, Permission.VIEW)
    wanted, before = _filters(request), whole_number(request.GET.get("before", ""), most=EVENT_ID_MAX)
    events = events_of(owner.name, before_id=before, limit=EVENTS_PAGE_DEFAULT + 1, **_matching(wanted))
    shown, more = events[:EVENTS_PAGE_DEFAULT], len(events) > EVENTS_PAGE_DEFAULT
    context = {
        "tenant": owner,
        "may_manage": is_allowed(caller, Permission.MANAGE, owner),
        "events": shown,
        "wanted": wanted,
        "export": urlencode(wanted),
        "older": urlencode({**wanted, "before": shown[-1].pk}) if more else "",
    }
    return render(request, "console/audit.html", context)


@require_GET
@page
def export(request: HttpRequest, tenant: str) -> HttpResponseBase:
    """The same events as CSV, newest first."""
    _, owner = tenant_for(request, tenant, Permission.VIEW)
    events = events_exported(owner.name, **_matching(_filters(request)))
    headers = {"Content-Disposition": f'attachment; filename="audit-{owner.name}.csv"'}
    return StreamingHttpResponse(_lines(events), content_type="text/csv; charset=utf-8", headers=headers)


def _filters(request: HttpRequest) -> dict[str, str]:
    """What the person filters by; a text that can be in no event is none."""
    typed = {name: request.GET.get(name, "").strip()[:FILTER_CHARACTERS_MAX] for name in FILTERS}
    return {name: text for name, text in typed.items() if text and text.isprintable()}


def _matching(wanted: dict[str, str]) -> dict[str, Any]:
    return {
        "service": wanted.get("service"),
        "actor": wanted.get("actor", ""),
        "verb": wanted.get("verb", "").rstrip("."),
    }


class _Line:
    """A file of which only the last line is kept."""

    def write(self, text: str) -> str:
        return text


def _lines(events: Iterator[AuditEvent]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(COLUMNS)
    written = 0
    for event in events:
        yield writer.writerow([_cell(getattr(event, name)) for name in COLUMNS])
        written += 1
    if written == EVENTS_EXPORTED_MAX:
        # Whoever keeps the file must not take it for all there is.
        yield writer.writerow([f"CUT HERE: the newest {written} events. Older ones: narrow by service, who or what."])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
