"""recall versions, compare, replicas, activate, rollback."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.comparisons import await_comparison, tell_comparison
from cli.evidence import tell_evidence
from cli.options import Anyway, Reason, ServiceName, Tenant
from cli.output import Json, bytes_text, count, moment, pairs, remark, show, table


def versions(
    service: ServiceName,
    number: Annotated[int | None, typer.Argument(metavar="[N]", help="This one, with its evidence.", min=1)] = None,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """The versions of a service, newest first, with the live one marked; or one of them."""
    api = open_api()
    path = f"{api.service_path(service, tenant)}/versions"
    if number is not None:
        one = api.get(f"{path}/{number}")
        show(one, as_json=as_json, human=lambda: _tell_one(one))
        return
    found = list(api.pages(path, "versions"))
    # Indexes that are files lie nowhere else.
    is_placed = any(one["places"] for one in found)
    rows = [
        (
            one["number"],
            "live" if one["live"] else "",
            _state(one),
            count(one["items"]),
            bytes_text(one["bytes"]),
            f"{one['engine']['name']} (auto)" if one["engine"]["reason"] else one["engine"]["name"],
            *([", ".join(one["places"])] if is_placed else []),
            one["recall"],
            one["p99_ms"],
            "bad" if one["bad"] else "",
            moment(one["created_at"]),
            one["why"] or (one["bad"] or {}).get("reason", ""),
        )
        for one in found
    ]
    places = ("place",) if is_placed else ()
    columns = ("version", "", "state", "items", "size", "engine", *places, "recall", "p99 ms", "", "made", "why")

    def tell() -> None:
        table(columns, rows, empty="No versions yet.")
        for one in found:
            if one["live"] and one["engine"]["reason"]:
                remark(f"auto chose {one['engine']['name']} for version {one['number']}: {one['engine']['reason']}")

    show(found, as_json=as_json, human=tell)


def replicas(service: ServiceName, tenant: Tenant = "", as_json: Json = False) -> None:
    """Where the versions of a service are loaded, what each replica serves, and how well it is."""
    api = open_api()
    found = list(api.pages(f"{api.service_path(service, tenant)}/replicas", "replicas"))
    rows = [
        (
            one["id"],
            one["version"],
            f"serves {one['served_version']}" if one["skewed"] else "",
            one["node"],
            one["state"],
            "" if one["routed"] else "not routed",
            one["sick"]["reason"] if one["sick"] else one["verdict"],
            moment(one["sick"]["since"]) if one["sick"] else "",
            one["agreement"],
            one["p99_ms"],
            one["respawns"],
            one["error"],
        )
        for one in found
    ]
    columns = ("replica", "version", "", "node", "state", "", "health", "since", "agreement", "p99 ms", "respawns", "")
    show(found, as_json=as_json, human=lambda: table(columns, rows, empty="No version is loaded."))


def compare(
    service: ServiceName,
    number: Annotated[int, typer.Argument(metavar="N", help="The version's number.", min=1)],
    to: Annotated[
        int | None, typer.Option(help="The other one; without it the live one, or what was live before it.", min=1)
    ] = None,
    wait: Annotated[bool, typer.Option(help="Until a worker has compared items and answers.")] = True,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Two versions side by side: items, answers, parameters, recall, the steps of their builds."""
    api = open_api()
    path = f"{api.service_path(service, tenant)}/versions/{number}:compare"
    compared = await_comparison(api, path if to is None else f"{path}?to={to}", wait=wait)
    show(compared, as_json=as_json, human=lambda: tell_comparison(compared))


def activate(
    service: ServiceName,
    number: Annotated[int, typer.Argument(metavar="N", help="The version's number.", min=1)],
    reason: Reason = "",
    anyway: Anyway = False,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Make a loaded version live, without a failed call."""
    api = open_api()
    body = {"version": number, "reason": reason, "anyway": anyway}
    done = api.post(f"{api.service_path(service, tenant)}:activate", body)
    show(done, as_json=as_json, human=lambda: _tell(done))


def rollback(
    service: ServiceName,
    reason: Reason = "",
    from_version: Annotated[int | None, typer.Option(help="Only if this version is live.", min=1)] = None,
    anyway: Anyway = False,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Go back to the version that was live before; the one left is marked bad, and the service is put on hold."""
    api = open_api()
    body = {"reason": reason, "from_version": from_version, "anyway": anyway}
    done = api.post(f"{api.service_path(service, tenant)}:rollback", body)
    show(done, as_json=as_json, human=lambda: _tell(done))
    if done["changed"]:
        remark(f"The service is on hold: no build goes live by itself until `recall service release {service}`.")


def _tell_one(one: dict[str, Any]) -> None:
    engine, bad = one["engine"], one["bad"] or {}
    pairs(
        [
            ("version", f"{one['number']} (live)" if one["live"] else one["number"]),
            ("state", _state(one)),
            ("why", one["why"]),
            ("bad", bad and f"since {moment(bad['at'])}: {bad['reason']}"),
            ("items", count(one["items"])),
            ("searchable", count(one["searchable_items"])),
            ("size", bytes_text(one["bytes"])),
            ("engine", f"{engine['name']}, because {engine['reason']}" if engine["reason"] else engine["name"]),
            ("places", ", ".join(one["places"])),
            ("search", ", ".join(f"{name} {value}" for name, value in one["search_params"].items())),
            ("recall", one["recall"]),
            ("p99 ms", one["p99_ms"]),
            ("model", one["model_version"]),
            ("build", one["build"]),
            ("made", f"{moment(one['created_at'])} by {one['created_by']}"),
            ("activated", moment(one["activated_at"])),
        ]
    )
    tell_evidence(one["report"])


def _state(version: dict[str, Any]) -> str:
    until = moment(version["retires_at"])
    return f"{version['state']} until {until}" if until else str(version["state"])


def _tell(done: dict[str, Any]) -> None:
    if not done["changed"]:
        remark("Nothing changed: another switch got there first, or it was so already.")
    if done["loading"]:
        remark(done["loading"])
        pairs([("live", done["from_version"]), ("next", done["to_version"])])
        return
    pairs([("was", done["from_version"]), ("live", done["to_version"]), ("gateways", _gateways(done))])


def _gateways(done: dict[str, Any]) -> str:
    if done["state"] == "COMPLETE":
        return "all of them serve it"
    if done["laggards"]:
        return f"not yet served by {', '.join(done['laggards'])}"
    return "not known whether they serve it yet"
