"""Keeps one placement running: adopt or start, wait until it answers, watch, and begin again when it ends.

The loop of a keeper is `run`; it ends only when it is cancelled. After that, `let_go` leaves the process alone
(replicas outlive their agent) and `withdraw` stops it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from signal import SIGKILL

import grpc
import structlog

from recallpb.internal.v1 import documents_pb2, replica_pb2
from replicas.backoff import Backoff
from replicas.client import ReplicaClient
from replicas.health import Health, Unsupported
from replicas.logs import cap_log
from replicas.processes import Process, ReplicaPaths, adopt, compare, probe, spawn
from replicas.settings import AgentSettings

log = structlog.get_logger()

State = documents_pb2.ReplicaReport.State
RESTART = documents_pb2.Order.RESTART
READY_POLL_SECONDS = 0.05
ORDER_RETRY_SECONDS = 1.0
# What an audit and the pause after it take at most, by default. Who sets more is not to find its replicas neglected.
AUDIT_TURN_SECONDS = 2.0
SILENCES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class Died(Exception):
    """The process is gone, or was killed because it had frozen or did not get ready."""


class Refused(Exception):
    """The artifact cannot be loaded; no process was started for it."""


class Keeper:
    """One replica. `report` is what the node says of it; `changed` is called when that changes."""

    def __init__(
        self,
        placement: documents_pb2.Placement,
        settings: AgentSettings,
        probes: asyncio.Semaphore,
        changed: Callable[[], None],
    ) -> None:
        self.placement = placement
        self.report = documents_pb2.ReplicaReport(
            replica_id=placement.replica_id, version=placement.version, state=State.LOADING
        )
        self._settings = settings
        self._paths = ReplicaPaths(settings, placement.replica_id)
        # Known from the beginning and the same in every life, so that routes need not change with a respawn.
        self.report.address = self._paths.address
        self._probes = probes
        self._changed = changed
        self._backoff = Backoff(
            settings.respawn_seconds_min,
            settings.respawn_seconds_max,
            settings.respawn_deaths_max,
            settings.respawn_window_seconds,
        )
        self._probed = False
        self._process: Process | None = None
        self._killed_because = ""
        self._ready_since: float | None = None
        # Of the present life; None while nothing is loaded.
        self._health: Health | None = None
        self._new_orders = asyncio.Event()
        self._results: dict[str, documents_pb2.OrderResult] = {}
        self._attempts: dict[str, int] = {}

    def fresh_report(self) -> documents_pb2.ReplicaReport:
        """The report, with the health of the process as it is now."""
        report = documents_pb2.ReplicaReport()
        report.CopyFrom(self.report)
        if self._health is not None:
            report.health.CopyFrom(self._health.message())
        return report

    def same_artifact(self, placement: documents_pb2.Placement) -> bool:
        """Whether a newer placement wants the process that this keeper keeps."""
        ours = self.placement
        return (ours.artifact, ours.manifest_sha256) == (placement.artifact, placement.manifest_sha256)

    def update(self, placement: documents_pb2.Placement) -> None:
        """Take over new orders; results of withdrawn ones leave the report."""
        self.placement = placement
        wanted = {order.order_id for order in placement.orders}
        self._results = {order_id: result for order_id, result in self._results.items() if order_id in wanted}
        self._attempts = {order_id: count for order_id, count in self._attempts.items() if order_id in wanted}
        self._new_orders.set()
        self._report_orders()

    async def run(self) -> None:
        """Keep the replica running until cancelled."""
        while True:
            try:
                await self._live_once()
            except Exception as error:
                log.exception("keeper_failed", replica=self.placement.replica_id)
                await self._pause_after(f"the agent failed to keep it: {type(error).__name__}")

    async def withdraw(self) -> None:
        """Stop the process and remove its files; nobody wants this replica any more."""
        holder = self._paths.holder()
        process = self._process if self._process and self._process.alive else holder and adopt(holder)
        if process:
            await process.stop(self._settings.stop_seconds_max)
        self._paths.forget()

    def let_go(self) -> None:
        """Stop listening to the process; it goes on."""
        if self._process is not None:
            self._process.let_go()

    async def _live_once(self) -> None:
        """One life of the process, and the pause after it."""
        self._ready_since = self._health = None
        self._killed_because = ""
        try:
            self._process = await self._adopt() or await self._start()
            async with ReplicaClient(self._paths.address) as client:
                await self._until_ready(self._process, client)
                await self._watch(self._process, client)
        except Refused as refusal:
            self._set(State.FAILED, error=str(refusal))
            log.error("artifact_refused", replica=self.placement.replica_id, error=str(refusal))  # noqa: TRY400
            await asyncio.sleep(self._settings.respawn_seconds_max)
        except (Died, OSError) as death:
            await self._pause_after(str(death))

    async def _adopt(self) -> Process | None:
        """The living process that is this replica, if it holds what is wanted; another one is stopped."""
        holder = self._paths.holder()
        process = adopt(holder) if holder else None
        if holder is None or process is None:
            return None
        if holder.manifest_sha256 != self.placement.manifest_sha256:
            await process.stop(self._settings.stop_seconds_max)
            return None
        log.info("adopted", replica=holder.replica_id, pid=holder.pid)
        return process

    async def _start(self) -> Process:
        if not self._probed:
            async with self._probes:
                refusal = await probe(self._settings, self.placement)
            if refusal:
                raise Refused(refusal)
            self._probed = True
        process = spawn(self._settings, self.placement)
        log.info("spawned", replica=self.placement.replica_id, pid=process.pid)
        self._note_restart()
        return process

    async def _until_ready(self, process: Process, client: ReplicaClient) -> None:
        """Wait for the identity and a first answer that names what is wanted."""
        self._set(self.report.state, pid=process.pid)
        give_up_at = time.monotonic() + self._settings.load_seconds_max
        while (identity := self._paths.ready()) is None or identity.pid != process.pid:
            if not process.alive:
                raise Died(f"{await process.ended()} before it was ready")
            if time.monotonic() > give_up_at:
                await self._kill(process, f"it was not ready within {self._settings.load_seconds_max:g} s")
            await asyncio.sleep(READY_POLL_SECONDS)
        described = await self._describe(process, client)
        if described is None or described.manifest_sha256 != self.placement.manifest_sha256:
            await self._kill(process, "it did not say that it is what was placed")
            return
        self._ready_since = time.monotonic()
        turn_seconds = self._settings.audit_every_seconds + self._settings.audit_seconds_max
        self._health = Health(slack_seconds=max(0.0, turn_seconds - AUDIT_TURN_SECONDS))
        self.report.items = described.searchable_items
        self._set(State.READY, pid=process.pid, rss_bytes=described.rss_bytes)
        log.info("ready", replica=self.placement.replica_id, pid=process.pid)

    async def _watch(self, process: Process, client: ReplicaClient) -> None:
        """Raises Died when the process ended or had to be killed."""
        tasks = [
            asyncio.create_task(work)
            for work in (
                self._hear_the_end(process),
                self._feel_the_pulse(process, client),
                self._audit(client),
                self._work_orders(process, client),
            )
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear_the_end(self, process: Process) -> None:
        how = await process.ended()
        raise Died(self._killed_because or how)

    async def _feel_the_pulse(self, process: Process, client: ReplicaClient) -> None:
        """Describe again and again, and look through the gateways' door: a process that does not answer several times
        has frozen, or is of a release that gateways no longer know how to ask.
        """
        failures = 0
        while True:
            await asyncio.sleep(self._settings.describe_every_seconds)
            cap_log(self._paths.log, self._settings.replica_log_bytes_max)
            described = await self._describe_once(client)
            if described is not None and await self._greets(client):
                failures = 0
                self.report.rss_bytes = described.rss_bytes
                continue
            failures += 1
            if failures >= self._settings.describe_failures_max:
                await self._kill(process, f"it did not answer {failures} times")

    async def _audit(self, client: ReplicaClient) -> None:
        """Ask the known-answer queries again and again; the report says what came of it."""
        health = self._health
        while health is not None:
            await asyncio.sleep(self._settings.audit_every_seconds)
            # An order to restart ends the audits of this life while the process still drains.
            if health is not self._health:
                return
            try:
                await health.ask(client, self._settings.audit_seconds_max)
            except Unsupported:
                # Of an older release, adopted; nothing is known of its health until it is replaced.
                self._health = None
                return
            if health.worrying:
                self._changed()

    async def _describe(self, process: Process, client: ReplicaClient) -> replica_pb2.DescribeResponse | None:
        """A description within a few attempts; None when there is none."""
        for _ in range(self._settings.describe_failures_max):
            described = await self._describe_once(client)
            if described is not None or not process.alive:
                return described
        return None

    async def _describe_once(self, client: ReplicaClient) -> replica_pb2.DescribeResponse | None:
        try:
            return await client.describe(self._settings.describe_seconds_max)
        except grpc.aio.AioRpcError as error:
            log.warning("describe_failed", replica=self.placement.replica_id, code=error.code().name)
            # A process that refuses is busy and alive; only one that says nothing is frozen.
            refused = error.code() not in SILENCES
            return replica_pb2.DescribeResponse(rss_bytes=self.report.rss_bytes) if refused else None

    async def _greets(self, client: ReplicaClient) -> bool:
        greets = await client.greets(self._settings.describe_seconds_max)
        if not greets:
            log.warning("greets_nobody", replica=self.placement.replica_id)
        return greets

    async def _kill(self, process: Process, why: str) -> None:
        self._killed_because = f"killed because {why}"
        process.signal(SIGKILL)
        await process.ended()
        raise Died(self._killed_because)

    async def _work_orders(self, process: Process, client: ReplicaClient) -> None:
        """Execute each order once, in order; one that broke off with the process is tried again after it."""
        while True:
            self._new_orders.clear()
            for order in list(self.placement.orders):
                if order.order_id not in self._results and order.kind == RESTART:
                    await self._restart(process)
                elif order.order_id not in self._results:
                    await self._execute(order, client)
            await self._new_orders.wait()

    async def _restart(self, process: Process) -> None:
        """End the process, gently when it listens; its successor notes the order as carried out. Raises Died."""
        self._killed_because = "restarted by order"
        listens = self._health is None or not self._health.silent
        self._health = None
        self._set(State.RESPAWNING, error=self._killed_because, pid=process.pid)
        if not listens:
            process.signal(SIGKILL)
        await process.stop(self._settings.stop_seconds_max)
        raise Died(self._killed_because)

    def _note_restart(self) -> None:
        """A new process is what every order to restart wants, whatever ended the one before it."""
        for order in self.placement.orders:
            if order.kind == RESTART and order.order_id not in self._results:
                self._results[order.order_id] = documents_pb2.OrderResult(order_id=order.order_id, ok=True)
        self._report_orders()

    async def _execute(self, order: documents_pb2.Order, client: ReplicaClient) -> None:
        while order.order_id not in self._results:
            attempt = self._attempts[order.order_id] = self._attempts.get(order.order_id, 0) + 1
            try:
                result = await self._carry_out(order, client)
            except grpc.aio.AioRpcError as error:
                log.warning("order_failed", replica=self.placement.replica_id, order=order.order_id, attempt=attempt)
                if attempt < self._settings.order_attempts_max:
                    await asyncio.sleep(ORDER_RETRY_SECONDS)
                    continue
                result = documents_pb2.OrderResult(order_id=order.order_id, ok=False, error=_order_error(error))
            self._results[order.order_id] = result
            self._report_orders()

    async def _carry_out(self, order: documents_pb2.Order, client: ReplicaClient) -> documents_pb2.OrderResult:
        """By the replica itself, but for what concerns two of them."""
        if order.kind == documents_pb2.Order.COMPARE:
            return await compare(self._settings, self.placement, order)
        return await client.execute(order, self._settings.order_seconds_max)

    async def _pause_after(self, death: str) -> None:
        now = time.monotonic()
        lived_seconds = 0.0 if self._ready_since is None else now - self._ready_since
        # What could not even load may have been damaged meanwhile; the next start looks into it first.
        self._probed = self._ready_since is not None
        pause_seconds = self._backoff.died(now, lived_seconds=lived_seconds)
        self.report.respawns += 1
        self._set(State.FAILED if self._backoff.failed else State.RESPAWNING, error=death, pid=0)
        log.warning("died", replica=self.placement.replica_id, how=death, pause_seconds=pause_seconds)
        await asyncio.sleep(pause_seconds)

    def _set(self, state: State, *, error: str = "", pid: int = 0, rss_bytes: int = 0) -> None:
        report = self.report
        report.state, report.error, report.pid, report.rss_bytes = state, error, pid, rss_bytes
        self._changed()

    def _report_orders(self) -> None:
        del self.report.orders[:]
        self.report.orders.extend(
            self._results[order.order_id] for order in self.placement.orders if order.order_id in self._results
        )
        self._changed()


def _order_error(error: grpc.aio.AioRpcError) -> str:
    return f"the replica did not execute the order: {error.code().name}"
