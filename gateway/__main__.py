"""`python -m gateway`: one process that serves, or a parent of several that share the port."""

from __future__ import annotations

import argparse
import sys

import structlog
from pydantic import ValidationError

from gateway.settings import Settings, SettingsError
from gateway.workers import keep_to_a_core, supervise


def main() -> int:
    arguments = _arguments()
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=sys.stderr), processors=_log_processors())
    try:
        settings = Settings()
        if settings.gateway_workers > 1 and arguments.worker is None:
            return supervise(settings)
        return _serve(settings, arguments.worker or 0)
    except (SettingsError, ValidationError) as error:
        sys.stderr.write(f"gateway: {error}\n")
        return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gateway", description="Serves recallpb.v1.RecallService.")
    parser.add_argument("--worker", type=int, default=None, help="number of this worker; given by the parent process")
    return parser.parse_args()


def _serve(settings: Settings, worker: int) -> int:
    # Before grpc is imported, so that each of its threads is born there.
    keep_to_a_core(worker, settings.gateway_pin)
    import uvloop

    from gateway.server import serve

    # Whoever started it starts it again when it broke, and not when it was told to stop.
    return 0 if uvloop.run(serve(settings, worker)) else 1


def _log_processors() -> list[structlog.typing.Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]


if __name__ == "__main__":
    sys.exit(main())
