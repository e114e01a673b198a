"""The build child, as a process: what it prints, what it may use, and when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from benchmarks.data import clustered
from engines import leash, registry
from engines.base import IndexSpec, SearchEffort
from engines.build import open_vectors, read_order
from engines.errors import ParamsInvalid, VectorsInvalid

pytestmark = pytest.mark.servers

CHILD = [sys.executable, "-m", "engines.build"]
MIB = 2**20
WAIT_SECONDS = 30
# Of a child that has imported its libraries and not yet begun.
BASELINE_BYTES = 150 * MIB


def _order(folder: Path, engine: str, rows: int, *, params: dict[str, object] | None = None, **more: object) -> Path:
    """An order over `rows` made vectors, and one more row that is not searchable."""
    vectors = folder / "vectors.npy"
    np.save(vectors, clustered(rows + 1, 64, seed=1)[0])
    spec = {"metric": "ip", "dimension": 64, "threads": 1, "params": params or {}}
    order = {"engine": engine, "spec": spec, "vectors": str(vectors), "rows": rows, "out_dir": str(folder / "index")}
    path = folder / "order.json"
    path.write_text(json.dumps(order | more))
    return path


def _run(order: Path) -> tuple[int, list[dict[str, Any]]]:
    ended = subprocess.run([*CHILD, str(order)], capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    return ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()]


def _wait_for(condition: Any) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_builds_what_can_be_opened_and_says_how_far_it_is(engine: str, tmp_path: Path) -> None:
    order = _order(tmp_path, engine, 5_000, nice=19, memory_bytes_max=2**32, seed=3)
    code, lines = _run(order)
    assert code == 0
    *progress, done = lines
    # At first, of an index at a server, where it is.
    if registry.describe(engine).remote:
        [place] = registry.place_names(tmp_path / "index")
        assert progress.pop(0) == {"note": f"The index is made at {place}."}
    assert progress[-1] == {"rows_done": 5_000, "rows": 5_000}
    assert [line["rows_done"] for line in progress] == sorted({line["rows_done"] for line in progress})
    assert set(done) == {"done", "seconds", "peak_rss_bytes"}
    assert 0 < done["seconds"] < WAIT_SECONDS
    assert 10 * MIB < done["peak_rss_bytes"] < 2**32
    vectors = np.load(tmp_path / "vectors.npy")[:5_000]
    searcher = registry.open_searcher(engine, IndexSpec("ip", 64), tmp_path / "index", vectors)
    rows, _ = searcher.search(vectors[:100], 1, SearchEffort())
    assert (rows[:, 0] == np.arange(100)).mean() > 0.95


def test_it_gives_way_to_others_while_it_builds(tmp_path: Path) -> None:
    params: dict[str, object] = {"ef_construction": 800}
    order = _order(tmp_path, "hnsw", 40_000, params=params, nice=11, cpus=1, memory_bytes_max=2**31)
    with subprocess.Popen([*CHILD, str(order)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = json.loads(child.stdout.readline())
        assert 0 < first["rows_done"] < first["rows"]
        running = psutil.Process(child.pid)
        assert running.nice() == 11
        assert running.cpu_affinity() == [max(os.sched_getaffinity(0))]
        assert running.rlimit(psutil.RLIMIT_DATA)[0] == 2**31
        assert os.sched_getscheduler(child.pid) == os.SCHED_OTHER
        assert os.getsid(child.pid) == child.pid
        autogroup = Path(f"/proc/{child.pid}/autogroup")
        if autogroup.exists():  # Not every system weighs sessions.
            assert autogroup.read_text().split()[-2:] == ["nice", "11"]
        child.kill()


def test_a_thread_that_ends_meanwhile_and_a_sandbox_that_refuses_do_not_fail_a_build(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, niced = ["1", "2"], []

    def set_nice(_: int, thread: int, nice: int) -> None:
        if thread == 1:
            raise ProcessLookupError
        niced.append((thread, nice))

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(leash, "let_session_give_way", lambda *_: None)
    monkeypatch.setattr(os, "listdir", lambda _: threads)
    monkeypatch.setattr(os, "setpriority", set_nice)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "getpgrp", os.getpid)
    leash.be_nice(19)
    assert niced == [(2, 19)]


def test_as_nice_as_can_be_is_when_nobody_else_wants_the_core(tmp_path: Path) -> None:
    order = _order(tmp_path, "hnsw", 40_000, params={"ef_construction": 800}, nice=19, memory_bytes_max=2**31)
    with subprocess.Popen([*CHILD, str(order)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        threads = [int(thread.name) for thread in Path(f"/proc/{child.pid}/task").iterdir()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_IDLE}
        child.kill()


def test_an_index_over_the_cap_is_out_of_memory(tmp_path: Path) -> None:
    """256 links for each of 100,000 items need 200 MB."""
    code, lines = _run(_order(tmp_path, "hnsw", 100_000, params={"M": 128}, memory_bytes_max=BASELINE_BYTES))
    assert code != 0
    assert lines[-1]["error"]["reason"] == "engine.out_of_memory"
    assert lines[-1]["error"]["owner"] == "platform"


def test_no_cap_is_so_unlucky_that_the_library_aborts(tmp_path: Path) -> None:
    """hnswlib ends the process without a word when it can start some of its threads and not all."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from benchmarks.data import clustered\n"
        "from engines.base import IndexSpec\nfrom engines.errors import OutOfMemory\n"
        "from engines.hnsw.builder import HnswBuilder\nfrom engines.leash import cap_memory\n"
        "vectors, _ = clustered(20_000, 64, seed=1)\n"
        "spec = IndexSpec('ip', 64, threads=3, params={'ef_construction': 8})\n"
        "held = next(int(line.split()[1]) * 1024 for line in open('/proc/self/status') if line.startswith('VmData'))\n"
        "for more_mib in range(4, 80, 4):\n"
        "    cap_memory(held + more_mib * 2**20)\n"
        "    try:\n"
        "        HnswBuilder().build(spec, vectors, Path(sys.argv[1]), int)\n"
        "    except OutOfMemory:\n"
        "        print('full')\n"
        "    else:\n"
        "        print('built')\n"
        "        break\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told = ended.stdout.split()
    assert told == ["full"] * (len(told) - 1) + ["built"]
    assert len(told) > 5


def test_memory_that_the_system_does_not_count_is_watched() -> None:
    """Shared memory passes by the limit on private memory."""
    code = (
        "import mmap, time\n"
        "from engines.build import end_for_memory\n"
        "from engines.leash import cap_memory, watch_memory\n"
        f"cap_memory({BASELINE_BYTES * 4}); watch_memory({BASELINE_BYTES}, end_for_memory)\n"
        f"held = mmap.mmap(-1, {BASELINE_BYTES * 2})\n"
        f"held.write(b'x' * {BASELINE_BYTES * 2})\n"
        f"time.sleep({WAIT_SECONDS})\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )
    assert ended.returncode != 0
    assert json.loads(ended.stdout)["error"]["reason"] == "engine.out_of_memory"


def test_an_engine_that_is_unknown_is_reported_as_a_line(tmp_path: Path) -> None:
    code, lines = _run(_order(tmp_path, "annoy", 100))
    assert code == 1
    assert [line["error"]["reason"] for line in lines] == ["engine.unknown"]
    assert "annoy" in lines[0]["error"]["message"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"rows": 0}, "rows"),
        ({"spec": {"metric": "angle", "dimension": 64}}, "spec.metric"),
        ({"nice": -5}, "nice"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_order_that_cannot_be_followed_says_why(changed: dict[str, object], says: str, tmp_path: Path) -> None:
    path = _order(tmp_path, "flat", 100)
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(ParamsInvalid, match=says):
        read_order(path)


def test_an_order_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ParamsInvalid, match="No such file"):
        read_order(tmp_path / "order.json")


def test_vectors_that_cannot_be_mapped_say_why(tmp_path: Path) -> None:
    file = tmp_path / "vectors.npy"
    with pytest.raises(VectorsInvalid, match="No such file"):
        open_vectors(file, 1)
    np.save(file, np.zeros((5, 2), np.float32))
    with pytest.raises(VectorsInvalid, match="5 rows, the order says 6"):
        open_vectors(file, 6)
    np.save(file, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(VectorsInvalid, match="Array can't be memory-mapped"):
        open_vectors(file, 1)


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    order = _order(tmp_path, "hnsw", 40_000, params={"ef_construction": 2_000}, memory_bytes_max=2**31)
    code = (
        "import subprocess, time\n"
        f"child = subprocess.Popen({[*CHILD, str(order)]!r}, stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        os.kill(parent.pid, signal.SIGKILL)
    _wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_it_does_not_start_for_a_parent_that_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    code, lines = _run(_order(tmp_path, "flat", 100, parent_pid=gone.pid))
    assert (code, lines) == (-signal.SIGKILL, [])
