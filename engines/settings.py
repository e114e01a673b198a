"""Whether what engines read from the environment can be. Imports no library and no description, so that any process can
ask before it does anything else.

An engine with settings of its own has a module `settings` with a function `wrong`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path


def wrong() -> str:
    """What is wrong, with the variable's name, for people; empty when nothing is.

    What is not set is not wrong: who asks for an engine that lacks it is refused.
    """
    for file in sorted(Path(__file__).parent.glob("*/settings.py")):
        found: str = import_module(f"engines.{file.parent.name}.settings").wrong()
        if found:
            return found
    return ""
