"""`python -m gateway` as a process: its notes, health, reflection, metrics, and how it stops."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import grpc
import httpx
import psutil
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.settings import Settings
from gateway.workers import PIN_CORES_MAX, core_of, keep_to_a_core
from tests.gateway.harness import BOOKS, FILMS, Harness, Refused, query, refusal, route
from tests.gateway.load import steady_load
from tests.support.exact_replica import ExactReplica
from tests.support.valkey import free_port

pytestmark = pytest.mark.servers

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LANES_AT_REST = [
    f'{name}_queries{{lane="{lane}"}} 0.0' for name in ("queued", "in_flight") for lane in ("quick", "costly")
]


async def health(harness: Harness, service: str = "") -> Any:
    stub = health_pb2_grpc.HealthStub(harness.caller().channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def metrics(harness: Harness) -> str:
    async with httpx.AsyncClient() as client:
        port = harness.run_file()["metrics_port"]
        return (await client.get(f"http://127.0.0.1:{port}/metrics")).text


async def test_health_speaks_for_the_gateway_and_for_each_service(films: Harness) -> None:
    films.publish(route(name=BOOKS))
    gateway = films.gateway
    assert gateway
    await films.until(lambda: gateway.routes.find(BOOKS))
    assert await health(films) == SERVING
    assert await health(films, FILMS) == SERVING
    assert await health(films, BOOKS) == NOT_SERVING
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await health(films, "tenants/films/services/nothing")
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_names_the_service_and_may_be_switched_off(harness: Harness, replica: ExactReplica) -> None:
    assert "recallpb.v1.RecallService" in await _reflected(harness)
    await harness.stop()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _reflected(harness, gateway_reflection=False)
    # grpc's own answer to a streamed call of an unknown method: 15 of 7,217 from a bare grpc.aio server were INTERNAL.
    assert refused.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL)


async def _reflected(harness: Harness, **settings: Any) -> set[str]:
    await harness.start(**settings)
    stub = reflection_pb2_grpc.ServerReflectionStub(harness.caller().channel)
    replies = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    async for reply in replies:
        return {service.name for service in reply.list_services_response.service}
    return set()


async def test_metrics_count_calls_by_service_and_code_and_no_strangers_words(films: Harness) -> None:
    alice = films.caller()
    await alice.recall()
    await refusal(alice.recall(query(top_k=0)))
    await refusal(alice.recall(query("tenants/typed/services/by-a-stranger")))
    await refusal(films.caller("").recall(query("tenants/typed/services/by-a-stranger")))
    text = await metrics(films)
    name = "recall_gateway_requests_total"
    assert f'{name}{{code="OK",rpc="Recall",service="{FILMS}"}} 1.0' in text
    assert f'{name}{{code="INVALID_ARGUMENT",rpc="Recall",service="{FILMS}"}} 1.0' in text
    assert f'{name}{{code="PERMISSION_DENIED",rpc="Recall",service=""}} 1.0' in text
    assert f'{name}{{code="UNAUTHENTICATED",rpc="Recall",service=""}} 1.0' in text
    assert "stranger" not in text
    assert f'recall_gateway_request_seconds_bucket{{le="+Inf",rpc="Recall",service="{FILMS}"}} 2.0' in text
    assert 'recall_gateway_batch_queries_bucket{lane="quick",le="1.0"} 1.0' in text
    assert f'recall_gateway_calls_in_flight{{service="{FILMS}"}} 0.0' in text
    assert f'recall_gateway_route_age_seconds{{service="{FILMS}"}}' in text
    for gauge in (*LANES_AT_REST, "gateways 1.0", "stale_seconds"):
        assert f"recall_gateway_{gauge}" in text


async def test_metrics_forget_a_service_that_is_gone(films: Harness) -> None:
    await films.caller().recall()
    films.publish(route(tombstone=True))
    gateway = films.gateway
    assert gateway
    await films.until(lambda: gateway.routes.find(FILMS) is None)
    assert FILMS not in await metrics(films)


async def test_it_writes_where_it_is_and_takes_the_note_away(harness: Harness, replica: ExactReplica) -> None:
    process = await harness.start_process()
    note = harness.run_file()
    assert note == {
        "gateway": f"local-{harness.port}-0",
        "pid": process.pid,
        "address": f"127.0.0.1:{harness.port}",
        "metrics_port": note["metrics_port"],
    }
    listening = {
        connection.laddr.ip
        for connection in psutil.Process(process.pid).net_connections()
        if connection.status == "LISTEN"
    }
    # gRPC binds the same address through the other family too.
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert listening
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 15) == 0
    assert list((harness.home / "run").iterdir()) == []


async def test_sigterm_says_not_serving_then_lets_calls_end(harness: Harness, replica: ExactReplica) -> None:
    process = await harness.start_process(gateway_drain_notice_seconds=0.5, gateway_drain_seconds=10)
    alice = harness.caller()
    assert (await alice.recall()).version == 1
    replica.delay_seconds = 1.0
    under_way = asyncio.create_task(alice.recall())
    await harness.until(lambda: sum(replica.batches) == 2)
    process.send_signal(signal.SIGTERM)
    watch = health_pb2_grpc.HealthStub(alice.channel).Watch(health_pb2.HealthCheckRequest())
    async for reply in watch:
        if reply.status == NOT_SERVING:
            break
    watch.cancel()
    assert (await under_way).version == 1
    assert await asyncio.to_thread(process.wait, 15) == 0
    refused = await refusal(alice.recall())
    assert refused.code is grpc.StatusCode.UNAVAILABLE


async def test_a_killed_gateway_starts_again_without_redis_and_takes_its_lease_up_again(
    harness: Harness, replica: ExactReplica
) -> None:
    port = free_port()
    process = await harness.start_process(gateway_port=port)
    await harness.until(lambda: (harness.home / "gateway" / "routes.snapshot").exists())
    await harness.until(harness.lease)
    process.kill()
    process.wait()
    harness.valkey.kill()
    await harness.start_process(gateway_port=port)
    assert (await harness.caller().recall()).version == 1
    harness.valkey.start()
    await harness.until(harness.lease)
    lease = harness.lease()
    assert lease
    assert lease.gateway == f"local-{port}-0"
    assert set(lease.serving) == {"films/movies"}


async def test_a_successor_takes_port_and_lease_while_the_last_calls_end(
    harness: Harness, replica: ExactReplica
) -> None:
    ports = {"gateway_port": free_port(), "metrics_port": free_port()}
    first = await harness.start_process(**ports, gateway_drain_seconds=10)
    replica.delay_seconds = 6.0
    under_way = asyncio.create_task(harness.caller().recall())
    await harness.until(lambda: sum(replica.batches) == 1)
    first.send_signal(signal.SIGTERM)
    await harness.until(lambda: not _is_listening(harness.port))

    second = await harness.start_process(**ports)

    assert first.poll() is None
    assert (await under_way).version == 1
    assert await asyncio.to_thread(first.wait, 15) == 0
    replica.delay_seconds = 0.0
    assert (await harness.caller().recall()).version == 1
    assert harness.run_file()["pid"] == second.pid
    assert "recall_gateway" in await metrics(harness)
    lease = harness.lease()
    assert lease
    assert lease.gateway == f"local-{harness.port}-0"


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_several_workers_share_the_port_and_a_killed_one_comes_back(
    harness: Harness, replica: ExactReplica
) -> None:
    parent = await harness.start_process(gateway_port=free_port(), gateway_workers=2)
    workers = psutil.Process(parent.pid).children()
    await harness.until(lambda: len(_run_files(harness)) == 2)
    async with steady_load(harness) as load:
        await harness.until(lambda: len(load.answers) > 200)
    assert {child.is_running() for child in workers} == {True}
    workers[0].kill()
    await harness.until(lambda: len(psutil.Process(parent.pid).children()) == 2 and not workers[0].is_running())
    parent.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(parent.wait, 20) == 0
    assert not any(child.is_running() for child in workers)


def _run_files(harness: Harness) -> list[str]:
    return [entry.name for entry in (harness.home / "run").glob("gateway-?.json")]


async def test_workers_die_with_their_parent(harness: Harness, replica: ExactReplica) -> None:
    parent = await harness.start_process(gateway_port=free_port(), gateway_workers=2)
    workers = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    await harness.until(lambda: not any(worker.is_running() for worker in workers))


async def test_a_port_that_is_taken_is_said_in_one_line(harness: Harness, replica: ExactReplica) -> None:
    await harness.start()
    result = await _run(harness, RECALL_GATEWAY_PORT=str(harness.port))
    assert result.returncode == 2
    assert "is RECALL_GATEWAY_PORT taken?" in result.stderr
    assert "Traceback" not in result.stderr


async def test_who_ends_because_a_loop_broke_says_so_by_its_exit_code(harness: Harness) -> None:
    script = (
        "import sys, gateway.revocations as revocations\n"
        "async def broken(self): raise ZeroDivisionError\n"
        "revocations.RevocationFeed.run = broken\n"
        "from gateway.__main__ import main\n"
        "sys.exit(main())"
    )
    result = await _run(harness, "-c", script, RECALL_GATEWAY_PORT=str(free_port()))
    assert result.returncode == 1
    assert "gateway.loop_broke" in result.stderr


async def test_a_missing_secret_is_said_in_one_line(harness: Harness) -> None:
    result = await _run(harness, without=("RECALL_KEY_PEPPER",))
    assert result.returncode == 2
    assert "set RECALL_KEY_PEPPER or RECALL_KEY_PEPPER_FILE" in result.stderr
    assert "Traceback" not in result.stderr


async def test_a_secret_may_come_from_a_file(harness: Harness, replica: ExactReplica) -> None:
    file = harness.home / "pepper"
    file.write_text("pepper-of-the-tests\n")
    await harness.start(key_pepper=None, key_pepper_file=file)
    assert (await harness.caller().recall()).version == 1


async def _run(
    harness: Harness, *arguments: str, without: tuple[str, ...] = (), **changes: str
) -> subprocess.CompletedProcess[str]:
    """The gateway, or Python with other `arguments`."""
    given = {f"RECALL_{name.upper()}": str(value) for name, value in harness.environment().items()}
    environment = {name: value for name, value in (os.environ | given | changes).items() if name not in without}
    command = [sys.executable, *(arguments or ("-m", "gateway"))]
    return await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=30, check=False
    )


async def test_the_gateway_imports_no_control_plane_no_engine_and_no_numpy() -> None:
    script = "import sys, gateway.server, gateway.workers; print(*sorted(sys.modules))"
    result = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert not loaded & {"django", "celery", "rest_framework", "engines", "bundles", "replicas", "numpy", "hnswlib"}


async def test_the_parent_of_workers_never_imports_grpc() -> None:
    script = "import sys, gateway.__main__, gateway.workers; print('grpc' in sys.modules)"
    result = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


async def test_a_call_after_the_stop_is_the_one_to_retry(films: Harness) -> None:
    alice = films.caller()
    await alice.recall()
    await films.stop()
    with pytest.raises(Refused) as refused:
        await alice.recall()
    assert refused.value.code is grpc.StatusCode.UNAVAILABLE


async def test_it_keeps_to_one_core_with_all_its_threads_unless_told_otherwise(films: Harness) -> None:
    await films.stop()
    cores = os.sched_getaffinity(0)
    for pinned in (True, False):
        process = await films.start_process(gateway_pin=pinned)
        assert (await films.caller().recall()).version == 1
        used = [os.sched_getaffinity(thread.id) for thread in psutil.Process(process.pid).threads()]
        assert len(used) > 1
        assert all(len(found) == 1 if pinned else found == cores for found in used)
        process.terminate()
        process.wait()


def test_workers_take_turns_at_the_cores_and_begin_with_those_that_builds_leave() -> None:
    assert [core_of(worker, [2, 3, 7]) for worker in range(4)] == [2, 3, 7, 2]
    assert core_of(5, [4]) == 4
    cores = list(range(8))
    for build_cpus in range(1, 8):  # engines.leash.keep_to_cpus takes the last ones.
        assert core_of(0, cores) not in cores[-build_cpus:]


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """What the process asked to be bound to; it may use the cores 0 and 1."""
    asked: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: asked.append(cores))
    return asked


def test_a_core_of_its_own_is_for_machines_with_few_unless_told_otherwise(
    pinned: list[set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_to_a_core(1, "auto")
    keep_to_a_core(0, False)
    assert pinned == [{1}]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(PIN_CORES_MAX + 1)))
    keep_to_a_core(0, "auto")
    assert pinned == [{1}]
    keep_to_a_core(0, True)
    assert pinned == [{1}, {0}]


def test_a_system_that_forbids_to_pin_gets_a_warning_and_a_gateway(
    pinned: list[set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int, __: set[int]) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    with structlog.testing.capture_logs() as logs:
        keep_to_a_core(0, True)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("gateway.not_pinned", "warning")]


@pytest.mark.parametrize(("given", "read"), [("auto", "auto"), ("true", True), ("0", False)])
def test_the_setting_of_the_pin_is_read_as_written(
    given: str, read: bool | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECALL_GATEWAY_PIN", given)
    assert Settings().gateway_pin == read
