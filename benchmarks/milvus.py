"""`make bench-milvus`: two real Milvus instances, blue and green, behind the platform that `recall up` starts.

In a network of its own, because a real Milvus listens on every address. Each instance keeps to one core and makes its
threads for one. On the core of blue is what serves beside it: the gateway, Valkey, the replicas of what does not lie at
green, and who asks. On the core of green is all that builds and administers: the workers with their build children,
beat, the console, and the agent with the replicas of versions that lie at green. So what a build beside costs callers
is what they notice of it through the platform, and not that the machine is small; the idle stretches that it is
compared with are pinned the same.

1. Two versions, one at each instance, take turns under load: no call fails, each answer is of the version it names.
2. While version 1 is live at blue, versions are built at green, each up to where it waits to be approved; between them
   are idle stretches. The median of the pairs' ratios of p99 is to be at most 1.3.
3. Green, which is live, is killed under load beside a neighbour's graph service on the same gateway, and started
   again. Errors are to be UNAVAILABLE within the callers' deadline, and the neighbour's p99 at most 1.3 times as long.
4. On a platform that knows blue only, the same build is made where the service is served, for comparison; no bar.

Exits 1 when one of these does not hold. About 10 minutes at 20,000 x 64.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import build_beside_serving, switches
from benchmarks.build_beside_serving import Pair, idle_p99_ms, p99_ms, pair
from benchmarks.whole_platform import whole_platform
from bundles import layout
from engines.errors import EngineUnavailable
from engines.milvus.library import MilvusClient
from engines.milvus.reference import references_in
from tests.e2e.conftest import hnsw_service
from tests.e2e.drops import write_drop
from tests.e2e.load import DEADLINE_SECONDS, Answer, Load
from tests.e2e.platform import Platform, eventually
from tests.support import own_network, real_milvus
from tests.support.real_milvus import RealMilvus

REPLICA = "replicas.host"
GREEN = "green"
PARTS = SWITCHES, BESIDE, KILLED, SERVED = ("switches", "beside", "killed", "served")
SERVICE, NEIGHBOUR = "recall", "neighbour"
DIMENSION = switches.DIMENSION
SERVING_CORE, BUILDING_CORE = 0, 1
SERVE = ("valkey", "gateway")
ADMINISTER = ("agent", "console", "worker-control", "worker-builds", "worker-health", "beat")
# Milvus's own defaults, so that its pauses are those of an installation, but for threads: as many as there is a core.
FOR_ONE_CORE = {
    "queryNode.segcore.knowhereThreadPoolNumRatio": 1,
    "indexNode.scheduler.buildParallel": 1,
    "log.level": "warn",
}
ENGINE = {"name": "milvus", "params": {"M": 16, "ef_construction": 200}}
SEARCH = {"params": {"ef": 150}}
# What serves and who asks share a core, which at 50 of these calls a second was busy for 91 % of the time.
QPS, NEIGHBOUR_QPS = 25.0, 50.0
NEIGHBOUR_ITEMS = 50_000
BUILD_SECONDS_MAX = switches.BUILD_SECONDS_MAX
BUILD_POLL_SECONDS = build_beside_serving.BUILD_POLL_SECONDS
IDLE_SECONDS = 40.0
AWAY_SECONDS = 10.0
# What tells people of it; others may be raised by chance meanwhile.
AWAY_ALERT = EngineUnavailable.reason
STEP_SECONDS_MIN = 1.0
BACK_SECONDS_MAX = 120.0
# A call that failed when its time was over is told so a little later.
DEADLINE_GRACE_SECONDS = 0.5
RATIO_MAX = build_beside_serving.RATIO_MAX
MIB = 2**20


@dataclass(frozen=True)
class Instances:
    """`blue` shares the core of what serves, `green` that of what builds."""

    blue: RealMilvus
    green: RealMilvus

    def setting(self, *names: str) -> dict[str, str]:
        return {"RECALL_MILVUS_INSTANCES": ",".join(f"{name}={getattr(self, name).uri}" for name in names)}

    def tell_memory(self, when: str) -> None:
        told = [f"{name} {psutil.Process(getattr(self, name).pid).memory_info().rss / MIB:.0f}" for name in vars(self)]
        _print("memory, MiB", f"{'   '.join(told)}   {when}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--qps", type=float, default=QPS)
    parser.add_argument("--switches", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    if lack := _lacks():
        sys.exit(lack)
    with _instances() as instances:
        missed = 0
        if set(arguments.parts) - {SERVED}:
            missed = _two_instances(instances, arguments)
        if SERVED in arguments.parts:
            _one_instance(instances, arguments)
    return missed


def _lacks() -> str:
    if not own_network.is_own():
        return "A real Milvus listens on every address; run this by `make bench-milvus`, in a network of its own."
    if len(os.sched_getaffinity(0) & {SERVING_CORE, BUILDING_CORE}) < 2:
        return f"It takes the cores {SERVING_CORE} and {BUILDING_CORE}."
    return real_milvus.lacks()


@contextlib.contextmanager
def _instances() -> Iterator[Instances]:
    with tempfile.TemporaryDirectory(prefix="recall-bench-milvus-") as folder:
        instances = Instances(
            RealMilvus(Path(folder) / "blue", [SERVING_CORE], FOR_ONE_CORE),
            RealMilvus(Path(folder) / "green", [BUILDING_CORE], FOR_ONE_CORE),
        )
        try:
            for name, server in vars(instances).items():
                begin = time.monotonic()
                server.start()
                _print("started", f"{name} in {time.monotonic() - begin:.1f} s, on core {server.cpus}")
            instances.tell_memory("empty")
            yield instances
        finally:
            instances.blue.stop()
            instances.green.stop()


def _two_instances(instances: Instances, arguments: argparse.Namespace) -> int:
    missed = 0
    with _pinned_platform(**instances.setting("blue", "green")) as platform:
        queries = _service(platform, instances, arguments.items)
        if SWITCHES in arguments.parts:
            missed |= _switches(platform, queries, arguments)
        if BESIDE in arguments.parts:
            missed |= _beside(platform, instances, queries, arguments)
        if KILLED in arguments.parts:
            _activate(platform, 2)
            missed |= _outage(platform, instances.green, queries, arguments.qps)
    return missed


def _switches(platform: Platform, queries: np.ndarray, arguments: argparse.Namespace) -> int:
    with _load(platform, queries, arguments.qps) as load:
        eventually(lambda: len(load.answers) > arguments.qps, seconds_max=20, what="the load to run")
        switched = switches.switch_to_and_fro(platform, SERVICE, load, switches=arguments.switches)
    load.check_complete()
    return switches.report(load, switched, items=arguments.items)


def _beside(platform: Platform, instances: Instances, queries: np.ndarray, arguments: argparse.Namespace) -> int:
    _activate(platform, 1)
    platform.api("PATCH", f"/services/{SERVICE}", {"versions": {"activate": "on_approval"}})
    with _load(platform, queries, arguments.qps) as load:
        pairs = [_build_pair(platform, load, instances.green) for _ in range(arguments.pairs)]
    load.check_complete()
    instances.tell_memory("with the collections of two versions and of what was built")
    return build_beside_serving.report(pairs, load)


def _one_instance(instances: Instances, arguments: argparse.Namespace) -> None:
    with _pinned_platform(**instances.setting("blue")) as platform:
        platform.api("POST", "/services", _spec(versions={"activate": "auto"}))
        queries = _deliver(platform, 1, arguments.items)
        platform.build(SERVICE, seconds_max=BUILD_SECONDS_MAX)
        _pin_replicas(platform)
        platform.api("PATCH", f"/services/{SERVICE}", {"versions": {"activate": "on_approval"}})
        with _load(platform, queries, arguments.qps) as load:
            found = _build_pair(platform, load, instances.blue)
        _print(
            "where it is served", f"ratio {found.ratio:.2f}, {len(load.failed)} of {len(load.answers):,} calls failed"
        )


@contextlib.contextmanager
def _pinned_platform(**environment: str) -> Iterator[Platform]:
    """What serves and this process are on one core, what builds and administers on the other."""
    # Who waits for a reply awake, on the core of whoever is to give it, keeps it from doing so.
    with whole_platform(RECALL_POLL_US_MAX="0", **environment) as platform:
        for core, names in ((SERVING_CORE, SERVE), (BUILDING_CORE, ADMINISTER)):
            for name in names:
                _pin(platform.process(name), core)
        _pin(os.getpid(), SERVING_CORE, children=False)
        yield platform


def _pin_replicas(platform: Platform) -> None:
    """Those of versions that lie at green stay on the agent's core, beside it; the others serve."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if REPLICA in command and str(platform.home) in " ".join(command):
            artifact = Path(command[command.index("--artifact") + 1])
            if GREEN not in {each.instance for each in references_in(artifact / layout.INDEX_FOLDER)}:
                _pin(process.pid, SERVING_CORE)


def _pin(pid: int, core: int, *, children: bool = True) -> None:
    """A process with all its threads; whatever they start is on that core, too."""
    root = psutil.Process(pid)
    for process in [root, *(root.children(recursive=True) if children else [])]:
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {core})


def _spec(**changes: Any) -> dict[str, Any]:
    return {**hnsw_service(SERVICE, dimension=DIMENSION), "engine": ENGINE, "search": SEARCH, **changes}


def _service(platform: Platform, instances: Instances, items: int) -> np.ndarray:
    """Version 1 at blue, version 2 at green and live; returns queries."""
    begin = time.monotonic()
    queries = switches.two_versions(platform, SERVICE, items=items, engine=ENGINE, search=SEARCH)
    _print("live", f"{items:,} x {DIMENSION}; two whole builds took {time.monotonic() - begin:.0f} s")
    for name, server in vars(instances).items():
        if (found := len(_collections(server))) != 1:
            raise SystemExit(f"{name} has {found} collections; a version at each instance was to be built")
    instances.tell_memory("with the collection of one version each")
    _pin_replicas(platform)
    return queries


def _deliver(platform: Platform, number: int, items: int) -> np.ndarray:
    vectors = write_drop(
        platform.source(SERVICE), f"{number:08}", items=items, dimension=DIMENSION, first_id=number * items, seed=number
    )
    return vectors[:1000]


def _load(platform: Platform, queries: np.ndarray, qps: float, service: str = SERVICE) -> Load:
    path = f"tenants/{platform.tenant}/services/{service}"
    return Load(target=platform.gateway, key=platform.key, service=path, queries=queries, qps=qps)


def _activate(platform: Platform, version: int) -> None:
    if platform.api("GET", f"/services/{SERVICE}")["live_version"] != version:
        platform.api("POST", f"/services/{SERVICE}:activate", {"version": version, "reason": "benchmark"})


def _build_pair(platform: Platform, load: Load, where: RealMilvus) -> Pair:
    """An idle stretch, then a whole build but for its switch, which nobody approves; it is taken back after it."""
    idle_ms = idle_p99_ms(load, IDLE_SECONDS)
    before = _collections(where)
    begin = time.monotonic()
    number = platform.api("POST", f"/services/{SERVICE}:build", {"force": True})["number"]
    build = _ended(platform, number)
    found = pair(load, idle_ms, begin)
    _tell_steps(load, build)
    if build["state"] != "HELD" or not _collections(where) > before:
        raise SystemExit(f"build {number} was to wait for approval, with its collection at {where.uri}: {build}")
    platform.api("POST", f"/services/{SERVICE}/builds/{number}:cancel", {})
    return found


def _tell_steps(load: Load, build: dict[str, Any]) -> None:
    """The p99 of each step of some length, which shows what of a build is noticed."""
    since_epoch = time.time() - time.monotonic()
    told = []
    for step in build["steps"]:
        ends = [step[at] for at in ("started_at", "ended_at") if step[at]]
        times = [datetime.fromisoformat(each).timestamp() - since_epoch for each in ends]
        if len(times) == 2 and times[1] - times[0] >= STEP_SECONDS_MIN:
            told.append(f"{step['name']} {p99_ms(load, *times):.1f} ({times[1] - times[0]:.0f} s)")
    _print("p99 by step, ms", "   ".join(told))


def _ended(platform: Platform, number: int) -> dict[str, Any]:
    build: dict[str, Any] = {}

    def ended() -> bool:
        build.update(platform.api("GET", f"/services/{SERVICE}/builds/{number}"))
        return build["state"] not in ("PENDING", "RUNNING")

    eventually(ended, seconds_max=BUILD_SECONDS_MAX, what=f"build {number} to end", every_seconds=BUILD_POLL_SECONDS)
    return build


def _collections(server: RealMilvus) -> set[str]:
    """Asked by a connection of its own, which does not outlive the question."""
    client = MilvusClient(server.uri)
    try:
        return set(client.list_collections())
    finally:
        client.close()


def _outage(platform: Platform, green: RealMilvus, queries: np.ndarray, qps: float) -> int:
    """`green` is killed and started again while callers ask it, and others a service that has nothing to do with it."""
    neighbours = _neighbours(platform, queries)
    with _load(platform, queries, qps) as load, neighbours:
        before_ms = idle_p99_ms(neighbours, IDLE_SECONDS)
        known = _alerts(platform).keys()
        killed_at = time.monotonic()
        green.kill()
        time.sleep(AWAY_SECONDS)
        started_at = time.monotonic()
        green.start()
        begun = time.monotonic() - started_at
        eventually(
            lambda: load.seconds_since(started_at, 2) is not None, seconds_max=BACK_SECONDS_MAX, what="answers again"
        )
        back = load.seconds_since(started_at, 2) or 0.0
        while_ms = p99_ms(neighbours, killed_at, started_at + back)
    raised = {reason for number, reason in _alerts(platform).items() if number not in known}
    _print("killed", f"answers again {back:.1f} s after its restart, which took {begun:.1f} s")
    _print(
        "neighbour, p99", f"{before_ms:.2f} ms before, {while_ms:.2f} ms while; {len(neighbours.failed)} calls failed"
    )
    _print("alerts", ", ".join(sorted(raised)) or "none")
    return _tell_outage(load, killed_at, neighbours, while_ms / before_ms, raised)


def _neighbours(platform: Platform, queries: np.ndarray) -> Load:
    """Callers of another tenant's graph service."""
    own = platform.tenant, platform.key
    # Only an administrator makes a tenant, which the launcher's own user is without a key.
    del platform.environment["RECALL_API_KEY"]
    platform.as_owner(NEIGHBOUR)
    platform.api("POST", "/services", hnsw_service(NEIGHBOUR, dimension=DIMENSION))
    write_drop(
        platform.source(NEIGHBOUR), "1", items=NEIGHBOUR_ITEMS, dimension=DIMENSION, first_id=NEIGHBOUR_ITEMS, seed=9
    )
    platform.build(NEIGHBOUR)
    _pin_replicas(platform)
    load = _load(platform, queries, NEIGHBOUR_QPS, NEIGHBOUR)
    platform.tenant, platform.key = own
    platform.environment["RECALL_API_KEY"] = platform.key
    return load


def _alerts(platform: Platform) -> dict[int, str]:
    """Reasons of the newest alerts of the tenant, by their numbers."""
    return {alert["number"]: alert["reason"] for alert in platform.api("GET", "/alerts")["alerts"]}


def _tell_outage(load: Load, killed_at: float, neighbours: Load, ratio: float, raised: set[str]) -> int:
    failed = [answer for answer in load.failed if answer.started_at + answer.seconds >= killed_at]
    codes = Counter(answer.error.split(":")[0] for answer in failed)
    slowest = max((answer.seconds for answer in failed), default=0.0)
    _print("errors", f"{dict(codes)}; the slowest after {slowest:.2f} s, median {_median_ms(failed):.0f} ms")
    missed = []
    if set(codes) != {"UNAVAILABLE"}:
        missed.append(f"calls to an instance that is away fail with {dict(codes)}; they are to be UNAVAILABLE")
    if slowest > DEADLINE_SECONDS + DEADLINE_GRACE_SECONDS:
        missed.append(f"an error came after {slowest:.1f} s; the callers' deadline is {DEADLINE_SECONDS:g} s")
    if neighbours.failed or ratio > RATIO_MAX:
        missed.append(f"a neighbour's p99 was {ratio:.2f} x what it was before; the bar is {RATIO_MAX}")
    if AWAY_ALERT not in raised:
        missed.append(f"no alert {AWAY_ALERT} was raised")
    for line in missed:
        print(f"MISSED: {line}")
    return 1 if missed else 0


def _median_ms(answers: list[Answer]) -> float:
    return float(np.median([answer.seconds for answer in answers])) * 1e3 if answers else 0.0


def _print(what: str, figure: str) -> None:
    print(f"{what:<20}{figure}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
