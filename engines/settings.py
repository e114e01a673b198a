"""What engines read from the environment: whether it can be, and which servers it names. Imports no library and no
description, so that any process can ask before it does anything else.

An engine with settings of its own has a module `settings` with the functions `wrong` and `servers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType


def wrong() -> str:
    """What is wrong, with the variable's name, for people; empty when nothing is.

    What is not set is not wrong: who asks for an engine that lacks it is refused.
    """
    for _, settings in _of_engines():
        found: str = settings.wrong()
        if found:
            return found
    return ""


def servers() -> list[tuple[str, str, str]]:
    """The servers that engines may keep indexes at: the engine, the server's name, where it is; no secrets in it.

    None of an engine whose settings are wrong, because that says `wrong`.
    """
    return [(engine, name, place) for engine, settings in _of_engines() for name, place in settings.servers()]


def _of_engines() -> Iterator[tuple[str, ModuleType]]:
    for file in sorted(Path(__file__).parent.glob("*/settings.py")):
        engine = file.parent.name
        yield engine, import_module(f"engines.{engine}.settings")
