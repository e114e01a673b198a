"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Tenant = Annotated[str, typer.Option("--tenant", "-t", help="The tenant; not needed when you can see only one.")]
ServiceName = Annotated[str, typer.Argument(metavar="SERVICE", help="A service's name, or tenant/name.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Stands in the audit trail.")]
ReasonNeeded = Annotated[str, typer.Option("--reason", "-r", help="Stands in the audit trail; needed.")]
Anyway = Annotated[bool, typer.Option("--anyway", help="Also to a version that answers nobody just now.")]
# Whether it is there `read_spec` says: typer's own look does not know that - is no file.
SpecFile = Annotated[Path, typer.Option("--file", "-f", help="YAML or JSON; - is stdin.")]
