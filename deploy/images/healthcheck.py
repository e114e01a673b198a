"""Is this container's process well? Exits 0 or prints why not. `healthcheck.py console|gateway|agent|worker`."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Callable

TIMEOUT_SECONDS = 3


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


def worker() -> str:
    """Whether the broker answers. A worker that dies ends its container, and needs no one to notice."""
    import redis

    client = redis.Redis.from_url(os.environ["RECALL_REDIS_URL"], socket_timeout=TIMEOUT_SECONDS)
    return "" if client.ping() else "the broker does not answer"


CHECKS: dict[str, Callable[[], str]] = {
    "console": console,
    "gateway": gateway,
    "agent": agent,
    "worker": worker,
}

if __name__ == "__main__":
    trouble = CHECKS[sys.argv[1]]()
    if trouble:
        sys.exit(trouble)
