"""Is this container's process well? Exits 0 or prints why not.

healthcheck.py console|gateway|agent
healthcheck.py worker NAME       as in the worker's `-n NAME@%h`
healthcheck.py beat FILE         its schedule, beside which it leaves a sign of life
"""

from __future__ import annotations

import os
import socket
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

TIMEOUT_SECONDS = 3
# Twelve times what lies between two signs (SIGN_SECONDS of workers.beat).
BEAT_SILENT_SECONDS_MAX = 60


def console() -> str:
    port = os.environ.get("RECALL_CONSOLE_PORT", "8000")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/health", timeout=TIMEOUT_SECONDS) as answer:
        return "" if answer.status == 200 else f"the console answers {answer.status}"


def gateway() -> str:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"127.0.0.1:{os.environ.get('RECALL_GATEWAY_PORT', '50051')}") as channel:
        request = health_pb2.HealthCheckRequest(service="")
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_SECONDS)
    return "" if answer.status == health_pb2.HealthCheckResponse.SERVING else "the gateway is not serving"


def agent() -> str:
    import redis

    client = redis.Redis.from_url(os.environ["RECALL_REDIS_URL"], socket_timeout=TIMEOUT_SECONDS)
    node = os.environ.get("RECALL_NODE", "local")
    return "" if client.exists(f"recall:node:{node}") else f"no fresh report of node {node}"


def worker(name: str) -> str:
    """Whether this very worker answers over the broker: it lives, is connected, and takes messages."""
    from celery import Celery

    node = f"{name}@{socket.gethostname()}"
    with Celery(broker=os.environ["RECALL_REDIS_URL"], set_as_current=False) as app:
        return "" if app.control.inspect(destination=[node], timeout=TIMEOUT_SECONDS).ping() else f"{node} is silent"


def beat(schedule: str) -> str:
    sign = Path(f"{schedule}.ticked")
    silent = time.time() - (sign.stat().st_mtime if sign.exists() else 0)
    return "" if silent <= BEAT_SILENT_SECONDS_MAX else f"beat has not ticked for {silent:.0f} s"


CHECKS: dict[str, Callable[..., str]] = {
    "console": console,
    "gateway": gateway,
    "agent": agent,
    "worker": worker,
    "beat": beat,
}

if __name__ == "__main__":
    trouble = CHECKS[sys.argv[1]](*sys.argv[2:])
    if trouble:
        sys.exit(trouble)
