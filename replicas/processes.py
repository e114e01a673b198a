"""Replica processes as an agent sees them: spawned or adopted, told to stop, and heard when they end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import structlog

from engines.pages import with_huge_pages
from recallpb.internal.v1 import documents_pb2
from replicas.framing import frames_path
from replicas.identity import Identity, lock_path, read, start_ticks
from replicas.logs import cap_log
from replicas.settings import UNIX, AgentSettings

log = structlog.get_logger()

# The searcher has threads of its own; a math library's would only fight them.
MATH_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
# A replica needs none of these; NAME_FILE counts as NAME.
SECRETS = (
    "RECALL_SECRET_KEY",
    "RECALL_KEY_PEPPER",
    "RECALL_INTERNAL_TOKEN",
    "RECALL_REDIS_PASSWORD",
    "RECALL_REDIS_URL",
    "RECALL_DATABASE_URL",
)


class ReplicaPaths:
    """Where one replica's socket, identity and log are; the same for every process that is this replica."""

    def __init__(self, settings: AgentSettings, replica_id: str) -> None:
        self.socket = settings.run_dir / f"{replica_id}.sock"
        self.identity = settings.run_dir / f"{replica_id}.json"
        self.log = settings.log_dir / f"replica-{replica_id}.log"

    @property
    def address(self) -> str:
        return f"{UNIX}{self.socket}"

    def holder(self) -> Identity | None:
        """Who is this replica now, loading or ready; None when no living process is."""
        identity = read(lock_path(self.identity))
        return identity if identity is not None and identity.alive() else None

    def ready(self) -> Identity | None:
        """The identity that a living process wrote when it could answer."""
        identity = read(self.identity)
        return identity if identity is not None and identity.alive() else None

    def clear(self) -> None:
        """Remove what a dead process left, before the next one.

        The lock file stays: a process that an earlier agent started may be about to take it, and then the next one
        must find it taken.
        """
        self.socket.unlink(missing_ok=True)
        Path(frames_path(self.address)).unlink(missing_ok=True)
        self.identity.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove everything; nobody is this replica any more."""
        self.clear()
        lock_path(self.identity).unlink(missing_ok=True)


class Process:
    """A living process, ours or adopted, held by a descriptor so that a reused pid is never met."""

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._child = child
        self._descriptor = os.pidfd_open(pid)
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self._descriptor, self._end)

    async def ended(self) -> str:
        """Wait for the end; returns how it came, for people."""
        return await asyncio.shield(self._ended)

    @property
    def alive(self) -> bool:
        return not self._ended.done()

    def signal(self, number: signal.Signals) -> None:
        if self.alive:
            try:
                signal.pidfd_send_signal(self._descriptor, number)
            except ProcessLookupError:
                log.info("already_gone", pid=self.pid)

    async def stop(self, seconds_max: float) -> None:
        """SIGTERM, and SIGKILL for what is still there after `seconds_max`."""
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.ended(), seconds_max)
        except TimeoutError:
            log.warning("killed_after_grace", pid=self.pid, seconds=seconds_max)
            self.signal(signal.SIGKILL)
            await self.ended()

    def let_go(self) -> None:
        """Stop listening; the process goes on."""
        if self.alive:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._ended.cancel()

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._ended.set_result(_how_it_ended(self._child))


def _how_it_ended(child: subprocess.Popen[bytes] | None) -> str:
    if child is None:
        return "the process ended"
    code = child.wait()
    return f"the process was killed by signal {-code}" if code < 0 else f"the process ended with {code}"


def adopt(identity: Identity) -> Process | None:
    """The process of this identity; None when it ended meanwhile."""
    try:
        process = Process(identity.pid)
    except ProcessLookupError:
        return None
    if start_ticks(identity.pid) != identity.started_ticks:
        process.let_go()
        return None
    return process


def spawn(settings: AgentSettings, placement: documents_pb2.Placement) -> Process:
    """Start a host for this placement, in a session of its own, so that it outlives the agent."""
    paths = ReplicaPaths(settings, placement.replica_id)
    paths.clear()
    arguments = [
        "--replica-id", placement.replica_id,
        "--artifact", placement.artifact,
        "--manifest-sha256", placement.manifest_sha256,
        "--address", paths.address,
        "--identity", str(paths.identity),
    ]  # fmt: skip
    cap_log(paths.log, settings.replica_log_bytes_max)
    with paths.log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "replicas.host", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(settings),
            start_new_session=True,
        )
    return Process(child.pid, child)


async def probe(settings: AgentSettings, placement: documents_pb2.Placement) -> str:
    """Open the artifact in a throw-away process; returns what is wrong with it, empty when nothing is."""
    arguments = ["replicas.probe", placement.artifact, placement.manifest_sha256]
    try:
        code, output = await _run(settings, arguments, settings.probe_seconds_max)
    except TimeoutError:
        return f"the artifact did not open within {settings.probe_seconds_max:g} s"
    return _verdict(code, output)


async def compare(
    settings: AgentSettings, placement: documents_pb2.Placement, order: documents_pb2.Order
) -> documents_pb2.OrderResult:
    """Have this replica and the one beside it asked the same, in a throw-away process."""
    ours, beside = (ReplicaPaths(settings, name).address for name in (placement.replica_id, order.beside))
    arguments = [
        "replicas.compare", placement.artifact,
        ours, str(placement.version), beside, str(order.beside_version), str(order.top_k),
    ]  # fmt: skip
    try:
        code, output = await _run(settings, arguments, settings.order_seconds_max)
        said = json.loads(output.splitlines()[-1])
    except TimeoutError:
        said = {"error": f"the comparison took longer than {settings.order_seconds_max:g} s"}
    except (IndexError, ValueError):
        said = {"error": f"the comparison failed with exit code {code}"}
    return documents_pb2.OrderResult(
        order_id=order.order_id,
        ok="error" not in said,
        version=placement.version,
        beside_version=order.beside_version,
        **said,
    )


async def _run(settings: AgentSettings, arguments: list[str], seconds_max: float) -> tuple[int | None, bytes]:
    """Exit code and output of a throw-away process, which does not outlive this call. Raises TimeoutError."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(settings),
    )
    try:
        output, _ = await asyncio.wait_for(child.communicate(), seconds_max)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return child.returncode, output


def _verdict(code: int | None, output: bytes) -> str:
    if code == 0:
        return ""
    if code is not None and code < 0:
        return f"opening the artifact crashed with signal {-code}"
    try:
        error = json.loads(output.splitlines()[-1])["error"]
    except (IndexError, ValueError, KeyError):
        return f"opening the artifact failed with exit code {code}"
    return f"{error['reason']}: {error['message']}"


def _environment(settings: AgentSettings) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
    here = {
        "RECALL_HOME": str(settings.home),
        "RECALL_RUN_DIR": str(settings.run_dir),
        "RECALL_NODE": settings.node,
        "PYTHONSAFEPATH": "1",
    }
    return with_huge_pages({**inherited, **dict.fromkeys(MATH_THREADS, "1"), **here})
