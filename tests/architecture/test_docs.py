"""The page of settings and the code name the same settings."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic_settings import BaseSettings

from cli.launcher.settings import LauncherSettings
from gateway.settings import Settings as GatewaySettings
from replicas.settings import AgentSettings, HostSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operating" / "settings.md").read_text()
NAME = re.compile(r"RECALL_[A-Z]+(?:_[A-Z]+)*")
MODELS: tuple[type[BaseSettings], ...] = (GatewaySettings, HostSettings, AgentSettings, LauncherSettings)
READERS = [
    ROOT / "platform" / "config" / "settings.py",
    ROOT / "platform" / "config" / "drain.py",
    ROOT / "failpoints" / "__init__.py",
    ROOT / "engines" / "milvus" / "instances.py",
    *(ROOT / "cli").rglob("*.py"),
]


def test_every_setting_is_on_the_page() -> None:
    missing = sorted(name for name in _settings() if f"`{name}`" not in PAGE and not name.endswith("_FILE"))
    assert missing == []


def test_the_page_names_no_setting_that_nothing_reads() -> None:
    known = _settings()
    unknown = sorted(name for name in set(NAME.findall(PAGE)) if name not in known and not name.endswith("_FILE"))
    assert unknown == []


def _settings() -> set[str]:
    """Fields of the settings models, and what the control plane's settings and the program read by name."""
    fields = {f"RECALL_{name.upper()}" for model in MODELS for name in model.model_fields}
    read = {name for path in READERS for name in re.findall(r'"(RECALL_[A-Z_]+)"', path.read_text())}
    return fields | read
