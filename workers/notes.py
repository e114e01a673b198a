"""What an errand of the sweeper has told last, noted in a file of this machine. Is it lost, it is told once more."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings

log = logging.getLogger(__name__)


def read(name: str) -> dict[str, str]:
    try:
        told: dict[str, str] = json.loads(_file(name).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        log.warning("%s is damaged: everything is told again.", _file(name))
        return {}
    return told


def write(name: str, told: Mapping[str, str]) -> None:
    """Whole or not at all."""
    new = _file(name).with_suffix(".new")
    new.parent.mkdir(parents=True, exist_ok=True)
    new.write_text(json.dumps(told, indent=1, sort_keys=True))
    new.replace(_file(name))


def _file(name: str) -> Path:
    return settings.RECALL_HOME / "run" / name
