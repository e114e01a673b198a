"""One per node: makes what runs equal to what is wanted, and reports.

    python -m replicas.agent                    until SIGTERM; the replicas go on
    python -m replicas.agent --stop-replicas    stops every replica of this node, and ends

Wanted is the node's Placements document; what runs is found by lock and identity files, so that a new agent takes over
the replicas of the one before. Nothing is stopped for not being named before a document was loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Awaitable
from pathlib import Path

import structlog

from documents.store import POLL_SECONDS, DocumentReader
from engines import settings as engine_settings
from recallpb.internal.v1 import documents_pb2
from replicas.identity import read
from replicas.keeper import Keeper
from replicas.link import RedisAway, RedisLink
from replicas.logs import configure_logs
from replicas.placements import PlacementsFollower
from replicas.processes import ReplicaPaths, adopt
from replicas.reports import node_report
from replicas.settings import AgentSettings, make_run_dir

log = structlog.get_logger()

REPORT_SECONDS = 1.0
EXIT_SETTINGS = 2
EXIT_LOCKED = 4


class Agent:
    """The node's keepers, and the loops that feed them."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._placements = PlacementsFollower(settings.node, settings.agent_dir)
        self._link = RedisLink(settings.redis_address, settings.redis_seconds_max)
        self._probes = asyncio.Semaphore(settings.probes_at_once_max)
        self._kept: dict[str, tuple[Keeper, asyncio.Task[None]]] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._poked = asyncio.Event()
        self._changed = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then the replicas are left running."""
        self._placements.start_from_copy()
        self.reconcile()
        loops = [asyncio.create_task(loop) for loop in (self._follow(), self._hear_hints(), self._report())]
        stopped = asyncio.create_task(_until(stop))
        try:
            await asyncio.wait([stopped, *loops], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._let_go([stopped, *loops])
        for loop in loops:
            if not loop.cancelled():
                loop.result()

    def reconcile(self) -> None:
        """One comparison of wanted and running; every difference becomes a task."""
        document = self._placements.document
        if document is None:
            return
        wanted = {placement.replica_id: placement for placement in document.placements}
        for replica_id, (keeper, _) in list(self._kept.items()):
            if replica_id not in wanted or not keeper.same_artifact(wanted[replica_id]):
                self._withdraw(replica_id)
        for placement in wanted.values():
            self._keep(placement)
        self._stop_orphans(wanted)

    def _keep(self, placement: documents_pb2.Placement) -> None:
        replica_id = placement.replica_id
        if replica_id in self._kept:
            keeper, _ = self._kept[replica_id]
            if keeper.placement != placement:
                keeper.update(placement)
        elif replica_id not in self._leaving:
            keeper = Keeper(placement, self._settings, self._probes, self._changed.set)
            self._kept[replica_id] = (keeper, asyncio.create_task(keeper.run()))
            self._changed.set()

    def _withdraw(self, replica_id: str) -> None:
        keeper, task = self._kept.pop(replica_id)

        async def leave() -> None:
            await _cancelled([task])
            await keeper.withdraw()
            log.info("withdrawn", replica=replica_id)

        self._leave(replica_id, leave())

    def _stop_orphans(self, wanted: dict[str, documents_pb2.Placement]) -> None:
        for paths in replicas_of(self._settings):
            replica_id = paths.identity.stem
            if replica_id not in wanted and replica_id not in self._leaving:
                log.warning("orphan", replica=replica_id)
                self._leave(replica_id, stop_replica(paths, self._settings.stop_seconds_max))

    def _leave(self, replica_id: str, work: Awaitable[None]) -> None:
        """Run the last task of a replica; until it ends, nobody may start one of this name."""

        async def leave() -> None:
            try:
                await work
            except Exception:
                log.exception("not_stopped", replica=replica_id)
            finally:
                del self._leaving[replica_id]
                self._poked.set()
                self._changed.set()

        self._leaving[replica_id] = asyncio.create_task(leave())

    async def _follow(self) -> None:
        """Poll the document, at once after a hint, and reconcile."""
        while True:
            self._poked.clear()
            try:
                await self._link.use(self._placements.refresh)
            except RedisAway:
                log.debug("placements_not_refreshed")
            self.reconcile()
            await _wait(self._poked, POLL_SECONDS)

    async def _hear_hints(self) -> None:
        ours = f"placements {self._settings.node}"
        while True:
            try:
                await self._link.hear_hints(lambda hint: self._poked.set() if hint == ours else None)
            except RedisAway:
                log.debug("hints_lost")
            await asyncio.sleep(POLL_SECONDS)

    async def _report(self) -> None:
        """Once a second, and at once after a change."""
        while True:
            self._changed.clear()
            try:
                await self._link.use(self._send_report)
            except RedisAway:
                log.debug("not_reported")
            await _wait(self._changed, REPORT_SECONDS)

    async def _send_report(self, reader: DocumentReader) -> None:
        replicas = [keeper.fresh_report() for keeper, _ in self._kept.values()]
        report = node_report(
            node=self._settings.node, stamp=self._placements.stamp, replicas=replicas, leaving=self._leaving
        )
        await reader.report_node(report)

    async def _let_go(self, tasks: list[asyncio.Task[None]]) -> None:
        await _cancelled([*tasks, *(task for _, task in self._kept.values()), *self._leaving.values()])
        for keeper, _ in self._kept.values():
            keeper.let_go()
        await self._link.close()


def replicas_of(settings: AgentSettings) -> list[ReplicaPaths]:
    """Replicas of this node that left a lock file, living or dead. Other nodes may share the folder."""
    found: list[ReplicaPaths] = []
    for path in settings.run_dir.glob("*.lock"):
        identity = read(path)
        if identity is not None and identity.node == settings.node:
            found.append(ReplicaPaths(settings, identity.replica_id))
    return found


async def stop_replica(paths: ReplicaPaths, seconds_max: float) -> None:
    """Stop whoever is this replica and remove what it leaves."""
    holder = paths.holder()
    process = adopt(holder) if holder else None
    if process is not None:
        await process.stop(seconds_max)
    paths.forget()


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel the tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _wait(event: asyncio.Event, seconds_max: float) -> None:
    """Until the event is set, at most `seconds_max`."""
    try:
        await asyncio.wait_for(event.wait(), seconds_max)
    except TimeoutError:
        return


def main() -> int:
    """0 after SIGTERM, 2 when a setting is wrong, 4 when another agent holds the node."""
    parser = argparse.ArgumentParser(prog="python -m replicas.agent")
    parser.add_argument("--stop-replicas", action="store_true", help="stop every replica of this node, and end")
    arguments = parser.parse_args()
    # Whatever it says, what runs can be stopped.
    if not arguments.stop_replicas and (wrong := engine_settings.wrong()):
        sys.stderr.write(f"agent: {wrong}\n")
        return EXIT_SETTINGS
    settings = AgentSettings()
    configure_logs(node=settings.node)
    for folder in (settings.agent_dir, settings.log_dir):
        folder.mkdir(parents=True, exist_ok=True)
    make_run_dir(settings.run_dir)
    held = _lock(settings.agent_dir / "agent.lock")
    if held is None:
        log.error("another_agent", node=settings.node)
        return EXIT_LOCKED
    asyncio.run(_stop_all(settings) if arguments.stop_replicas else _run(settings))
    return 0


def _lock(path: Path) -> int | None:
    """A descriptor that holds the node until this process ends; None when another one does."""
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    return held


async def _stop_all(settings: AgentSettings) -> None:
    await asyncio.gather(*(stop_replica(paths, settings.stop_seconds_max) for paths in replicas_of(settings)))


async def _run(settings: AgentSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    log.info("agent", pid=os.getpid(), run_dir=str(settings.run_dir))
    await Agent(settings).run(stop)


if __name__ == "__main__":
    sys.exit(main())
