"""recall build, builds, cancel, retry, override."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.api import Api, open_api
from cli.api import Json as Body
from cli.builds import WAITING_STATES, is_duplicate, log_line, require_success, step_line, watch_build
from cli.errors import ERROR_PREFIX, EXIT_NOT_FOUND, CliError
from cli.evidence import tell_evidence
from cli.options import ReasonNeeded, ServiceName, Tenant
from cli.output import Json, pairs, remark, show, table

Number = Annotated[int, typer.Argument(metavar="N", help="The build's number.", min=1)]
Wait = Annotated[
    bool, typer.Option("--wait", "-w", help="Until it ends; exit code 6 unless it succeeds, or there is nothing to do.")
]


def build(
    service: ServiceName,
    drop: Annotated[str, typer.Option(help="The drop's name; without it the newest complete one.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Build even what was built before.")] = False,
    wait: Wait = False,
    log: Annotated[bool, typer.Option("--log", help="With --wait: what the build says, line by line.")] = False,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Turn a drop into the next version; it goes live by itself when every check passes."""
    api = open_api()
    path = api.service_path(service, tenant)
    made = api.post(f"{path}:build", {"drop": drop, "force": force})
    if not wait:
        show(made, as_json=as_json, human=lambda: _tell_started(service, made))
        return
    remark(f"build {made['number']} of {service}")
    ended = watch_build(api, path, made["number"], log=log)
    decisive = _same(api, path, ended, log=log) if is_duplicate(ended) else ended
    if as_json:
        show(ended, as_json=True, human=lambda: None)
        _exit_unless_good(decisive)
        return
    require_success(decisive)
    _tell_end(decisive)


def builds(
    service: ServiceName,
    number: Annotated[int, typer.Argument(metavar="[N]", help="This one, with its steps.", min=0)] = 0,
    log: Annotated[bool, typer.Option("--log", help="What it said; without N the newest build's.")] = False,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """The builds of a service, newest first; or one of them."""
    api = open_api()
    path = api.service_path(service, tenant)
    if number or log:
        one = api.get(f"{path}/builds/{number or _newest(api, path)}")
        show(one, as_json=as_json, human=lambda: _tell_log(one) if log else _tell_one(one))
        return
    found = list(api.pages(f"{path}/builds", "builds"))
    rows = [
        (
            one["number"],
            one["state"],
            one["step"],
            one["drop"].get("name", ""),
            one["version"],
            one["requested_by"],
            (one["error"] or {}).get("message", ""),
        )
        for one in found
    ]
    columns = ("build", "state", "step", "drop", "version", "by", "why")
    show(found, as_json=as_json, human=lambda: table(columns, rows, empty="No builds yet."))


def cancel(service: ServiceName, number: Number, tenant: Tenant = "", as_json: Json = False) -> None:
    """Stop a build; what is live stays."""
    _act(service, number, "cancel", {}, tenant, as_json)


def retry(service: ServiceName, number: Number, tenant: Tenant = "", as_json: Json = False) -> None:
    """Try a failed build again from the step that failed."""
    _act(service, number, "retry", {}, tenant, as_json)


def override(
    service: ServiceName, number: Number, reason: ReasonNeeded, tenant: Tenant = "", as_json: Json = False
) -> None:
    """Let a held build go on past the guard that holds it."""
    _act(service, number, "override", {"reason": reason}, tenant, as_json)


def _act(service: str, number: int, verb: str, body: Body, tenant: str, as_json: bool) -> None:
    api = open_api()
    changed = api.post(f"{api.service_path(service, tenant)}/builds/{number}:{verb}", body)
    show(changed, as_json=as_json, human=lambda: _tell_end(changed))


def _same(api: Api, path: str, ended: Body, *, log: bool) -> Body:
    """The build that has done, or is doing, what `ended` was asked to do; waits for its end."""
    error, number = ended["error"], ended["report"]["same_as"]["build"]
    same = api.get(f"{path}/builds/{number}")
    if same["state"] in WAITING_STATES:
        remark(f"build {number} of this drop runs already, and is followed:")
        return watch_build(api, path, number, log=log)
    remark(f"nothing to do: {_lowered(error['message'])} {error['effect']} --force builds it again.")
    return same


def _exit_unless_good(build: Body) -> None:
    """The build's JSON has been printed, and nothing may follow it on stdout."""
    try:
        require_success(build)
    except CliError as error:
        remark(f"{ERROR_PREFIX}{error.line()}")
        raise typer.Exit(error.exit_code) from error


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _tell_started(service: str, made: Body) -> None:
    pairs([("build", made["number"]), ("state", made["state"])])
    remark(f"follow it with: recall builds {service} {made['number']} --log")


def _newest(api: Api, path: str) -> int:
    found = api.get(f"{path}/builds?page_size=1")["builds"]
    if not found:
        raise CliError("There is no build yet.", remedy="Ask for one: recall build SERVICE.", exit_code=EXIT_NOT_FOUND)
    return int(found[0]["number"])


def _tell_one(one: Body) -> None:
    _tell_end(one)
    rows = [(step["state"].lower(), step_line(step), step["does"]) for step in one["steps"]]
    table(("state", "step", "what it does"), rows, empty="No worker has begun it.")
    if one["retry_from"]:
        remark(f"a retry goes on from {one['retry_from']}")
    tell_evidence(one["report"])


def _tell_log(one: Body) -> None:
    for line in one["log"]:
        print(log_line(line))


def _tell_end(ended: Body) -> None:
    error = ended["error"] or {}
    pairs(
        [
            ("build", ended["number"]),
            ("state", ended["state"]),
            ("version", ended["version"]),
            ("why", error.get("message")),
            ("effect", error.get("effect")),
            ("next", error.get("next_step")),
        ]
    )
