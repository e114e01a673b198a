"""One loaded version as a process: claim the name, verify, load, warm up, bind, and only then say that it is ready.

    python -m replicas.host --replica-id r12 --artifact DIR --manifest-sha256 HEX --address unix:/run/x/r12.sock \\
        --identity FILE

It outlives the agent that started it. SIGTERM lets the calls under way end. What is loaded never changes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import grpc
import structlog
import uvloop

from replicas.calls import Calls
from replicas.errors import LoadError
from replicas.frames import FrameServer
from replicas.framing import FRAMES_SUFFIX, frames_path
from replicas.identity import AlreadyHeld, Identity, claim, publish, read, start_ticks
from replicas.loaded import LoadedVersion, load
from replicas.logs import configure_logs
from replicas.sampling import Sampler
from replicas.servicer import ReplicaServicer, handler
from replicas.settings import SOCKET_PATH_BYTES_MAX, UNIX, HostSettings

EXIT_CANNOT_LOAD = 3
EXIT_ALREADY_HELD = 4
# Nobody has called for so long: the callers have gone.
QUIET_SECONDS = 0.1
QUIET_POLL_SECONDS = 0.02
# As in the gateway: what a call makes is free when it ends, without a collection.
GC_THRESHOLDS = (50_000, 20, 100)

log = structlog.get_logger()


def main() -> int:
    """Run until SIGTERM; 3 when the artifact cannot be loaded, 4 when another process is this replica."""
    arguments = _arguments()
    configure_logs(replica=arguments.replica_id)
    settings = HostSettings()
    identity = _identity(arguments, settings)
    try:
        claim(arguments.identity, identity)
        loaded = load(
            arguments.artifact,
            arguments.manifest_sha256,
            search_threads=settings.search_threads,
            model_ms_max=settings.replica_model_ms_max,
        )
    except AlreadyHeld as error:
        log.error("already_held", error=str(error))  # noqa: TRY400  A traceback would say nothing more.
        return EXIT_ALREADY_HELD
    except LoadError as error:
        log.error("cannot_load", reason=error.reason, error=error.message)  # noqa: TRY400
        return EXIT_CANNOT_LOAD
    uvloop.run(_serve(loaded, _named(identity, loaded), arguments.identity, settings))
    loaded.close()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m replicas.host")
    parser.add_argument("--replica-id", required=True)
    parser.add_argument("--artifact", required=True, type=Path)
    parser.add_argument("--manifest-sha256", required=True)
    parser.add_argument("--address", required=True, type=replica_address)
    parser.add_argument("--identity", required=True, type=Path)
    return parser.parse_args()


def replica_address(text: str) -> str:
    """A unix socket, since the replica trusts whoever can reach it. Raises argparse.ArgumentTypeError."""
    if not text.startswith(UNIX):
        raise argparse.ArgumentTypeError("the address must be unix:/path")
    if len(os.fsencode(frames_path(text))) > SOCKET_PATH_BYTES_MAX:
        bytes_max = SOCKET_PATH_BYTES_MAX - len(FRAMES_SUFFIX)
        raise argparse.ArgumentTypeError(f"a socket's path has at most {bytes_max} bytes")
    return text


def _identity(arguments: argparse.Namespace, settings: HostSettings) -> Identity:
    return Identity(
        replica_id=arguments.replica_id,
        node=settings.node,
        pid=os.getpid(),
        started_ticks=start_ticks(os.getpid()) or 0,
        address=arguments.address,
        manifest_sha256=arguments.manifest_sha256,
    )


def _named(identity: Identity, loaded: LoadedVersion) -> Identity:
    schema = loaded.schema
    return replace(identity, tenant=schema.tenant, service=schema.service, version=schema.version)


async def _serve(loaded: LoadedVersion, identity: Identity, identity_path: Path, settings: HostSettings) -> None:
    sampler = Sampler.of(loaded.schema, loaded.manifest_sha256, identity.replica_id, settings)
    calls = Calls(loaded, identity.replica_id, settings, sampler)
    servicer = ReplicaServicer(loaded, identity, calls, settings)
    # Also when it comes back after a death: routes keep its address, so that calls come as soon as it is bound.
    servicer.warm_up()
    server = _server(settings)
    server.add_generic_rpc_handlers((handler(servicer),))
    server.add_insecure_port(identity.address)
    await server.start()
    frames = FrameServer(frames_path(identity.address), calls, settings)
    frames.start()
    if sampler is not None:
        sampler.start()
    _leave_garbage_alone()
    publish(identity_path, identity)
    log.info("ready", version=identity.version, address=identity.address, items=loaded.schema.items)
    await _terminated()
    _withdraw(identity_path, identity)
    log.info("draining")
    await _drain(calls, settings.replica_drain_seconds_max)
    await frames.close()
    await server.stop(QUIET_SECONDS)
    servicer.close()
    if sampler is not None:
        sampler.close()


def _leave_garbage_alone() -> None:
    """What is loaded stays until the end: a collection that walks through it would be some callers' slow answer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _server(settings: HostSettings) -> grpc.aio.Server:
    options = (
        ("grpc.max_receive_message_length", settings.replica_request_bytes_max),
        ("grpc.max_send_message_length", settings.replica_answer_bytes_max),
        # A second process on one port must fail, not share it in silence.
        ("grpc.so_reuseport", 0),
    )
    return grpc.aio.server(options=options, maximum_concurrent_rpcs=settings.replica_calls_max)


async def _drain(calls: Calls, seconds_max: float) -> None:
    """Wait until no call is under way: a server that is stopped cancels what it has not yet taken up."""
    for _ in range(math.ceil(seconds_max / QUIET_POLL_SECONDS)):
        if calls.under_way.quiet_seconds >= QUIET_SECONDS:
            return
        await asyncio.sleep(QUIET_POLL_SECONDS)
    log.warning("drained_too_long", seconds=seconds_max)


async def _terminated() -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def _withdraw(identity_path: Path, identity: Identity) -> None:
    """Take our own identity away; a successor's stays. The lock says until the end that we live."""
    if read(identity_path) == identity:
        identity_path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
