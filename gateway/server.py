"""The composition root: settings -> routes -> limits -> dataplane -> servicer -> server."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import time

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from documents.traffic import span_of
from gateway.auth import Auth
from gateway.balancer import Balancer
from gateway.dataplane import DataPlane
from gateway.feed import RedisConnection, RouteFeed
from gateway.healthcheck import Health
from gateway.key_uses import KeyUses
from gateway.limits import Limits
from gateway.metrics import Metrics, MetricsServer
from gateway.polling import Poller
from gateway.reports import Reporter
from gateway.revocations import RevocationFeed
from gateway.routes import Route, Routes
from gateway.servicer import SERVICE_NAME, Servicer
from gateway.settings import Settings, SettingsError
from gateway.snapshot import SnapshotFile
from gateway.strides import Striding
from gateway.traffic import TrafficTeller

log = structlog.get_logger(__name__)

METADATA_BYTES_MAX = 16 * 2**10
PING_INTERVAL_MS_MIN = 10_000
PING_STRIKES_MAX = 2
KEEPALIVE_MS = 60_000
KEEPALIVE_TIMEOUT_MS = 20_000
CONNECTION_IDLE_MS_MAX = 3_600_000
CANCELS_MAX = 20
CANCEL_AGAIN_SECONDS = 0.1
US_PER_SECOND = 1_000_000
GC_THRESHOLDS = (50_000, 20, 100)


class Gateway:
    """One gateway process. Made inside a running event loop."""

    def __init__(self, settings: Settings, worker: int = 0) -> None:
        self._settings = settings
        self._worker = worker
        internal_token = settings.secret("internal_token")
        deadline_seconds_max = settings.gateway_deadline_ms_max / 1e3
        self.metrics = Metrics()
        self.routes = Routes()
        self.auth = Auth(settings.secret("key_pepper"), internal_token)
        self.limits = Limits()
        self.balancer = Balancer(
            self.metrics, Poller(settings.poll_us_max / US_PER_SECOND), deadline_seconds_max=deadline_seconds_max
        )
        self.health = Health()
        self.connection = RedisConnection(settings.find_redis_url)
        self.feed = RouteFeed(self.routes, self.connection)
        self.snapshot = SnapshotFile(settings.snapshot_path(), self.routes, self.auth)
        # In the snapshot too, so that a revoked key stays dead when the gateway restarts and nobody can be asked.
        self.revocations = RevocationFeed(
            self.auth, settings.console_url, internal_token, on_change=self.snapshot.changed
        )
        striding = Striding()
        self.key_uses = KeyUses()
        self.dataplane = DataPlane(
            auth=self.auth,
            routes=self.routes,
            limits=self.limits,
            balancer=self.balancer,
            striding=striding,
            metrics=self.metrics,
            query_items_max=settings.query_items_max,
            answer_bytes_max=settings.gateway_send_bytes_max,
        )
        self.servicer = Servicer(
            self.dataplane,
            striding,
            self.metrics,
            self.key_uses,
            deadline_seconds_default=settings.gateway_deadline_ms_default / 1e3,
            deadline_seconds_max=deadline_seconds_max,
            answer_bytes_max=settings.gateway_send_bytes_max,
        )
        self._started_at = time.monotonic()
        self._stopping = asyncio.Event()
        self.routes.subscribe(self.auth, self.limits, self.balancer, self.health, self)
        self._observe()

    async def run(self) -> bool:
        """Serves until `stop`; False when it ended because a background loop broke.

        Raises SettingsError when the port is taken.
        """
        self.snapshot.load()
        await asyncio.gather(self.feed.poll(), self.revocations.poll())
        server = self._server()
        port = self._bind(server)
        await server.start()
        reporter, teller = self._reporter(port), self._teller(port)
        metrics_server = MetricsServer(self.metrics, self._metrics_port())
        self._write_run_file(port, metrics_server.port)
        loops = [self.feed.run(), self.revocations.run(), reporter.run(), teller.run()]
        if self._worker == 0:
            self.routes.on_change(self.snapshot.changed)
            self.snapshot.changed()
            loops.append(self.snapshot.run())
        tasks = [asyncio.create_task(loop) for loop in loops]
        log.info(
            "gateway.serving", port=port, metrics_port=metrics_server.port, routes=sum(1 for _ in self.routes.all())
        )
        was_told = await self._until_stopped(tasks)
        await self._drain(server, metrics_server)
        await _end(tasks)
        await teller.tell(span_of(time.time()))
        if not self._has_successor():
            await self._withdraw(reporter)
        await self._close()
        return was_told

    def stop(self) -> None:
        """Begins to drain; called by SIGTERM and SIGINT."""
        self._stopping.set()

    def follow(self, _old: Route | None, new: Route) -> None:
        self.metrics.routes_applied.inc()
        if new.tombstone:
            self.metrics.forget(new.name)

    def stale_seconds(self) -> float:
        """Age of the newest successful exchange with the control plane, by Redis or by HTTP."""
        return time.monotonic() - max(self.feed.fresh_at, self.revocations.fresh_at, self._started_at)

    def _server(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            options=_server_options(self._settings),
            maximum_concurrent_rpcs=self._settings.gateway_concurrent_rpcs_max,
        )
        server.add_generic_rpc_handlers((self.servicer.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, server)
        if self._settings.gateway_reflection:
            names = (SERVICE_NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        return server

    def _bind(self, server: grpc.aio.Server) -> int:
        address = f"{self._settings.bind}:{self._settings.gateway_port}"
        try:
            return server.add_insecure_port(address)
        except RuntimeError as error:
            raise SettingsError(f"{address} cannot be bound; is RECALL_GATEWAY_PORT taken?") from error

    def _reporter(self, port: int) -> Reporter:
        reporter = Reporter(
            name=self._settings.lease_name(port, self._worker),
            address=f"{self._settings.bind}:{port}",
            connection=self.connection,
            limits=self.limits,
            stale_seconds=self.stale_seconds,
        )
        reporter.start_from(self.routes)
        self.routes.subscribe(reporter)
        return reporter

    def _teller(self, port: int) -> TrafficTeller:
        # With its pid, so that a gateway and its successor can both tell of the span in which one followed the other.
        process = f"{self._settings.lease_name(port, self._worker)}:{os.getpid()}"
        return TrafficTeller(process=process, metrics=self.metrics, key_uses=self.key_uses, connection=self.connection)

    def _metrics_port(self) -> int:
        given = self._settings.metrics_port
        return given + self._worker if given else 0

    def _write_run_file(self, port: int, metrics_port: int) -> None:
        facts = {
            "gateway": self._settings.lease_name(port, self._worker),
            "pid": os.getpid(),
            "address": f"{self._settings.bind}:{port}",
            "metrics_port": metrics_port,
        }
        path = self._settings.run_file(self._worker)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(facts))
        unfinished.replace(path)

    def _observe(self) -> None:
        self.metrics.per("lane", "queued_queries", "Queries that wait for a replica.", self.balancer.queued)
        self.metrics.per("lane", "in_flight_queries", "Queries under way to replicas.", self.balancer.in_flight)
        self.metrics.gauge("stale_seconds", "Since the last exchange with the control plane.", self.stale_seconds)
        self.metrics.gauge("gateways", "Live gateways among which limits are shared.", lambda: self.limits.gateways)
        self.metrics.per(
            "service",
            "calls_in_flight",
            "Calls admitted and not yet answered.",
            lambda: self.limits.calls_under_way().items(),
        )
        self.metrics.per(
            "service", "route_age_seconds", "Since the route's generation was taken over.", self.routes.ages_seconds
        )

    async def _until_stopped(self, tasks: list[asyncio.Task[None]]) -> bool:
        """Whether it was told to stop. A background loop never ends by itself; one that broke stops the process."""
        stopping = asyncio.create_task(self._stopping.wait())
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in done - {stopping}:
            log.error("gateway.loop_broke", exc_info=task.exception())
        return self._stopping.is_set()

    async def _drain(self, server: grpc.aio.Server, metrics_server: MetricsServer) -> None:
        """Lets the calls under way end. Both ports are free from the beginning of that on, for a successor."""
        await self.health.drain()
        await asyncio.sleep(self._settings.gateway_drain_notice_seconds)
        metrics_server.stop()
        await server.stop(self._settings.gateway_drain_seconds)

    def _has_successor(self) -> bool:
        """Whether another process has taken the port while this one drained, and with it the lease and the files."""
        try:
            facts = json.loads(self._settings.run_file(self._worker).read_text())
        except FileNotFoundError:
            return False
        return bool(facts["pid"] != os.getpid())

    async def _withdraw(self, reporter: Reporter) -> None:
        await reporter.withdraw()
        if self._worker == 0:
            await self.snapshot.write()
        self._settings.run_file(self._worker).unlink(missing_ok=True)

    async def _close(self) -> None:
        await self.balancer.close()
        await self.revocations.close()
        await self.connection.close()


async def serve(settings: Settings, worker: int = 0) -> bool:
    """Runs a gateway until SIGTERM or SIGINT; False when it broke before."""
    gateway = Gateway(settings, worker)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, gateway.stop)
    _tame_garbage_collector()
    return await gateway.run()


def _server_options(settings: Settings) -> list[tuple[str, int]]:
    return [
        # Only workers of one gateway share a port; otherwise two platforms could share one without a word.
        ("grpc.so_reuseport", int(settings.gateway_workers > 1)),
        ("grpc.max_receive_message_length", settings.gateway_receive_bytes_max),
        ("grpc.max_send_message_length", settings.gateway_send_bytes_max),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.max_concurrent_streams", settings.gateway_streams_per_connection_max),
        ("grpc.max_connection_idle_ms", CONNECTION_IDLE_MS_MAX),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MS_MIN),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_INTERVAL_MS_MIN),
        ("grpc.http2.max_ping_strikes", PING_STRIKES_MAX),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ]


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancels until all have ended: an HTTP client in the middle of a connect may turn a cancel into its own error."""
    for _ in range(CANCELS_MAX):
        running = [task for task in tasks if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=CANCEL_AGAIN_SECONDS)


def _tame_garbage_collector() -> None:
    """What was loaded at the start is not garbage, and a collection in the middle of a burst is a slow call."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
