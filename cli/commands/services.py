"""recall service create | apply | list | show | delete | hold | release, and recall source inspect."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import estimates
from cli.api import Api, open_api
from cli.errors import EXIT_NOT_FOUND, EXIT_USAGE, CliError
from cli.options import Reason, ReasonNeeded, ServiceName, SpecFile, Tenant
from cli.output import Json, bytes_text, count, pairs, remark, show, table

BAD_ROWS_TOLD = 5
BLOCKS = ("schema", "source", "engine", "search", "guards", "versions", "replicas", "limits", "notify")

Expected = Annotated[int | None, typer.Option("--items", help="With --dry-run: how many are expected.", min=1)]

service_app = typer.Typer(help="Services: create, change, look, hold.", no_args_is_help=True)
source_app = typer.Typer(help="Model paths: what lies there.", no_args_is_help=True)


@service_app.command()
def create(
    file: SpecFile,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would mean.")] = False,
    items: Expected = None,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Register a service from a YAML or JSON file: name, schema, source, and what differs from the defaults."""
    api, spec = open_api(), read_spec(file)
    services = f"/tenants/{api.tenant(tenant)}/services"
    if dry_run:
        told = estimates.ask(api, services, spec, items)
        show(told, as_json=as_json, human=lambda: estimates.tell(told))
        return
    made = api.post(services, spec)
    show(made, as_json=as_json, human=lambda: _tell(made))


@service_app.command()
def apply(
    file: SpecFile,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change, and mean.")] = False,
    items: Expected = None,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Make a service be as a file says: created if it is not there, else the fields that differ are changed."""
    api, spec = open_api(), read_spec(file)
    services = f"/tenants/{api.tenant(tenant)}/services"
    name = _name_of(spec, file)
    present = _find(api, f"{services}/{name}")
    changes = differences(present or {}, spec)
    if not dry_run and present is None:
        api.post(services, spec)
    elif not dry_run and changes:
        api.patch(f"{services}/{name}", {block: value for block, value in spec.items() if block != "name"})
    done: dict[str, Any] = {"name": name, "created": present is None, "changes": changes, "applied": not dry_run}
    if dry_run:
        done["outlook"] = estimates.ask_if_permitted(api, services, spec, items)
    show(done, as_json=as_json, human=lambda: _tell_changes(done))


@service_app.command(name="list")
def list_services(tenant: Tenant = "", as_json: Json = False) -> None:
    """The services of a tenant."""
    api = open_api()
    found = list(api.pages(f"/tenants/{api.tenant(tenant)}/services", "services"))
    rows = [
        (
            one["name"],
            one["live_version"],
            count((one["live"] or {}).get("items")),
            (one["live"] or {}).get("recall"),
            (one["last_build"] or {}).get("state", ""),
            one["engine"]["name"],
            one["source"]["uri"],
            "held" if one["held"] else "",
        )
        for one in found
    ]
    columns = ("service", "live", "items", "recall", "last build", "engine", "source", "")
    show(found, as_json=as_json, human=lambda: table(columns, rows, empty="No services yet."))


@service_app.command(name="show")
def show_service(service: ServiceName, tenant: Tenant = "", as_json: Json = False) -> None:
    """One service: what serves, and its spec as YAML."""
    api = open_api()
    found = api.get(api.service_path(service, tenant))
    show(found, as_json=as_json, human=lambda: _tell(found))


@service_app.command()
def delete(
    service: ServiceName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    tenant: Tenant = "",
) -> None:
    """Delete a service with its versions and keys; calls to it fail from then on."""
    api = open_api()
    path = api.service_path(service, tenant)
    if not yes:
        typer.confirm(f"Delete {path.removeprefix('/')} with all its versions?", abort=True, err=True)
    api.delete(path)


@service_app.command()
def hold(service: ServiceName, reason: ReasonNeeded, tenant: Tenant = "", as_json: Json = False) -> None:
    """Keep what is live: new drops are not activated until `release`."""
    api = open_api()
    held = api.post(f"{api.service_path(service, tenant)}:hold", {"reason": reason})
    show(held, as_json=as_json, human=lambda: _tell(held))


@service_app.command()
def release(service: ServiceName, reason: Reason = "", tenant: Tenant = "", as_json: Json = False) -> None:
    """End a hold, and say what happens next."""
    api = open_api()
    path = api.service_path(service, tenant)
    held = api.get(path)["held"]
    released = api.post(f"{path}:release", {"reason": reason})
    show(released, as_json=as_json, human=lambda: _tell(released))
    if held:
        remark(held["on_release"])


@source_app.command()
def inspect(
    uri: Annotated[str, typer.Argument(metavar="URI", help="For example file:movies/")],
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A spec by which to judge the sample; - is stdin.")
    ] = None,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """What a drop there holds, the schema it suggests, and how a sample of it fares."""
    api = open_api()
    decided = _decided(read_spec(file)) if file else {}
    found = api.post(f"/tenants/{api.tenant(tenant)}/sources:inspect", {"uri": uri, **decided})
    show(found, as_json=as_json, human=lambda: _tell_source(found))


def _decided(spec: dict[str, Any]) -> dict[str, Any]:
    """What a spec says of how the rows of a drop are read."""
    source = spec.get("source") or {}
    parts = {"schema": spec.get("schema"), "columns": source.get("columns"), "files": source.get("files")}
    return {name: part for name, part in parts.items() if part is not None}


def read_spec(file: Path) -> dict[str, Any]:
    """The object in a YAML or JSON file; `-` is stdin. Raises CliError."""
    import yaml

    try:
        spec = yaml.safe_load(sys.stdin.read() if str(file) == "-" else file.read_text())
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror}.", field="file", exit_code=EXIT_USAGE) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CliError(f"{file} is neither YAML nor JSON: {error}", exit_code=EXIT_USAGE) from error
    if not isinstance(spec, dict):
        raise CliError(f"{file} must hold one object with name, schema and source.", exit_code=EXIT_USAGE)
    return spec


def differences(present: dict[str, Any], wanted: dict[str, Any], above: str = "") -> list[dict[str, Any]]:
    """Fields of `wanted` that `present` has otherwise: [{field, from, to}], in the order of `wanted`."""
    found: list[dict[str, Any]] = []
    for name, value in wanted.items():
        before = present.get(name)
        if name == "engine" and isinstance(value, str):
            value = {"name": value}
        if isinstance(value, dict) and isinstance(before, dict):
            found += differences(before, value, f"{above}{name}.")
        elif before != value:
            found.append({"field": f"{above}{name}", "from": before, "to": value})
    return found


def _name_of(spec: dict[str, Any], file: Path) -> str:
    name = spec.get("name")
    if not isinstance(name, str) or not name:
        raise CliError(f"{file} does not say which service it is.", field="name", exit_code=EXIT_USAGE)
    return name


def _find(api: Api, path: str) -> dict[str, Any] | None:
    try:
        return api.get(path)
    except CliError as error:
        if error.exit_code == EXIT_NOT_FOUND and error.reason == "SERVICE_NOT_FOUND":
            return None
        raise


def _tell(found: dict[str, Any]) -> None:
    import yaml

    live, held, last = found["live"] or {}, found["held"] or {}, found["last_build"] or {}
    watch = found["watch"] or {}
    pairs(
        [
            ("service", f"{found['tenant']}/{found['name']}"),
            ("live", f"version {live['version']}, {live['items']:,} items" if live else "nothing yet"),
            ("recall", live.get("recall")),
            ("p99 ms", live.get("p99_ms")),
            ("held", held.get("reason")),
            ("last build", f"{last['number']} {last['state']}" if last else ""),
            ("moves with", ", ".join(found.get("moves_with", ()))),
            ("newest drop", watch.get("drop")),
            ("source", watch.get("problem")),
            ("next due", watch.get("due_at")),
            ("late since", watch.get("late_since")),
        ]
    )
    spec = {block: found[block] for block in BLOCKS if block in found}
    print("\n" + yaml.safe_dump(spec, sort_keys=False, default_flow_style=None).rstrip())


def _tell_changes(done: dict[str, Any]) -> None:
    said = ("created" if done["created"] else "changed") if done["applied"] else "would change"
    if not done["changes"]:
        remark(f"{done['name']} is as the file says.")
        return
    remark(f"{done['name']} {said}:")
    for change in done["changes"]:
        print(f"{change['field']}: {change['from']} -> {change['to']}")
    if done.get("outlook"):
        estimates.tell(done["outlook"])


def _tell_source(found: dict[str, Any]) -> None:
    import yaml

    pairs(
        [
            ("drop", found["drop"]),
            ("complete", f"no: {found['missing']}" if found["missing"] else "yes"),
            *(("skipped", each) for each in found["skipped"]),
            ("format", found["format"]),
            ("files", f"{found['files']} ({bytes_text(found['bytes'])})"),
            ("rows", f"{found['rows']:,}" if found["rows"] is not None else "unknown"),
            *((f"column {name}", kind) for name, kind in found["found"].items()),
        ]
    )
    _tell_sample(found["check"])
    for note in found["notes"]:
        remark(f"note: {note}")
    remark(f"metric {found['suggested_schema']['metric']}: {found['why']}")
    source = {"files": found["source_files"], "columns": found["columns"]}
    suggested = {"schema": found["suggested_schema"], "source": source}
    print("\n" + yaml.safe_dump(suggested, sort_keys=False, default_flow_style=None).rstrip())


def _tell_sample(check: dict[str, Any]) -> None:
    """What an import would make of the first rows."""
    lengths = f"{check['shortest']:.3g} to {check['longest']:.3g}, {check['mean_norm']:.3g} on average"
    bad = ", ".join(f"{count} {reason}" for reason, count in check["reasons"].items())
    pairs(
        [
            ("sample", f"{check['rows']:,} rows of {check['files']} files"),
            ("bad rows", f"{check['bad_rows']:,} ({bad})" if bad else "none"),
            ("lengths", lengths if check["good_rows"] else None),
            *(("", f"{row['file']} row {row['row']}: {row['reason']}") for row in check["bad"][:BAD_ROWS_TOLD]),
            *((f"attribute {one['name']}", _attribute_text(one)) for one in check["attributes"]),
        ]
    )
    if check["problem"]:
        remark(f"A build of this drop would fail: {check['problem']['message']}")


def _attribute_text(one: dict[str, Any]) -> str:
    nulls = f", {one['nulls']} without" if one["nulls"] else ""
    return f"{one['type']}, {one['distinct']} different{nulls}: {', '.join(one['examples'])}"
