"""recall admin, tenant, member, key: teams, people, machines' credentials.

On the platform's own machine, without a key, these act as an administrator through the database.
"""

from __future__ import annotations

import getpass
import sys
from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.connection import connect
from cli.errors import EXIT_DENIED, EXIT_USAGE, CliError
from cli.options import Tenant
from cli.output import Json, moment, pairs, remark, show, table

QUOTA_FIELDS = ("services_max", "items_max", "memory_bytes_max", "qps_max", "builds_at_once_max")

admin_app = typer.Typer(help="Platform administrators (on the platform's machine).", no_args_is_help=True)
tenant_app = typer.Typer(help="Business teams and their quotas.", no_args_is_help=True)
member_app = typer.Typer(help="People of a tenant: viewer, operator, owner.", no_args_is_help=True)
key_app = typer.Typer(help="Credentials of machines: read, write, manage.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The tenant's name: lower case, digits, hyphens.")]
Username = Annotated[str, typer.Argument(metavar="USER", help="The person's user name.")]
Role = Annotated[str, typer.Option(help="viewer, operator or owner.")]
Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="The key's public part: rk_<prefix>_...")]
PasswordFromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]
Limit = Annotated[int | None, typer.Option(min=0)]


@admin_app.command(name="create")
def admin_create(
    username: Annotated[str, typer.Option(help="The user name.")] = "admin",
    generate: Annotated[bool, typer.Option("--generate", help="Make up a password and print it once.")] = False,
    password_stdin: PasswordFromStdin = False,
    as_json: Json = False,
) -> None:
    """Make a platform administrator. The password is asked, read from stdin, or generated; there is no default.

    A generated one opens nothing but the page on which it is changed.
    """
    _require_local()
    password = None if generate else _password(password_stdin)
    from cli.local import local_actor, user_create

    generated = user_create(actor=local_actor(), username=username, password=password, admin=True)
    made = {"username": username, "password": generated}
    show(made, as_json=as_json, human=lambda: pairs(made.items()))


@admin_app.command(name="password")
def admin_password(
    username: Username,
    generate: Annotated[bool, typer.Option("--generate", help="Make up a password and print it once.")] = False,
    password_stdin: PasswordFromStdin = False,
    as_json: Json = False,
) -> None:
    """Give a person who forgot it a new password. They must change it at the next sign-in; their sessions end."""
    _require_local()
    password = None if generate else _password(password_stdin)
    from cli.local import local_actor, user_set_password

    generated = user_set_password(actor=local_actor(), username=username, password=password)
    made = {"username": username, "password": generated}
    show(made, as_json=as_json, human=lambda: pairs(made.items()))


@admin_app.command(name="unlock")
def admin_unlock(
    username: Username,
    address: Annotated[str, typer.Option(help="Only for this IP address. Without it: for every address.")] = "",
    as_json: Json = False,
) -> None:
    """End the lock that too many wrong passwords put on a user name."""
    _require_local()
    from cli.local import local_actor, sign_in_unlock

    forgotten = sign_in_unlock(actor=local_actor(), username=username, address=address)
    done = {"username": username, "address": address or "every address", "wrong_passwords_forgotten": forgotten}
    show(done, as_json=as_json, human=lambda: pairs(done.items()))


@tenant_app.command()
def create(
    name: Name,
    title: Annotated[str, typer.Option(help="A longer name, for people.")] = "",
    owner: Annotated[str, typer.Option(help="An existing person who becomes its first owner.")] = "",
    as_json: Json = False,
) -> None:
    """Make a tenant with the default quota."""
    api = open_api()
    made = api.post("/tenants", {"name": name, "title": title})
    if owner:
        api.post(f"/tenants/{name}/members", {"username": owner, "role": "owner"})
    show(made, as_json=as_json, human=lambda: pairs(made.items()))


@tenant_app.command(name="list")
def list_tenants(as_json: Json = False) -> None:
    """The tenants that you can see."""
    found = list(open_api().pages("/tenants", "tenants"))
    rows = [(one["name"], one["title"], moment(one["created_at"])) for one in found]
    show(found, as_json=as_json, human=lambda: table(("tenant", "title", "made"), rows, empty="No tenants yet."))


@tenant_app.command()
def quota(
    name: Name,
    services_max: Limit = None,
    items_max: Limit = None,
    memory_bytes_max: Limit = None,
    qps_max: Limit = None,
    builds_at_once_max: Limit = None,
    as_json: Json = False,
) -> None:
    """Show a tenant's quota; with options, change it (administrators)."""
    given = (services_max, items_max, memory_bytes_max, qps_max, builds_at_once_max)
    limits = {field: value for field, value in zip(QUOTA_FIELDS, given, strict=True) if value is not None}
    api, path = open_api(), f"/tenants/{name}/quota"
    found = api.patch(path, limits) if limits else api.get(path)
    show(found, as_json=as_json, human=lambda: pairs(found.items()))


@member_app.command()
def add(
    username: Username,
    role: Role = "viewer",
    new: Annotated[bool, typer.Option("--new", help="The person is new here; a password is set.")] = False,
    generate: Annotated[bool, typer.Option("--generate", help="Make the new password up and print it once.")] = False,
    password_stdin: PasswordFromStdin = False,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Take a person into a tenant; with --new the person is made, and must change the password at the first sign-in."""
    api = open_api()
    password = _new_password(generate, password_stdin) if new else None
    body = {"username": username, "role": role, "password": password}
    made = api.post(f"/tenants/{api.tenant(tenant)}/members", body)
    if new and generate:
        made["password"] = password
    show(made, as_json=as_json, human=lambda: pairs(made.items()))


@member_app.command()
def role(
    username: Username,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="viewer, operator or owner.")],
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Change a person's role."""
    api = open_api()
    changed = api.patch(f"/tenants/{api.tenant(tenant)}/members/{username}", {"role": role})
    show(changed, as_json=as_json, human=lambda: pairs(changed.items()))


@member_app.command()
def remove(username: Username, tenant: Tenant = "") -> None:
    """Let a person go."""
    api = open_api()
    api.delete(f"/tenants/{api.tenant(tenant)}/members/{username}")


@member_app.command(name="list")
def list_members(tenant: Tenant = "", as_json: Json = False) -> None:
    """The people of a tenant."""
    api = open_api()
    found = list(api.pages(f"/tenants/{api.tenant(tenant)}/members", "members"))
    rows = [(one["username"], one["role"], moment(one["created_at"])) for one in found]
    show(found, as_json=as_json, human=lambda: table(("user", "role", "since"), rows, empty="No members yet."))


@key_app.command(name="create")
def key_create(
    service: Annotated[str, typer.Argument(metavar="[SERVICE]", help="Without it: every service.")] = "",
    scope: Annotated[str, typer.Option(help="read, write or manage; each includes those before it.")] = "read",
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires_at: Annotated[str | None, typer.Option(help="When it ends, for example 2027-01-31T00:00:00Z.")] = None,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Make a key; it is shown this once."""
    api = open_api()
    owner, slash, service_name = service.rpartition("/")
    body = {"scope": scope, "service": service_name, "name": name, "expires_at": expires_at}
    made = api.post(f"/tenants/{api.tenant(owner if slash else tenant)}/keys", body)
    show(made, as_json=as_json, human=lambda: _tell_new_key(made))


@key_app.command(name="list")
def list_keys(tenant: Tenant = "", as_json: Json = False) -> None:
    """The keys of a tenant, newest first; ended ones too. `last used` is right to the minute."""
    api = open_api()
    found = list(api.pages(f"/tenants/{api.tenant(tenant)}/keys", "keys"))
    rows = [
        (
            one["prefix"],
            one["scope"],
            one["service"] or "every service",
            one["name"],
            "revoked" if one["revoked_at"] else "",
            moment(one["expires_at"]),
            moment(one["last_used_at"]),
            one["created_by"],
        )
        for one in found
    ]
    columns = ("prefix", "scope", "for", "name", "", "expires", "last used", "made by")
    show(found, as_json=as_json, human=lambda: table(columns, rows, empty="No keys yet."))


@key_app.command()
def rotate(
    prefix: Prefix,
    overlap_seconds: Annotated[int, typer.Option(help="How long the old key still works.", min=0)] = 3600,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Replace a key by a new one; the old one works a while longer."""
    api = open_api()
    made = api.post(f"/tenants/{api.tenant(tenant)}/keys/{prefix}:rotate", {"overlap_seconds": overlap_seconds})
    show(made, as_json=as_json, human=lambda: _tell_new_key(made))


@key_app.command()
def revoke(prefix: Prefix, tenant: Tenant = "", as_json: Json = False) -> None:
    """End a key for good; it dies everywhere within five seconds."""
    api = open_api()
    ended = api.post(f"/tenants/{api.tenant(tenant)}/keys/{prefix}:revoke")
    show(ended, as_json=as_json, human=lambda: pairs([("prefix", prefix), ("revoked", ended["revoked_at"])]))


def _tell_new_key(made: dict[str, Any]) -> None:
    pairs([("key", made["key"]), ("scope", made["scope"]), ("for", made["service"] or "every service")])
    remark("This is the only time that the key is shown.")


def _require_local() -> None:
    if not connect().is_local():
        remedy = "Run it there with RECALL_HOME set and RECALL_API_KEY not set, after a first `recall up`."
        raise CliError("This works only on the platform's machine.", remedy=remedy, exit_code=EXIT_DENIED)


def _new_password(generate: bool, from_stdin: bool) -> str:
    import secrets

    return secrets.token_urlsafe(18) if generate else _password(from_stdin)


def _password(from_stdin: bool) -> str:
    """Read from stdin, or asked twice on a terminal."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        remedy = "Give --generate or --password-stdin."
        raise CliError("There is no terminal to ask for a password.", remedy=remedy, exit_code=EXIT_USAGE)
    first = getpass.getpass("Password: ")
    if first != getpass.getpass("Again: "):
        raise CliError("The two passwords differ.", field="password", exit_code=EXIT_USAGE)
    return first
