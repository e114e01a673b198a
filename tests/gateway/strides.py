"""Long work of the gateway, done without a loop."""

from __future__ import annotations

from typing import TypeVar

from gateway.strides import Strides

Result = TypeVar("Result")


def at_once(work: Strides[Result]) -> Result:
    """What the work returns."""
    try:
        while True:
            next(work)
    except StopIteration as done:
        result: Result = done.value
        return result
