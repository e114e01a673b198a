"""recall bench: latency percentiles under a steady load, and recall against exact search."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CliError
from cli.gateway import DEADLINE_MS, Target, find_target, grpc_errors
from cli.options import ServiceName, Tenant
from cli.output import Json, pairs, remark, show

if TYPE_CHECKING:
    import numpy as np

    from recall_client import AsyncClient, ServiceInfo

# Queries without a file: vectors of items, found by random directions.
DIRECTIONS = 40
ITEMS_PER_DIRECTION = 50
EXACT_QUERIES_MAX = 200
SEED = 7


def bench(
    service: ServiceName,
    qps: Annotated[float, typer.Option(help="Calls started per second.", min=0.1, max=100_000)] = 100.0,
    seconds: Annotated[float, typer.Option(help="For how long.", min=0.1, max=86_400)] = 10.0,
    top_k: Annotated[int, typer.Option("-k", "--top-k", min=1)] = 100,
    vectors: Annotated[str, typer.Option(help="Queries: a .npy file [n, d]; without it, vectors of items.")] = "",
    deadline_ms: Annotated[float, typer.Option(help="For each call.", min=1)] = DEADLINE_MS,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Load a service at a steady rate; say latencies, failures, and recall against exact search if it is allowed."""
    target = find_target(service, tenant)
    with grpc_errors(target):
        found = asyncio.run(_bench(target, qps, seconds, top_k, vectors, deadline_ms))
    show(found, as_json=as_json, human=lambda: _tell(found))
    if found["failed"] or found["not_sent"]:
        raise typer.Exit(1)


async def _bench(
    target: Target, qps: float, seconds: float, top_k: int, vectors: str, deadline_ms: float
) -> dict[str, Any]:
    from cli.load import LoadResult, run_load
    from recall_client import AsyncClient

    async with AsyncClient(target.gateway, target.key, service=target.service, deadline_ms=deadline_ms) as client:
        info = await client.service_info(deadline_ms=DEADLINE_MS)
        queries = _read(vectors) if vectors else await _items(client, info)
        remark(f"{qps:g} calls a second for {seconds:g} s, {len(queries):,} different queries, top {top_k}")
        result = LoadResult()
        end = time.monotonic() + seconds
        await run_load(client, queries, qps=qps, top_k=top_k, until=lambda: time.monotonic() >= end, result=result)
        recall = await _recall(client, queries, top_k) if info.limits.allow_exact else None
    return {
        "sent": result.sent,
        "answered": len(result.latencies_ms),
        "failed": result.failed,
        "failures": dict(result.failures),
        "not_sent": result.not_sent,
        "answered_per_second": round(len(result.latencies_ms) / seconds, 1),
        "latency_ms": result.percentiles_ms(),
        "versions": {str(version): count for version, count in result.versions.items()},
        "recall": recall,
        "top_k": top_k,
    }


def _read(vectors: str) -> np.ndarray:
    from cli.commands.query import read_vector

    queries = read_vector(vectors)
    if queries.ndim != 2:
        raise CliError(f"{vectors} must hold a matrix [n, d], not {list(queries.shape)}.", field="vectors")
    return queries


async def _items(client: AsyncClient, info: ServiceInfo) -> np.ndarray:
    """Vectors of items, float32 [n, d]: closer to real queries than random directions are."""
    import numpy as np

    random = np.random.default_rng(SEED)
    directions = random.standard_normal((DIRECTIONS, info.schema.dimension), dtype=np.float32)
    top_k = min(ITEMS_PER_DIRECTION, info.limits.max_top_k)
    found = [
        await client.recall(direction, top_k=top_k, return_vectors=True, deadline_ms=DEADLINE_MS)
        for direction in directions
    ]
    vectors = [answer.vectors for answer in found if answer.vectors is not None]
    if not vectors:
        raise CliError("The service has no items to make queries of.", remedy="Give --vectors FILE.")
    unique = np.unique(np.concatenate(vectors), axis=0)
    return random.permutation(unique)


async def _recall(client: AsyncClient, queries: np.ndarray, top_k: int) -> float:
    """Share of the exact top k that the normal search finds."""
    found = wanted = 0
    for query in queries[:EXACT_QUERIES_MAX]:
        normal = await client.recall(query, top_k=top_k, deadline_ms=DEADLINE_MS)
        exact = await client.recall(query, top_k=top_k, exact=True, deadline_ms=DEADLINE_MS)
        found += len(set(normal.ids.tolist()) & set(exact.ids.tolist()))
        wanted += len(exact)
    return round(found / wanted, 4) if wanted else 0.0


def _tell(found: dict[str, Any]) -> None:
    recall = "unknown: limits.allow_exact is off" if found["recall"] is None else f"{found['recall']:.4f}"
    pairs(
        [
            ("answered", f"{found['answered']:,} of {found['sent']:,} ({found['answered_per_second']:,} a second)"),
            ("failed", ", ".join(f"{reason} {count:,}" for reason, count in found["failures"].items()) or "0"),
            ("not sent", f"{found['not_sent']:,}" if found["not_sent"] else ""),
            *((name, f"{value:.2f} ms") for name, value in found["latency_ms"].items()),
            ("versions", ", ".join(found["versions"])),
            (f"recall@{found['top_k']}", recall),
        ]
    )
