"""A load generator in a process of its own: so many calls at once, each followed by the next, raw bytes all the way.

    python -m benchmarks.load --address 127.0.0.1:50051 --queries queries.npy --service tenants/a/services/b --seconds 5

The key is read from RECALL_API_KEY. Prints one JSON line: qps (queries, not calls), p50_ms, p99_ms, calls, failures,
and cpu_us, what the generator itself spent on a call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import grpc
import grpc.aio
import numpy as np
import uvloop

from benchmarks.bare_http2 import BareClient
from recallpb.v1 import recall_pb2

TOP_K = 100
WARM_UP_SECONDS = 0.5
DEADLINE_SECONDS = 10.0
MESSAGE_BYTES_MAX = 64 * 2**20
BATCHES_MADE = 16
# Every so many answers one is read, so that a wrong one would be noticed.
READ_EVERY = 256
PATH = "/recallpb.v1.RecallService/"


class Tally:
    """Seconds of each call that was answered, and how many were not, or wrongly as `is_right` says of a message."""

    def __init__(self, is_right: Callable[[bytes], bool]) -> None:
        self.spent: list[float] = []
        self.failures = 0
        self._is_right = is_right

    def answered(self, seconds: float, message: bytes | None) -> None:
        if message is None:
            self.failures += 1
            return
        if len(self.spent) % READ_EVERY == 0 and not self._is_right(message):
            self.failures += 1
        self.spent.append(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True)
    parser.add_argument("--service", required=True)
    parser.add_argument("--queries", required=True, help="float32 [q, d] in a .npy file")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--batch", type=int, default=1, help="queries in one call; above 1 it calls BatchRecall")
    print(json.dumps(uvloop.run(_measure(parser.parse_args()))))


async def _measure(arguments: argparse.Namespace) -> dict[str, float]:
    payloads = make_payloads(np.load(arguments.queries, allow_pickle=False), arguments.service, arguments.batch)
    run = _run_unary if arguments.batch == 1 else _run_batches
    await run(arguments, payloads, WARM_UP_SECONDS)
    started, cpu_started = time.perf_counter(), time.process_time()
    tally = await run(arguments, payloads, arguments.seconds)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    spent_ms = np.array(tally.spent) * 1e3
    return {
        "qps": len(spent_ms) * arguments.batch / seconds,
        "p50_ms": float(np.percentile(spent_ms, 50)),
        "p99_ms": float(np.percentile(spent_ms, 99)),
        "calls": len(spent_ms),
        "failures": tally.failures,
        "cpu_us": cpu_seconds / len(spent_ms) * 1e6,
    }


def make_payloads(queries: np.ndarray[Any, Any], service: str, batch: int) -> list[bytes]:
    """Serialised requests: a RecallRequest for each query, or some BatchRecallRequests of `batch` queries each."""
    requests = [
        recall_pb2.RecallRequest(
            service=service,
            vectors=recall_pb2.VectorQuery(vectors=[recall_pb2.Vector(packed=query.astype("<f4").tobytes())]),
            top_k=TOP_K,
        )
        for query in queries
    ]
    if batch == 1:
        return [request.SerializeToString() for request in requests]
    endless = cycle(requests)
    return [
        recall_pb2.BatchRecallRequest(service=service, requests=islice(endless, batch)).SerializeToString()
        for _ in range(BATCHES_MADE)
    ]


async def _run_unary(arguments: argparse.Namespace, payloads: list[bytes], seconds: float) -> Tally:
    return await call_again_and_again(
        arguments.address,
        os.environ["RECALL_API_KEY"],
        "Recall",
        payloads,
        seconds,
        callers=arguments.concurrency,
        connections=arguments.connections,
        is_right=has_top_k,
    )


async def call_again_and_again(
    address: str,
    key: str,
    rpc: str,
    payloads: Sequence[bytes],
    seconds: float,
    *,
    callers: int,
    connections: int,
    is_right: Callable[[bytes], bool],
) -> Tally:
    """`callers` unary calls at once for so long, each followed by the next of the endlessly repeated `payloads`.

    They share at most so many connections. Every READ_EVERY-th answer, the first too, is shown to `is_right`.
    """
    host, _, port = address.rpartition(":")
    headers = {"authorization": _bearer(key), "grpc-timeout": f"{DEADLINE_SECONDS:.0f}S"}
    tally, endless = Tally(is_right), cycle(payloads)

    def make_client() -> BareClient:
        return BareClient(PATH + rpc, headers, endless, tally.answered)

    loop = asyncio.get_running_loop()
    connections = min(connections, callers)
    clients = [(await loop.create_connection(make_client, host, int(port)))[1] for _ in range(connections)]
    await asyncio.gather(*(client.run(callers // connections, seconds) for client in clients))
    return tally


def has_top_k(message: bytes) -> bool:
    """Whether a serialised RecallResponse holds as many items as these requests ask for."""
    return len(recall_pb2.RecallResponse.FromString(message).ids) == TOP_K


async def _run_batches(arguments: argparse.Namespace, payloads: list[bytes], seconds: float) -> Tally:
    tally, endless = Tally(has_top_k), cycle(payloads)
    end = time.perf_counter() + seconds
    options = (("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),)
    async with grpc.aio.insecure_channel(arguments.address, options=options) as channel:
        call = channel.unary_unary(PATH + "BatchRecall")
        await asyncio.gather(*(_call_until(call, endless, tally, end) for _ in range(arguments.concurrency)))
    return tally


async def _call_until(call: Any, payloads: cycle[bytes], tally: Tally, end: float) -> None:
    metadata = (("authorization", _bearer(os.environ["RECALL_API_KEY"])),)
    while (started := time.perf_counter()) < end:
        try:
            await call(next(payloads), metadata=metadata, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError:
            tally.failures += 1
        else:
            tally.spent.append(time.perf_counter() - started)


def _bearer(key: str) -> str:
    return f"Bearer {key}"


if __name__ == "__main__":
    main()
