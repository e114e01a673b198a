"""recall alerts: what is wrong, who looks after it, and the secret that signs webhooks."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.api import Json as Body
from cli.api import open_api
from cli.options import Tenant
from cli.output import Json, count, moment, pairs, remark, show, table

UNRESOLVED = ("OPEN", "ACKNOWLEDGED")
HOW_MANY = 100

State = Annotated[str, typer.Option(help="OPEN, ACKNOWLEDGED or RESOLVED; without it, what is not over.")]
OfSeverity = Annotated[str, typer.Option(help="info, warning or critical; without it, all.")]
OfService = Annotated[str, typer.Option(help="Only those of this service.")]
HowMany = Annotated[int, typer.Option("-n", help="How many.", min=1)]

alerts_app = typer.Typer(
    help="What is wrong with services, and who looks after it.", invoke_without_command=True, no_args_is_help=False
)


@alerts_app.callback()
def alerts(
    context: typer.Context,
    state: State = "",
    severity: OfSeverity = "",
    service: OfService = "",
    number: HowMany = HOW_MANY,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """What is wrong with services, newest first."""
    if context.invoked_subcommand is None:
        list_alerts(state, severity, service, number, tenant, as_json)


@alerts_app.command(name="list")
def list_alerts(
    state: State = "",
    severity: OfSeverity = "",
    service: OfService = "",
    number: HowMany = HOW_MANY,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """The same as `recall alerts`."""
    api = open_api()
    path = f"/tenants/{api.tenant(tenant)}/alerts"
    filters = {name: value for name, value in (("service", service), ("severity", severity)) if value}
    listed = [list(api.pages(path, "alerts", state=each, **filters)) for each in ([state] if state else UNRESOLVED)]
    found = sorted((one for page in listed for one in page), key=lambda one: -one["number"])[:number]
    show(found, as_json=as_json, human=lambda: _tell(found))


@alerts_app.command()
def ack(
    number: Annotated[int, typer.Argument(metavar="N", help="The alert's number.", min=1)],
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Say that you look after it."""
    api = open_api()
    done = api.post(f"/tenants/{api.tenant(tenant)}/alerts/{number}:acknowledge")
    show(done, as_json=as_json, human=lambda: _tell([done]))


@alerts_app.command()
def secret(
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Make a new one; the present one signs too for a day.")
    ] = False,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """The secret that signs the webhooks of a tenant (owners)."""
    api = open_api()
    path = f"/tenants/{api.tenant(tenant)}/webhookSecret"
    found = api.post(f"{path}:rotate") if rotate else api.get(path)
    show(found, as_json=as_json, human=lambda: pairs(found.items()))


def _tell(found: list[Body]) -> None:
    rows = [
        (
            one["number"],
            one["severity"],
            one["acknowledged_by"] if one["state"] == "ACKNOWLEDGED" else one["state"].lower(),
            one["service"],
            one["reason"],
            one["subject"],
            count(one["count"]),
            moment(one["seen_at"]),
            one["message"],
        )
        for one in found
    ]
    columns = ("alert", "severity", "state", "service", "reason", "subject", "times", "last seen", "message")
    table(columns, rows, empty="Nothing is wrong.")
    for one in found:
        for each in one["deliveries"]:
            if each["error"]:
                told = f"{each['event']} by {each['channel']}"
                remark(f"alert {one['number']}, {told}: {each['state'].lower()}. {each['error']}")
