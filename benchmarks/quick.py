"""`make bench-quick`: what the platform costs, in one run on 100,000 x 64 of clustered data.

Prints recall@100, unary and BatchRecall QPS through the gateway, and what hnswlib does alone: the same graph, the same
effort, as many threads as there are cores. They are measured in turns, hnswlib before and after each of the others,
because the machine's other work comes and goes and because a machine that was idle is quick at first. Everything shares
the machine's cores, the load generator too. Exits 1 when a bar is missed, and names it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np

from benchmarks.data import Float32, clustered
from benchmarks.platform import DataPlane, Index, make_artifact, running
from benchmarks.raw_hnsw import TOP_K, open_raw
from benchmarks.recall import recall_through
from bundles import layout
from engines import registry
from engines.hnsw.header import INDEX_FILE

ITEMS, DIMENSION, SEED = 100_000, 64, 100
ENGINE = "hnsw"
ROUNDS = 4
UNARY_SECONDS, BATCH_SECONDS, RAW_SECONDS = 4.0, 3.0, 3.0
UNARY_CONCURRENCY, BATCH_CONCURRENCY, BATCH = 256, 6, 64
RECALL_QUERIES = 500
RECALL_MIN, RATIO_MIN = 0.95, 0.3


@dataclass
class Figures:
    """One entry for each round. `raw` is hnswlib's QPS before each of the others, in turn, and once more at the end."""

    raw: list[float] = field(default_factory=list)
    unary: list[dict[str, float]] = field(default_factory=list)
    batch: list[dict[str, float]] = field(default_factory=list)

    def ratio(self, kind: str) -> float:
        """The median over the rounds, each against hnswlib just before and just after."""
        first = 0 if kind == "unary" else 1
        around = [(before + after) / 2 for before, after in pairwise(self.raw)][first::2]
        figures: list[dict[str, float]] = getattr(self, kind)
        return statistics.median(figure["qps"] / raw for figure, raw in zip(figures, around, strict=True))

    def median(self, kind: str, name: str) -> float:
        return statistics.median(figure[name] for figure in getattr(self, kind))

    def failures(self) -> float:
        return sum(figure["failures"] for figure in (*self.unary, *self.batch))


def main() -> int:
    threads = os.cpu_count() or 1
    search_params: Any = registry.describe(ENGINE).search_params_model()
    index = Index(engine=ENGINE, ef=search_params.ef, threads=threads)
    vectors, queries = clustered(ITEMS, DIMENSION, SEED)
    with tempfile.TemporaryDirectory(prefix="recall-bench-", dir="/tmp") as name:
        folder = Path(name)
        started = time.perf_counter()
        artifact = make_artifact(folder, vectors, index)
        _print("import, build, publish", f"{time.perf_counter() - started:.1f} s, {threads} threads")
        np.save(folder / "queries.npy", queries)
        raw = open_raw(artifact.path / layout.INDEX_FOLDER / INDEX_FILE, DIMENSION, index.ef)
        with running(folder, artifact, DIMENSION, ITEMS) as plane:
            recall = recall_through(plane, vectors, queries[:RECALL_QUERIES])
            figures = _measure(plane, raw, folder / "queries.npy", queries, threads)
    return _report(figures, recall, index)


def _measure(plane: DataPlane, raw: hnswlib.Index, path: Path, queries: Float32, threads: int) -> Figures:
    figures = Figures(raw=[_raw_qps(raw, queries, threads)])
    for _ in range(ROUNDS):
        figures.unary.append(_load(plane, path, UNARY_SECONDS, UNARY_CONCURRENCY, 1))
        figures.raw.append(_raw_qps(raw, queries, threads))
        figures.batch.append(_load(plane, path, BATCH_SECONDS, BATCH_CONCURRENCY, BATCH))
        figures.raw.append(_raw_qps(raw, queries, threads))
    return figures


def _raw_qps(raw: hnswlib.Index, queries: Float32, threads: int) -> float:
    started, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < RAW_SECONDS:
        raw.knn_query(queries, k=TOP_K, num_threads=threads)
        done += len(queries)
    return done / spent


def _load(plane: DataPlane, queries: Path, seconds: float, concurrency: int, batch: int) -> dict[str, float]:
    """The load generator, a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load", "--address", plane.address, "--service", plane.service]
    command += ["--queries", str(queries), "--seconds", str(seconds), "--concurrency", str(concurrency)]
    command += ["--batch", str(batch)]
    environment = os.environ | {"RECALL_API_KEY": plane.key}
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    figures: dict[str, float] = json.loads(output)
    return figures


def _report(figures: Figures, recall: float, index: Index) -> int:
    unary, batch = figures.ratio("unary"), figures.ratio("batch")
    _print(f"recall@{TOP_K}", f"{recall:.4f}   ({index.engine}, ef {index.ef})")
    _print(f"raw hnswlib, {index.threads} threads", f"{statistics.median(figures.raw):8,.0f} QPS")
    _print("gateway, unary", f"{figures.median('unary', 'qps'):8,.0f} QPS   {unary:.2f} of raw")
    p50, p99 = figures.median("unary", "p50_ms"), figures.median("unary", "p99_ms")
    _print(f"  latency, {UNARY_CONCURRENCY} calls at once", f"p50 {p50:.1f} ms   p99 {p99:.1f} ms")
    _print(f"gateway, BatchRecall({BATCH})", f"{figures.median('batch', 'qps'):8,.0f} QPS   {batch:.2f} of raw")
    missed = []
    if recall < RECALL_MIN:
        missed.append(f"recall@{TOP_K} is {recall:.4f}; the bar is {RECALL_MIN}")
    if unary < RATIO_MIN:
        missed.append(f"unary QPS is {unary:.2f} of raw hnswlib; the bar is {RATIO_MIN}")
    if figures.failures():
        missed.append(f"{figures.failures():.0f} calls failed; none may")
    for line in missed:
        print(f"MISSED: {line}")
    return 1 if missed else 0


def _print(what: str, figure: str) -> None:
    print(f"{what:<28}{figure}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
