"""Which of a stream are kept, so that at any moment those kept are a uniform sample of all that came.

The rule is Vitter's algorithm R: of the first `size` each is kept, and the t-th of the stream takes the place of one of
them with probability size / t. No number is drawn for each, though: how many are passed over until the next one that is
kept is drawn at once (by the law of his algorithm X), so that one more of the stream costs a comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Kept(NamedTuple):
    """The `place`-th of those that came is kept in `slot`, instead of whatever was there."""

    place: int
    slot: int


NOTHING: tuple[Kept, ...] = ()


class Reservoir:
    """Of a stream of which `seen` have passed already, and `min(seen, size)` are kept. Numbers only; not locked."""

    def __init__(self, size: int, random: np.random.Generator, *, seen: int = 0) -> None:
        self.seen = seen
        self._size = size
        self._random = random
        self._next = self._next_after(seen)

    @property
    def filled(self) -> int:
        return min(self.seen, self._size)

    def take(self, count: int) -> Sequence[Kept]:
        """Which of the next `count` of the stream are kept, in order; a later one may take an earlier one's slot."""
        first, self.seen = self.seen, self.seen + count
        if self._next >= self.seen:
            return NOTHING
        kept = []
        while self._next < self.seen:
            position = self._next
            slot = position if position < self._size else int(self._random.integers(self._size))
            kept.append(Kept(position - first, slot))
            self._next = self._next_after(position + 1)
        return kept

    def _next_after(self, seen: int) -> int:
        """The position, from 0, of the next one that is kept when `seen` have passed.

        Give each of the stream a random key: kept are those with the `size` least. The greatest key among them has this
        beta distribution, whatever was kept before, and each newcomer is below it with just that probability.
        """
        if seen < self._size:
            return seen
        threshold = self._random.beta(self._size, seen - self._size + 1)
        return seen + int(self._random.geometric(threshold)) - 1
