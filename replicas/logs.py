"""Logs of the host and of the agent: JSON lines on stderr, which the starter puts into a file."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import structlog

KEPT_SUFFIX = ".1"


def configure_logs(**bound: Any) -> structlog.stdlib.BoundLogger:
    """Make every log line JSON with `bound` in it."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**bound)
    logging.basicConfig(handlers=[_AsJson()], level=logging.WARNING, force=True)
    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    return log


class _AsJson(logging.Handler):
    """What libraries, and engines, log by the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def cap_log(path: Path, bytes_max: int) -> None:
    """Keep the newest `bytes_max` bytes beside the log and begin it again, once it is longer than that.

    The writer holds the file open for appending, so it is emptied and not renamed. A line written in between is lost.
    """
    if not path.exists() or path.stat().st_size <= bytes_max:
        return
    with path.open("r+b") as file:
        file.seek(-bytes_max, 2)
        path.with_name(path.name + KEPT_SUFFIX).write_bytes(file.read(bytes_max))
        file.truncate(0)
