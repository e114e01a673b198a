"""Instances as one errand meets them, which asks many for something and has not long for it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from engines.errors import EngineUnavailable
from engines.milvus.connection import Instance, instance

# Whoever sends the errand gives it 25 s, the library being imported, and hears nothing of one that takes longer.
# Connecting to an instance that is silent takes 5 s.
MEETING_SECONDS_MAX: Final = 15.0

ThingT = TypeVar("ThingT")


class Reachable:
    """Asks an instance that was away no second time, so that a silent one costs its time limit once; and where several
    are silent, none that it has not met within MEETING_SECONDS_MAX, so that what was done for others is told."""

    def __init__(self) -> None:
        self._meets_until = time.monotonic() + MEETING_SECONDS_MAX
        self._met: set[str] = set()
        self._away: dict[str, EngineUnavailable] = {}

    @contextmanager
    def at(self, name: str) -> Iterator[Instance]:
        """Raises EngineUnavailable."""
        if (away := self._away.get(name)) is not None:
            raise away
        if name not in self._met and time.monotonic() > self._meets_until:
            raise EngineUnavailable(f"the instance {name} was not asked this time: others were silent for too long")
        self._met.add(name)
        try:
            yield instance(name)
        except EngineUnavailable as error:
            self._away[name] = error
            raise


def in_any_order(things: Iterable[ThingT]) -> list[ThingT]:
    """Another one for each errand, so that no instance is always met after those that are silent."""
    ordered = list(things)
    random.shuffle(ordered)
    return ordered
