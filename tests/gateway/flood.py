"""Callers who ask one and the same costly thing again and again, in a process of their own; until stdin is closed.

    python -m tests.gateway.flood ADDRESS KEY RPC FILE CALLERS

FILE holds the serialised request. Prints one JSON line: the seconds of each call that was answered, and how many were
not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from tests.gateway.harness import Harness

DEADLINE_SECONDS = 10.0
MESSAGE_BYTES_MAX = 64 * 2**20


@dataclass
class Flood:
    """What became of the calls; filled in when it has ended."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def flood(harness: Harness, key: str, request: Any, *, callers: int) -> Iterator[Flood]:
    """While the block runs, as many callers ask the gateway this; each asks again as soon as it was answered."""
    rpc = request.DESCRIPTOR.name.removesuffix("Request")
    path = harness.home / f"{rpc}-{id(request)}"
    path.write_bytes(request.SerializeToString())
    address = f"127.0.0.1:{harness.port}"
    command = [sys.executable, "-m", "tests.gateway.flood", address, key, rpc, str(path), str(callers)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    harness.processes.append(process)
    found = Flood()
    assert process.stdout.readline() == b"answered\n"
    yield found
    process.stdin.close()
    told = json.loads(process.stdout.read())
    process.stdout.close()
    process.wait()
    found.seconds, found.failures = told["seconds"], told["failures"]


def main(address: str, key: str, rpc: str, path: str, callers: str) -> None:
    payload = Path(path).read_bytes()
    found, stopping, answered = Flood(), threading.Event(), threading.Event()
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
    with grpc.insecure_channel(address, options=options) as channel:
        call = channel.unary_unary(f"/recallpb.v1.RecallService/{rpc}")

        def keep_asking() -> None:
            while not stopping.is_set():
                began = time.monotonic()
                try:
                    call(payload, timeout=DEADLINE_SECONDS, metadata=(("authorization", f"Bearer {key}"),))
                except grpc.RpcError as error:
                    found.failures.append(str(error))
                else:
                    found.seconds.append(time.monotonic() - began)
                answered.set()

        threads = [threading.Thread(target=keep_asking) for _ in range(int(callers))]
        for thread in threads:
            thread.start()
        answered.wait()
        print("answered", flush=True)
        sys.stdin.read()
        stopping.set()
        for thread in threads:
            thread.join()
    print(json.dumps({"seconds": found.seconds, "failures": found.failures}))


if __name__ == "__main__":
    main(*sys.argv[1:])
