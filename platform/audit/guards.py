"""Triggers that refuse to change or delete an audit event, whatever program asks.

They go with the table. A later migration that makes SQLite rebuild it (any change of a column does) must install them
again. Tests, which empty their tables, remove them first.
"""

from __future__ import annotations

from typing import Any

TABLE = "audit_auditevent"
REFUSAL = "audit events are append-only"

SQLITE_INSTALL = tuple(
    f"CREATE TRIGGER audit_event_no_{verb.lower()} BEFORE {verb} ON {TABLE} BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    for verb in ("UPDATE", "DELETE")
)
SQLITE_REMOVE = tuple(f"DROP TRIGGER IF EXISTS audit_event_no_{verb}" for verb in ("update", "delete"))

POSTGRES_INSTALL = (
    "CREATE OR REPLACE FUNCTION audit_event_refuse() RETURNS trigger LANGUAGE plpgsql "
    f"AS $$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$",
    f"CREATE TRIGGER audit_event_no_change BEFORE UPDATE OR DELETE ON {TABLE} "
    "FOR EACH ROW EXECUTE FUNCTION audit_event_refuse()",
    f"CREATE TRIGGER audit_event_no_truncate BEFORE TRUNCATE ON {TABLE} "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_event_refuse()",
)
POSTGRES_REMOVE = (
    f"DROP TRIGGER IF EXISTS audit_event_no_change ON {TABLE}",
    f"DROP TRIGGER IF EXISTS audit_event_no_truncate ON {TABLE}",
)


def install(connection: Any) -> None:
    """Raises KeyError for a database that the platform does not run on."""
    _run(connection, {"sqlite": SQLITE_INSTALL, "postgresql": POSTGRES_INSTALL}[connection.vendor])


def remove(connection: Any) -> None:
    _run(connection, {"sqlite": SQLITE_REMOVE, "postgresql": POSTGRES_REMOVE}[connection.vendor])


def _run(connection: Any, statements: tuple[str, ...]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
