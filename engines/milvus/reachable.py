"""Instances as one errand meets them, which asks many for something and has not long for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engines.errors import EngineUnavailable
from engines.milvus.connection import Instance, instance


class Reachable:
    """Asks an instance that was away no second time, so that a silent one costs its time limit once."""

    def __init__(self) -> None:
        self._away: dict[str, EngineUnavailable] = {}

    @contextmanager
    def at(self, name: str) -> Iterator[Instance]:
        """Raises EngineUnavailable."""
        if (away := self._away.get(name)) is not None:
            raise away
        try:
            yield instance(name)
        except EngineUnavailable as error:
            self._away[name] = error
            raise
