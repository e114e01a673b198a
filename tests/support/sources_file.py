"""The file of RECALL_SOURCES_FILE for a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Place = Mapping[str, Any]


def write_sources(path: Path, places: Mapping[str, Mapping[str, Sequence[Place]]]) -> Path:
    """`places`: tenant -> protocol -> places. Private, as it must be."""
    lines: list[str] = []
    for tenant, protocols in places.items():
        for protocol, tables in protocols.items():
            for table in tables:
                lines += [
                    f"[[tenants.{tenant}.{protocol}]]",
                    *(f"{name} = {_toml(value)}" for name, value in table.items()),
                ]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(each) for each in value)}]"
    return f'"{value}"'
