"""`make bench-switches`: switches and rollbacks under load, on the platform that `recall up` starts.

A live version and the one before it take turns (a rollback, an activation, a rollback, ...) while callers ask at a
steady rate: 500 calls a second or half of what the machine sustains. Version v holds the ids [v * items, (v + 1) *
items), so that every answer shows whether its items are of the version that it names. Exits 1 when a call failed, an
answer mixed versions, or the p99 of the rollbacks, from the call to the first answer of the old version, is above 1 s.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.whole_platform import whole_platform
from tests.e2e.conftest import hnsw_service
from tests.e2e.drops import write_drop
from tests.e2e.load import Answer, Load
from tests.e2e.platform import Platform, eventually

SERVICE = "switches"
DIMENSION, TOP_K = 64, 100
QPS_MAX = 500.0
SUSTAINED_SECONDS, SUSTAINED_CONCURRENCY = 4.0, 64
SWITCH_SECONDS_MAX = 10.0
PAUSE_SECONDS = 0.2
BUILD_SECONDS_MAX = 600.0
ROLLBACK_SECONDS_P99_MAX = 1.0


@dataclass
class Switched:
    """Seconds from each call to the first answer of the version that it asked for."""

    rollbacks: list[float] = field(default_factory=list)
    activations: list[float] = field(default_factory=list)

    def p99(self, kind: str) -> float:
        return float(np.percentile(getattr(self, kind), 99))


def two_versions(platform: Platform, service: str, *, items: int, **changes: Any) -> np.ndarray:
    """Makes `service` with versions 1 and 2, 2 live; returns queries. `changes` are blocks of its spec."""
    platform.api("POST", "/services", {**hnsw_service(service, dimension=DIMENSION), **changes})
    vectors = np.empty((0, DIMENSION), np.float32)
    for number in (1, 2):
        vectors = write_drop(
            platform.source(service),
            f"{number:08}",
            items=items,
            dimension=DIMENSION,
            first_id=number * items,
            seed=number,
        )
        platform.build(service, seconds_max=BUILD_SECONDS_MAX)
    return vectors[:1000]


def switch_to_and_fro(platform: Platform, service: str, load: Load, *, switches: int) -> Switched:
    """Half of `switches` are rollbacks from 2 to 1, the others activations of 2."""
    switched = Switched()
    for number in range(switches):
        back = number % 2 == 0
        wanted = {"from_version": 2} if back else {"version": 2}
        asked_at = time.monotonic()
        platform.api("POST", f"/services/{service}:{'rollback' if back else 'activate'}", {**wanted, "reason": "test"})
        seconds = _first_answer(load, asked_at, 1 if back else 2)
        (switched.rollbacks if back else switched.activations).append(seconds)
        time.sleep(PAUSE_SECONDS)
    return switched


def mixed(answers: list[Answer], *, items: int) -> list[Answer]:
    """Answers that are not whole, or hold an item of another version than the one they name."""
    return [
        answer
        for answer in answers
        if len(answer.ids) != TOP_K or {item // items for item in answer.ids} != {answer.version}
    ]


def _first_answer(load: Load, asked_at: float, version: int) -> float:
    found: list[float] = []

    def answered() -> bool:
        seconds = load.seconds_since(asked_at, version)
        found.extend([] if seconds is None else [seconds])
        return bool(found)

    eventually(answered, seconds_max=SWITCH_SECONDS_MAX, what=f"an answer of version {version}")
    return found[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switches", type=int, default=50)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--qps", type=float, default=QPS_MAX)
    arguments = parser.parse_args()
    with whole_platform() as platform:
        return _measure(platform, arguments)


def _measure(platform: Platform, arguments: argparse.Namespace) -> int:
    queries = two_versions(platform, SERVICE, items=arguments.items)
    service = f"tenants/{platform.tenant}/services/{SERVICE}"
    sustained = _sustained_qps(platform, service, queries)
    qps = min(arguments.qps, sustained / 2)
    _print("sustained", f"{sustained:,.0f} calls/s; asking at {qps:,.0f}")
    with Load(target=platform.gateway, key=platform.key, service=service, queries=queries, qps=qps) as load:
        eventually(lambda: len(load.answers) > qps, seconds_max=20, what="the load to run")
        switched = switch_to_and_fro(platform, SERVICE, load, switches=arguments.switches)
    load.check_complete()
    return report(load, switched, items=arguments.items)


def _sustained_qps(platform: Platform, service: str, queries: np.ndarray) -> float:
    """What the gateway answers when asked as fast as it can."""
    path = platform.home / "queries.npy"
    np.save(path, queries)
    command = [sys.executable, "-m", "benchmarks.load", "--address", platform.gateway, "--service", service]
    command += ["--queries", str(path), "--seconds", str(SUSTAINED_SECONDS)]
    command += ["--concurrency", str(SUSTAINED_CONCURRENCY)]
    environment = os.environ | {"RECALL_API_KEY": platform.key}
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    return float(json.loads(output)["qps"])


def report(load: Load, switched: Switched, *, items: int) -> int:
    """Prints what came of it; 1 when a bar was missed, else 0."""
    spent_ms = np.array([answer.seconds for answer in load.answers]) * 1e3
    wrong = mixed([answer for answer in load.answers if not answer.error], items=items)
    _print("calls", f"{len(load.answers):,}: {len(load.failed)} failed, {len(wrong)} of mixed versions")
    _print("latency meanwhile", f"p50 {np.percentile(spent_ms, 50):.1f} ms   p99 {np.percentile(spent_ms, 99):.1f} ms")
    for kind in ("rollbacks", "activations"):
        seconds = getattr(switched, kind)
        text = f"median {np.median(seconds):.3f} s   p99 {switched.p99(kind):.3f} s   worst {max(seconds):.3f} s"
        _print(f"{len(seconds)} {kind}", text)
    missed = []
    if load.failed:
        missed.append(f"{len(load.failed)} calls failed, the first with {load.failed[0].error}; none may")
    if wrong:
        missed.append(f"{len(wrong)} answers are not of the version that they name")
    if switched.p99("rollbacks") > ROLLBACK_SECONDS_P99_MAX:
        p99 = switched.p99("rollbacks")
        missed.append(f"the p99 of rollbacks is {p99:.2f} s; the bar is {ROLLBACK_SECONDS_P99_MAX:g} s")
    for line in missed:
        print(f"MISSED: {line}")
    return 1 if missed else 0


def _print(what: str, figure: str) -> None:
    print(f"{what:<20}{figure}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
