"""The `recall` program. Commands stand in cli/commands; what is heavy is imported inside them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import typer

from cli.commands import alerts, audit, bench, builds, demo, platform, query, services, tenants, traffic, versions
from cli.errors import ERROR_PREFIX, EXIT_FAILED, CliError
from cli.output import Json

EPILOG = (
    "Exit codes: 0 done · 1 it failed · 2 wrong usage or input · 3 the platform is not running or not reachable · "
    "4 the key does not permit it · 5 no such thing (or not yours) · 6 a build ended otherwise than well."
)
HERE = "On this machine"

app = typer.Typer(
    name="recall",
    help="Vector recall as a service: register a schema and a model path, get an online service with rollback.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _before_the_command(as_json: Json = False) -> None:
    """What may stand before a command; each option that knows of it looks here."""


# In the order of the help.
COMMANDS: tuple[tuple[str, tuple[Callable[..., None], ...]], ...] = (
    (HERE, (demo.demo, platform.up, platform.down, platform.status)),
    ("Builds", (builds.build, builds.builds, builds.cancel, builds.retry, builds.override)),
    ("Versions", (versions.versions, versions.compare, versions.replicas, versions.activate, versions.rollback)),
    ("Asking", (query.query, bench.bench)),
    ("What happened", (traffic.traffic, audit.audit)),
)
GROUPS: tuple[tuple[str, str, typer.Typer], ...] = (
    (HERE, "admin", tenants.admin_app),
    ("Services", "service", services.service_app),
    ("Services", "source", services.source_app),
    ("What happened", "alerts", alerts.alerts_app),
    ("Teams, people, keys", "tenant", tenants.tenant_app),
    ("Teams, people, keys", "member", tenants.member_app),
    ("Teams, people, keys", "key", tenants.key_app),
)
for panel, commands in COMMANDS:
    for command in commands:
        app.command(rich_help_panel=panel)(command)
for panel, name, group in GROUPS:
    app.add_typer(group, name=name, rich_help_panel=panel)


def main() -> None:
    """Runs the program; an error ends it with one line on stderr and its exit code."""
    try:
        app()
    except CliError as error:
        _tell(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.stderr.close()
        sys.exit(EXIT_FAILED)


def _tell(error: CliError) -> None:
    if "--json" in sys.argv:
        body = {"message": error.message, "reason": error.reason, "field": error.field, "remedy": error.remedy}
        print(json.dumps({"error": body}))
    if error.appendix:
        print(error.appendix, file=sys.stderr)
    print(f"{ERROR_PREFIX}{error.line()}", file=sys.stderr)


if __name__ == "__main__":
    main()
