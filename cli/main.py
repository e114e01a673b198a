"""The `recall` program. Commands stand in cli/commands; what is heavy is imported inside them."""

from __future__ import annotations

import json
import sys

import typer

from cli.commands import platform
from cli.errors import EXIT_FAILED, CliError

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
app.command(rich_help_panel=HERE)(platform.up)
app.command(rich_help_panel=HERE)(platform.down)
app.command(rich_help_panel=HERE)(platform.status)


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
    print(f"recall: {error.line()}", file=sys.stderr)


if __name__ == "__main__":
    main()
