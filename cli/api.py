"""The REST API, called from afar with a key, or in this very process on the platform's own machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

from cli.connection import Connection, connect
from cli.errors import (
    EXIT_DENIED,
    EXIT_FAILED,
    EXIT_NOT_FOUND,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    CliError,
)

REQUEST_SECONDS_MAX = 60
PAGE_SIZE = 200
PAGES_MAX = 1_000
EXIT_CODES = {400: EXIT_USAGE, 401: EXIT_DENIED, 403: EXIT_DENIED, 404: EXIT_NOT_FOUND, 503: EXIT_UNREACHABLE}
NEXT_STEPS = {401: "Check RECALL_API_KEY.", 503: "Try again in a moment."}

Json = dict[str, Any]


class Transport(Protocol):
    """One call; `path` begins with a slash behind /api/v1. Gives the HTTP status and the body."""

    def __call__(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, Any]: ...


class Api:
    """Calls and pages. Raises CliError for every error that the API gives."""

    def __init__(self, transport: Transport, connection: Connection) -> None:
        self._transport = transport
        self.connection = connection

    def get(self, path: str) -> Json:
        return self._call("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Json:
        return self._call("POST", path, body or {})

    def patch(self, path: str, body: Mapping[str, Any]) -> Json:
        return self._call("PATCH", path, body)

    def delete(self, path: str) -> None:
        self._call("DELETE", path, None)

    def pages(self, path: str, name: str, **filters: str) -> Iterator[Json]:
        """Every entry of the list `name` at `path` that `filters` let pass."""
        token = ""
        for _ in range(PAGES_MAX):
            page = self.get(f"{path}?{urlencode({**filters, 'page_size': PAGE_SIZE, 'page_token': token})}")
            yield from page[name]
            token = page["next_page_token"]
            if not token:
                return

    def tenant(self, named: str = "") -> str:
        """The tenant that is meant: `named`, the configured one, or the only one that the caller can see."""
        if found := named or self.connection.tenant:
            return found
        seen = [tenant["name"] for tenant in self.get(f"/tenants?page_size={PAGE_SIZE}")["tenants"]]
        if len(seen) == 1:
            return str(seen[0])
        remedy = "Write tenant/service, or give --tenant or RECALL_TENANT."
        known = f"you can see {', '.join(seen[:10])}" if seen else "there is none yet"
        raise CliError(f"Which tenant? {known}.", remedy=remedy, field="tenant", exit_code=EXIT_USAGE)

    def service_path(self, service: str, tenant: str = "") -> str:
        """`films` or `tenant/films` -> /tenants/{t}/services/films"""
        owner, slash, name = service.rpartition("/")
        return f"/tenants/{self.tenant(owner if slash else tenant)}/services/{name}"

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Json:
        status, answer = self._transport(method, path, body)
        if 200 <= status < 300:
            return answer if isinstance(answer, dict) else {}
        raise _error(status, answer)


def open_api() -> Api:
    """By the configuration: with a key over HTTP, without one in this process if the platform is here."""
    connection = connect()
    if connection.is_local():
        from cli.local import call_in_process

        return Api(call_in_process, connection)
    connection.key_or_error()
    return Api(over_http(connection), connection)


def over_http(connection: Connection) -> Transport:
    import httpx

    headers = {"Authorization": f"Bearer {connection.api_key}"}
    client = httpx.Client(base_url=f"{connection.api_url}/api/v1", headers=headers, timeout=REQUEST_SECONDS_MAX)

    def call(method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        try:
            response = client.request(method, path, json=body)
        except httpx.HTTPError as error:
            message = f"{connection.api_url} cannot be reached: {error}."
            raise CliError(message, remedy=_way_to(connection), exit_code=EXIT_UNREACHABLE) from error
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.status_code, response.json() if is_json and response.content else {}

    return call


def _way_to(connection: Connection) -> str:
    if connection.is_loopback():
        return "Start it (`recall up --detach`; `recall status` tells more), or set RECALL_API_URL if it is elsewhere."
    return "Is it running there, and is RECALL_API_URL right?"


def _error(status: int, answer: Any) -> CliError:
    error = answer.get("error", {}) if isinstance(answer, dict) else {}
    faults = [one for one in error.get("details", []) if one.get("field")]
    lines = [f"  {one['field']}: {one.get('message', '')}" for one in faults]
    several = len(lines) > 1
    return CliError(
        error.get("message") or f"The platform answered {status}.",
        remedy=NEXT_STEPS.get(status, ""),
        reason=error.get("reason", ""),
        field=faults[0]["field"] if faults else "",
        appendix="\n".join(lines) if several else "",
        summary=f"{len(lines)} fields are not right, see above." if several else "",
        exit_code=EXIT_CODES.get(status, EXIT_FAILED),
    )
