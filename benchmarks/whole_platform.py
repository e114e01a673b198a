"""A whole platform for a benchmark: what `recall up` starts, gone again afterwards whatever ends the benchmark."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from tests.e2e.platform import Platform

TENANT = "bench"


@contextlib.contextmanager
def whole_platform(**environment: str) -> Iterator[Platform]:
    """In a RECALL_HOME of its own, with tenant `bench`; `environment` goes before the defaults."""
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory(prefix="recall-bench-", dir="/tmp") as name:
        platform = Platform(Path(name), **environment)
        try:
            platform.up()
            platform.as_owner(TENANT)
            yield platform
        finally:
            platform.down()


def _end(number: int, _frame: FrameType | None) -> None:
    """Without this the processes of the platform would outlive a benchmark that is told to end."""
    sys.exit(128 + number)
