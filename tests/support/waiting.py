"""Waiting for what other processes do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

POLL_SECONDS = 0.02

Found = TypeVar("Found")


async def until(what: Callable[[], Found], seconds_max: float = 30.0) -> Found:
    """What the first true call returned; fails the test after `seconds_max`. The loop goes on meanwhile."""
    last_call_at = time.monotonic() + seconds_max
    for _ in iter(lambda: time.monotonic() < last_call_at, False):
        found = what()
        if found:
            return found
        await asyncio.sleep(POLL_SECONDS)
    raise AssertionError(f"nothing happened within {seconds_max:g} s")
