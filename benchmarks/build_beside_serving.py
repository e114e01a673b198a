"""`make bench-beside`: what callers notice of a build, on the platform that `recall up` starts.

A live version is asked at a steady rate while one whole build of the same size runs: import, index (cores - 1 threads),
checks, publishing, loading beside the live version, warming up, and the switch. The build is cut into five stretches,
and before each is a stretch of nothing: before the first the build is not yet asked for, before the others its index
child is stopped (SIGSTOP). So idle and building lie side by side, since the machine's other work comes and goes. Prints
the p99 of both, in pairs; exits 1 when the median of the five ratios is above 1.3, or a call failed.

At 1,000,000 x 64 on 2 cores one build takes about 8 minutes and the run about 18, the live version's own included.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from benchmarks.whole_platform import whole_platform
from tests.e2e.conftest import hnsw_service
from tests.e2e.drops import write_drop
from tests.e2e.load import Load
from tests.e2e.platform import Platform, eventually

SERVICE = "beside"
DIMENSION, SEED = 64, 100
PAIRS = 5
IDLE_SECONDS = 20.0
# The last stretch goes on until the build has ended.
BUILDING_SECONDS = 80.0
INDEX_CHILD = "engines.build"
SETTLE_SECONDS = 3.0
BUILD_SECONDS_MAX = 3_600.0
# Each look is a REST call, which takes CPU from what is measured.
BUILD_POLL_SECONDS = 2.0
RATIO_MAX = 1.3
# As the platform builds by default; the end-to-end tests' own are quicker.
ENGINE = {"name": "hnsw"}


@dataclass(frozen=True)
class Pair:
    """p99 in milliseconds, of `building_seconds` and of the idle stretch just before."""

    idle_ms: float
    building_ms: float
    building_seconds: float

    @property
    def ratio(self) -> float:
        return self.building_ms / self.idle_ms


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--qps", type=float, default=400.0)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS)
    parser.add_argument("--building-seconds", type=float, default=BUILDING_SECONDS)
    arguments = parser.parse_args()
    threads = max(1, (os.cpu_count() or 1) - 1)
    with whole_platform(RECALL_BUILD_THREADS=str(threads)) as platform:
        queries = _live(platform, arguments.items)
        _print("live", f"{arguments.items:,} x {DIMENSION}; asking at {arguments.qps:g} calls/s, {threads} threads")
        service = f"tenants/{platform.tenant}/services/{SERVICE}"
        load = Load(target=platform.gateway, key=platform.key, service=service, queries=queries, qps=arguments.qps)
        with load:
            pairs = _pairs(platform, load, arguments)
    load.check_complete()
    return report(pairs, load)


def _live(platform: Platform, items: int) -> np.ndarray:
    """A live version of `items`; returns queries. Its drop is what every later build is of."""
    spec = hnsw_service(SERVICE, dimension=DIMENSION)
    platform.api("POST", "/services", {**spec, "engine": ENGINE})
    vectors = write_drop(platform.source(SERVICE), "1", items=items, dimension=DIMENSION, first_id=0, seed=SEED)
    platform.build(SERVICE, seconds_max=BUILD_SECONDS_MAX)
    return vectors[:2000]


def _pairs(platform: Platform, load: Load, arguments: argparse.Namespace) -> list[Pair]:
    idle_ms = idle_p99_ms(load, arguments.idle_seconds)
    building_from = time.monotonic()
    number = platform.api("POST", f"/services/{SERVICE}:build", {"force": True})["number"]
    pairs: list[Pair] = []
    while len(pairs) < arguments.pairs - 1:
        time.sleep(arguments.building_seconds)
        with _index_child_stopped(platform, number):
            pairs.append(pair(load, idle_ms, building_from))
            idle_ms = idle_p99_ms(load, arguments.idle_seconds)
        building_from = time.monotonic()
    _ended(platform, number)
    return [*pairs, pair(load, idle_ms, building_from)]


def idle_p99_ms(load: Load, seconds: float) -> float:
    """Of the next `seconds`, after things have settled."""
    time.sleep(SETTLE_SECONDS)
    begin = time.monotonic()
    time.sleep(seconds)
    return p99_ms(load, begin, time.monotonic())


def pair(load: Load, idle_ms: float, building_from: float) -> Pair:
    """Of the stretch from `building_from` until now, and the idle one before it; prints it."""
    building_to = time.monotonic()
    made = Pair(idle_ms, p99_ms(load, building_from, building_to), building_to - building_from)
    _print(
        "p99",
        f"idle {made.idle_ms:6.2f} ms   building {made.building_ms:6.2f} ms   ratio {made.ratio:4.2f}   "
        f"({made.building_seconds:.0f} s of the build)",
    )
    return made


@contextlib.contextmanager
def _index_child_stopped(platform: Platform, number: int) -> Iterator[None]:
    """The process that builds the index, which is nearly all of a build, does nothing meanwhile."""
    children = [process for process in psutil.process_iter(["cmdline"]) if _builds_for(platform, process)]
    if len(children) != 1:
        build = platform.api("GET", f"/services/{SERVICE}/builds/{number}")
        raise SystemExit(
            f"build {number} is {build['state']} at {build['step']} and has {len(children)} index children; "
            "give it more --items or a shorter --building-seconds"
        )
    children[0].suspend()
    try:
        yield
    finally:
        children[0].resume()


def _builds_for(platform: Platform, process: psutil.Process) -> bool:
    command = process.info["cmdline"] or []
    return INDEX_CHILD in command and any(str(platform.home) in part for part in command)


def _ended(platform: Platform, number: int) -> None:
    build: dict[str, Any] = {}

    def ended() -> bool:
        build.update(platform.api("GET", f"/services/{SERVICE}/builds/{number}"))
        return build["state"] not in ("PENDING", "RUNNING")

    eventually(
        ended,
        seconds_max=BUILD_SECONDS_MAX,
        what=f"build {number} to end",
        every_seconds=BUILD_POLL_SECONDS,
    )
    assert build["state"] == "SUCCEEDED", build


def p99_ms(load: Load, begin: float, end: float) -> float:
    """Of the calls that started in between."""
    spent = [answer.seconds for answer in list(load.answers) if begin <= answer.started_at < end]
    assert spent, "nothing was asked meanwhile"
    return float(np.percentile(spent, 99)) * 1e3


def report(pairs: list[Pair], load: Load) -> int:
    """Prints the medians of the pairs; 1 when a bar was missed, else 0."""
    ratio = statistics.median(pair.ratio for pair in pairs)
    idle, building = (statistics.median(getattr(pair, name) for pair in pairs) for name in ("idle_ms", "building_ms"))
    _print("median of pairs", f"idle {idle:.2f} ms   building {building:.2f} ms   ratio {ratio:.2f}")
    _print("calls", f"{len(load.answers):,}, {len(load.failed)} failed")
    missed = []
    if ratio > RATIO_MAX:
        missed.append(f"p99 while building is {ratio:.2f} x the p99 without; the bar is {RATIO_MAX}")
    if load.failed:
        missed.append(f"{len(load.failed)} calls failed, the first with {load.failed[0].error}; none may")
    for line in missed:
        print(f"MISSED: {line}")
    return 1 if missed else 0


def _print(what: str, figure: str) -> None:
    print(f"{what:<20}{figure}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
