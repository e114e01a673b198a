"""The demo's service as a team would write it, and the team that it belongs to when nobody has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

TENANT, TITLE, SERVICE = "demo", "Demo", "fashion"
SPEC = Path(__file__).with_name("fashion.yaml")


def spec() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(SPEC.read_text())
    return read
