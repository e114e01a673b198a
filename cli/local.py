"""Acting on the platform's own machine: Django set up in this process, and the REST views called directly.

Whoever can read the database's file and the secrets beside it can do everything anyhow, so no key is asked; the audit
trail names the system's user.
"""

from __future__ import annotations

import getpass
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from cli.errors import EXIT_DENIED, EXIT_FAILED, EXIT_NOT_FOUND, CliError


@cache
def set_up_django() -> None:
    """Raises CliError when the platform's files cannot be read."""
    import os

    import django
    from django.core.exceptions import ImproperlyConfigured

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ.setdefault("RECALL_LOG_LEVEL", "ERROR")
    try:
        django.setup()
    except ImproperlyConfigured as error:
        raise CliError(str(error)) from error
    except PermissionError as error:
        remedy = "Act as the user that runs the platform, or set RECALL_API_KEY."
        raise CliError(f"{error.filename} cannot be read.", remedy=remedy, exit_code=EXIT_DENIED) from error


def local_actor() -> Any:
    """The common.actor.Actor for what is done from a shell of the platform's machine."""
    set_up_django()
    from common.actor import Actor

    return Actor(kind="user", name=f"shell:{getpass.getuser()}")


def call_in_process(method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
    """A cli.api.Transport: the same views, checks and errors as over HTTP, as a platform administrator."""
    set_up_django()
    from django.urls import resolve

    from api.authentication import Machine
    from tenants.permissions import Caller

    request: Any = _request(method, path, json.dumps(body or {}).encode())
    caller = Caller(actor=local_actor(), is_admin=True)
    # What DRF reads in place of its authentication classes.
    request._force_auth_user, request._force_auth_token = Machine(caller.actor.name), caller
    view, arguments, keywords = resolve(request.path_info)
    response = view(request, *arguments, **keywords).render()
    return response.status_code, json.loads(response.content) if response.content else {}


def _request(method: str, path: str, body: bytes) -> Any:
    from django.core.handlers.wsgi import WSGIRequest

    location, _, query = path.partition("?")
    return WSGIRequest(
        {
            "REQUEST_METHOD": method,
            "PATH_INFO": f"/api/v1{location}",
            "QUERY_STRING": query,
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "wsgi.input": io.BytesIO(body),
        }
    )


def audit_verify() -> dict[str, Any]:
    """Walks the chain of the audit trail. `fault` names the first event at which it does not hold."""
    set_up_django()
    from audit.selectors import verify

    found = verify()
    answer: dict[str, Any] = {"whole": found.fault is None, "events": found.events, "head": found.head, "fault": None}
    if found.fault is not None:
        event = found.fault.event
        answer["fault"] = {
            "position": found.fault.position,
            "id": event.pk if event else None,
            "message": found.fault.message,
        }
    return answer


def demo_load(tenant: str) -> int:
    """The demo's service in `tenant`, built of another drop; the build's number. Raises CliError."""
    actor = local_actor()
    from tenants.models import Tenant
    from versions import actions

    with _told_as_cli_errors():
        build = actions.demo_load(actor=actor, tenant=Tenant.objects.get(name=tenant), again=True)
    return int(build.number)


def user_create(*, actor: Any, username: str, password: str | None, admin: bool) -> str | None:
    """Makes a person; returns the password when it was generated. Raises CliError."""
    from accounts import actions

    with _told_as_cli_errors():
        _, generated = actions.user_create(actor=actor, username=username, password=password, admin=admin)
    return generated


def user_set_password(*, actor: Any, username: str, password: str | None) -> str | None:
    """Gives a person a new password; returns it when it was generated. Raises CliError."""
    from accounts import actions, selectors

    with _told_as_cli_errors():
        user = selectors.user_get(username)
        return actions.user_set_password(actor=actor, user=user, password=password)


def sign_in_unlock(*, actor: Any, username: str, address: str) -> int:
    """Ends locks of a name; returns how many wrong passwords were forgotten. Raises CliError."""
    from accounts import actions

    with _told_as_cli_errors():
        return actions.sign_in_unlock(actor=actor, username=username, address=address)


@contextmanager
def _told_as_cli_errors() -> Iterator[None]:
    from common.errors import NotFound, RecallError

    try:
        yield
    except RecallError as error:
        code = EXIT_NOT_FOUND if isinstance(error, NotFound) else EXIT_FAILED
        raise CliError(error.message, field=error.field, reason=error.reason, exit_code=code) from error
