"""recall audit: who did what, and whether the trail is whole."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.connection import connect
from cli.errors import EXIT_DENIED, EXIT_FAILED, CliError
from cli.options import Tenant
from cli.output import Json, count, moment, pairs, show, table

EVENTS_SHOWN = 50
EVENTS_SHOWN_MAX = 1_000


def audit(
    service: Annotated[str, typer.Argument(metavar="[SERVICE]", help="Without it: the whole tenant.")] = "",
    number: Annotated[int, typer.Option("-n", help="How many events.", min=1, max=EVENTS_SHOWN_MAX)] = EVENTS_SHOWN,
    verify: Annotated[
        bool, typer.Option("--verify", help="Whether no event of any tenant was changed, removed or put in.")
    ] = False,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Who did what, newest first; with --verify, on the platform's machine, whether the trail is whole."""
    if verify:
        _verify(as_json)
        return
    api = open_api()
    path = api.service_path(service, tenant) if service else f"/tenants/{api.tenant(tenant)}"
    found = [event for event, _ in zip(api.pages(f"{path}/audit", "events"), range(number), strict=False)]
    rows = [
        (moment(one["at"]), one["actor"], one["verb"], one["service"], one["target"], one["reason"], one["address"])
        for one in found
    ]
    columns = ("when", "who", "what", "service", "target", "reason", "from")
    show(found, as_json=as_json, human=lambda: table(columns, rows, empty="Nothing yet."))


def _verify(as_json: bool) -> None:
    """Needs the database and the platform's secret, therefore no key opens it from afar."""
    if not connect().is_local():
        remedy = "Run it there with RECALL_HOME set and RECALL_API_KEY not set."
        raise CliError("This works only on the platform's machine.", remedy=remedy, exit_code=EXIT_DENIED)
    from cli.local import audit_verify

    found = audit_verify()
    show(found, as_json=as_json, human=lambda: _tell(found))
    if not found["whole"]:
        raise typer.Exit(EXIT_FAILED)


def _tell(found: dict[str, Any]) -> None:
    fault = found["fault"] or {}
    verdict = "whole" if found["whole"] else "NOT WHOLE"
    pairs(
        [
            ("audit trail", verdict),
            ("events that hold", count(found["events"])),
            ("last that holds", f"{found['events']}:{found['head']}"),
            ("first fault", fault.get("message")),
        ]
    )
