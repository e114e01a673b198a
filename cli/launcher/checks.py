"""Whether a process does its work by now. Each check is one attempt, takes a second at most, and says yes or no."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

CHECK_SECONDS_MAX = 1.0
# A worker answers a ping as soon as its pool stands.
PING_SECONDS = 0.7


def valkey_answers(redis_url: str) -> bool:
    import redis

    client = redis.Redis.from_url(redis_url, socket_timeout=CHECK_SECONDS_MAX, socket_connect_timeout=CHECK_SECONDS_MAX)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def console_answers(url: str) -> bool:
    """True when it answers over HTTP at all; what it says of its parts is not its own readiness."""
    try:
        with urllib.request.urlopen(f"{url}/api/v1/health", timeout=CHECK_SECONDS_MAX):  # noqa: S310  (http, ours)
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500 or error.code == 503
    except OSError:
        return False


def gateway_serves(address: str) -> bool:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=CHECK_SECONDS_MAX
            )
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def agent_reports(redis_url: str, node: str, pid: int) -> bool:
    import redis

    from documents.store import DocumentWriter

    client = redis.Redis.from_url(redis_url, socket_timeout=CHECK_SECONDS_MAX, socket_connect_timeout=CHECK_SECONDS_MAX)
    try:
        report = DocumentWriter(client).node_reports([node]).get(node)
    except redis.RedisError:
        return False
    finally:
        client.close()
    return report is not None and report.agent_pid == pid


def worker_answers(redis_url: str, name: str) -> bool:
    """`name`: what stands before the @ of the worker's name."""
    import socket

    from celery import Celery
    from kombu.exceptions import OperationalError

    with Celery(broker=redis_url, set_as_current=False) as app:
        inspect = app.control.inspect(destination=[f"{name}@{socket.gethostname()}"], timeout=PING_SECONDS)
        try:
            return bool(inspect.ping())
        except (OperationalError, OSError):
            return False


def beat_ticks(schedule: Path, pid: int) -> bool:
    """Whether it has left its sign of life (`workers.beat`) since it began.

    When a process began is asked of the kernel's process table: the times of `/proc/PID` are those of an entry in the
    kernel's cache, which is made anew when memory is short.
    """
    import psutil

    try:
        began = psutil.Process(pid).create_time()
        return schedule.with_name(f"{schedule.name}.ticked").stat().st_mtime >= began
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
