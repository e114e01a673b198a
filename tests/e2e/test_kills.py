"""What dies comes back by itself, and what was live keeps answering."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.e2e.conftest import hnsw_service
from tests.e2e.drops import write_drop
from tests.e2e.load import Load
from tests.e2e.platform import Platform, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.servers, pytest.mark.timeout(600)]

ITEMS = 20_000
DIMENSION = 32
QPS = 100
RECOVERY_SECONDS_MAX = 30
# Callers miss the gateway while its successor starts, and connect again by their own clock.
TAKE_OVER_SECONDS_MAX = 5


@pytest.fixture(scope="module")
def queries(platform: Platform) -> np.ndarray:
    """A live service `shows` with one version; the vectors of its items serve as queries."""
    platform.api("POST", "/services", hnsw_service("shows", dimension=DIMENSION))
    vectors = write_drop(platform.source("shows"), "1", items=ITEMS, dimension=DIMENSION, first_id=0, seed=5)
    platform.build("shows")
    return vectors[:1000]


@pytest.fixture
def load(platform: Platform, queries: np.ndarray) -> Iterator[Load]:
    service = f"tenants/{platform.tenant}/services/shows"
    with Load(target=platform.gateway, key=platform.key, service=service, queries=queries, qps=QPS, top_k=10) as load:
        eventually(lambda: len(load.answers) > QPS / 2, seconds_max=20, what="the load to run")
        yield load


def test_a_killed_replica_comes_back_by_itself(platform: Platform, load: Load) -> None:
    before = replica_pids(platform)
    assert len(before) >= 1
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()

    eventually(lambda: answered_since(load, killed_at), seconds_max=RECOVERY_SECONDS_MAX, what="answers after the kill")
    eventually(
        lambda: len(replica_pids(platform)) == len(before),
        seconds_max=RECOVERY_SECONDS_MAX,
        what="the replicas to return",
    )

    assert not set(before) & set(replica_pids(platform))
    assert {answer.error.split(":")[0] for answer in load.failed} <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


def test_a_killed_gateway_comes_back_by_itself(platform: Platform, load: Load) -> None:
    before = platform.process("gateway")
    os.kill(before, signal.SIGKILL)
    killed_at = time.monotonic()

    eventually(lambda: answered_since(load, killed_at), seconds_max=RECOVERY_SECONDS_MAX, what="answers after the kill")

    assert platform.process("gateway") != before


def test_a_worker_killed_in_the_middle_of_build_index_finishes_the_build(
    platform: Platform, queries: np.ndarray
) -> None:
    spec = hnsw_service("slow", dimension=DIMENSION)
    spec["engine"]["params"] = {"M": 32, "ef_construction": 400}
    platform.api("POST", "/services", spec)
    write_drop(platform.source("slow"), "1", items=10_000, dimension=DIMENSION, first_id=0, seed=7)
    number = platform.api("POST", "/services/slow:build", {})["number"]
    eventually(lambda: build_children(platform) != [], seconds_max=60, what="build_index to start its child")
    child = build_children(platform)[0]
    before = platform.process("worker-builds")

    kill_tree_but(before, spare=child.pid)
    eventually(lambda: not child.is_running(), seconds_max=10, what="the build child to die with its worker")

    build = platform.wait_for_build("slow", number, seconds_max=240)
    assert build["version"] == 1
    assert platform.process("worker-builds") != before
    assert platform.api("GET", "/services/slow/versions/1")["live"] is True


def test_valkey_killed_under_load_fails_no_call_and_withdraws_nothing(platform: Platform, load: Load) -> None:
    before = platform.process("valkey")
    replicas = replica_pids(platform)

    os.kill(before, signal.SIGKILL)
    eventually(lambda: platform.process("valkey") != before, seconds_max=RECOVERY_SECONDS_MAX, what="a new valkey")
    time.sleep(5)  # Long enough for every reader to meet the empty server.

    assert load.failed == []
    assert replica_pids(platform) == replicas
    write_drop(platform.source("shows"), "2", items=ITEMS, dimension=DIMENSION, first_id=ITEMS, seed=6)
    version = platform.build("shows")["version"]
    eventually(lambda: load.answers[-1].version == version, seconds_max=10, what=f"answers of version {version}")
    assert load.failed == []


def test_a_killed_launcher_is_followed_by_one_that_takes_over_what_serves(platform: Platform, load: Load) -> None:
    state = json.loads((platform.home / "run" / "launcher.json").read_text())
    replicas, gateway = replica_pids(platform), platform.process("gateway")
    os.kill(state["pid"], signal.SIGKILL)
    killed_at = time.monotonic()

    platform.up()

    assert replica_pids(platform) == replicas
    assert platform.process("gateway") != gateway
    eventually(lambda: answered_since(load, time.monotonic() - 1), seconds_max=20, what="answers of the new gateway")
    assert longest_gap_seconds(load, killed_at) < TAKE_OVER_SECONDS_MAX
    # grpc cancels what reaches a server that stops before its clients have heard of it: within a tenth of a second.
    dropped = [answer for answer in load.failed if answer.error.startswith("CANCELLED")]
    assert len(dropped) < QPS / 10
    others = [answer for answer in load.failed if answer not in dropped]
    assert {answer.error.split(":")[0] for answer in others} <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


def longest_gap_seconds(load: Load, since: float) -> float:
    """Between two calls that were answered."""
    answered = sorted(answer.started_at for answer in list(load.answers) if not answer.error)
    moments = [since, *(moment for moment in answered if moment > since)]
    return max(after - before for before, after in itertools.pairwise(moments))


def answered_since(load: Load, moment: float) -> bool:
    return any(not answer.error and answer.started_at > moment + 0.5 for answer in list(load.answers))


def replica_pids(platform: Platform) -> list[int]:
    return sorted(process.pid for process in _platform_processes(platform, "replicas.host"))


def build_children(platform: Platform) -> list[psutil.Process]:
    return _platform_processes(platform, "engines.build")


def kill_tree_but(pid: int, *, spare: int) -> None:
    """Kills a Celery worker and its pool, but not the build child: that one must notice by itself."""
    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in tree:
        if process.pid != spare:
            process.kill()


def _platform_processes(platform: Platform, module: str) -> list[psutil.Process]:
    """Running processes `python -m module` of this platform, told by the folders on their command lines."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if module in line and any(str(platform.home) in Path(part).as_posix() for part in line):
            found.append(process)
    return found
