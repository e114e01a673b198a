"""What a replica keeps of callers' queries: how much, for how long, and of whom."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from bundles import samples
from bundles.samples import SAMPLES_SECONDS_MAX, WINDOW_BYTES_MAX, Samples, Window
from recallpb.internal.v1 import documents_pb2, replica_pb2
from replicas.sampling import WINDOW_SECONDS, Sampler, _Open, space_of
from replicas.schema import VersionSchema
from replicas.settings import HostSettings
from tests.replicas.test_frames import Line, question, recall
from tests.support.artifacts import MadeArtifact, make_artifact
from tests.support.replica_hosts import Host, running_host

DIMENSION, SIZE = 8, 50
SHA256 = "ab" * 32


class Clock:
    """Unix time, as a test turns it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "films" / "similar" / "r1.npz"


def schema(**changes: Any) -> VersionSchema:
    manifest = {
        "tenant": "films", "service": "similar", "version": 1, "model_version": "mind-7", "items": 9,
        "searchable_items": 9, "dimension": DIMENSION, "metric": "ip", "engine": {"name": "flat"},
        "schema": {"id_type": "int64"},
    }  # fmt: skip
    return VersionSchema.of({**manifest, **changes})


@pytest.fixture
def made_sampler(path: Path, clock: Clock) -> Callable[..., Sampler]:
    """A sampler as a process begins with; the same seed each time."""

    def make(size: int = SIZE, sha256: str = SHA256, **changes: Any) -> Sampler:
        random = np.random.default_rng(7)
        return Sampler(schema(**changes), sha256, path, size=size, random=random, clock=clock)

    return make


def asked(first: int, count: int, *, vectors: int = 1, top_k: int = 10) -> list[Any]:
    """Encoded queries whose vectors hold their number, and behind the point which vector of the query it is."""
    return [
        SimpleNamespace(
            query=SimpleNamespace(top_k=top_k),
            encoded=SimpleNamespace(
                vectors=np.array([[number + which / 10] * DIMENSION for which in range(vectors)], np.float32)
            ),
        )
        for number in range(first, first + count)
    ]


def numbers(found: Samples) -> list[list[int]]:
    return [sorted(window.vectors[:, 0].astype(int).tolist()) for window in found.windows]


def test_the_file_holds_a_sample_and_what_was_asked_for(made_sampler, path):
    sampler = made_sampler()
    sampler.offer(asked(0, 20, top_k=300))
    sampler.offer(asked(20, 180, top_k=5))
    sampler.flush()
    found = samples.read(path)
    assert (found.tenant, found.service, found.manifest_sha256) == ("films", "similar", SHA256)
    assert found.space == space_of(schema())
    [window] = found.windows
    assert (window.seen, len(window.vectors), len(set(window.vectors[:, 0].tolist()))) == (200, SIZE, SIZE)
    for vector, top_k in zip(window.vectors, window.top_k, strict=True):
        assert (vector == vector[0]).all()
        assert top_k == (300 if vector[0] < 20 else 5)


def test_of_a_query_by_several_vectors_any_one_is_kept(made_sampler, path):
    sampler = made_sampler(size=1_000)
    sampler.offer(asked(0, 1_000, vectors=4))
    sampler.flush()
    [window] = samples.read(path).windows
    assert sorted(window.vectors[:, 0].astype(int).tolist()) == list(range(1_000))
    which = np.bincount(np.rint(window.vectors[:, 0] % 1 * 10).astype(int), minlength=4)
    assert which.min() > 200


def test_long_vectors_are_fewer(path, clock):
    long = schema(dimension=8_192)
    sampler = Sampler(long, SHA256, path, size=1_000, clock=clock)
    many = [
        SimpleNamespace(
            query=SimpleNamespace(top_k=1), encoded=SimpleNamespace(vectors=np.full((1, 8_192), 0.5, np.float32))
        )
    ] * 1_000
    sampler.offer(many)
    sampler.flush()
    [window] = samples.read(path).windows
    assert window.vectors.nbytes == WINDOW_BYTES_MAX
    assert path.stat().st_size < WINDOW_BYTES_MAX + 10_000


def test_where_nothing_was_asked_there_is_no_file(made_sampler, path):
    sampler = made_sampler()
    sampler.offer([])
    sampler.flush()
    assert not path.exists()


def test_nothing_new_writes_nothing(made_sampler, path):
    sampler = made_sampler()
    sampler.offer(asked(0, 9))
    sampler.flush()
    os.utime(path, (5, 5))
    sampler.flush()
    assert path.stat().st_mtime == 5
    sampler.offer(asked(9, 1))
    sampler.flush()
    assert path.stat().st_mtime > 5


def test_windows_follow_one_another_and_a_day_is_forgotten(made_sampler, path, clock):
    sampler = made_sampler()
    held = []
    for window in range(4):
        sampler.offer(asked(100 * window, 10))
        sampler.flush()
        held.append(numbers(samples.read(path)))
        clock.now += WINDOW_SECONDS
        sampler.flush()
    parts = [list(range(100 * window, 100 * window + 10)) for window in range(4)]
    assert held == [[parts[0]], [parts[0], parts[1]], [parts[1], parts[2]], [parts[2], parts[3]]]
    clock.now += SAMPLES_SECONDS_MAX
    sampler.flush()
    assert not path.exists()


def test_a_clock_that_was_set_back_begins_another_window(made_sampler, path, clock):
    sampler = made_sampler()
    sampler.offer(asked(0, 5))
    clock.now -= 3_600
    sampler.flush()
    sampler.offer(asked(5, 5))
    sampler.flush()
    assert numbers(samples.read(path)) == [list(range(5)), list(range(5, 10))]


def test_a_process_that_comes_back_goes_on_where_the_last_one_stopped(made_sampler, path, clock):
    first = made_sampler()
    first.offer(asked(0, 300))
    first.close()
    clock.now += 600
    second = made_sampler()
    second.offer(asked(300, 300))
    second.close()
    [window] = samples.read(path).windows
    assert (window.seen, len(window.vectors), window.began_at) == (600, SIZE, 1_000_000.0)
    from_first = int((window.vectors[:, 0] < 300).sum())
    assert 10 <= from_first <= 40


def test_over_many_restarts_each_query_is_as_likely_to_be_kept(path, clock):
    """200 queries that 10 processes take, one after the other: each tenth of them has a tenth of what is kept."""
    random = np.random.default_rng(9)
    counts = np.zeros(10)
    for _ in range(100):
        path.unlink(missing_ok=True)
        for process in range(10):
            sampler = Sampler(schema(), SHA256, path, size=20, random=random, clock=clock)
            sampler.offer(asked(20 * process, 20))
            sampler.flush()
        [window] = samples.read(path).windows
        counts += np.bincount(window.vectors[:, 0].astype(int) // 20, minlength=10)
    assert counts.sum() == 100 * 20
    assert ((counts - 200) ** 2 / 200).sum() < 27.9, "chi-square with 9 degrees of freedom: 999 of 1,000 are below"


@pytest.mark.parametrize("size", [SIZE // 2, SIZE * 2])
def test_after_a_change_of_size_what_was_kept_stays_and_a_new_window_begins(made_sampler, path, size):
    first = made_sampler()
    first.offer(asked(0, 300))
    first.close()
    second = made_sampler(size=size)
    second.offer(asked(300, 300))
    second.close()
    assert [(window.seen, len(window.vectors)) for window in samples.read(path).windows] == [(300, SIZE), (300, size)]


def test_however_often_it_comes_back_the_file_stays_small(made_sampler, path, clock):
    for turn in range(12):
        sampler = made_sampler(size=SIZE + turn)
        sampler.offer(asked(0, 300))
        sampler.close()
        clock.now += 60
    assert len(samples.read(path).windows) == samples.WINDOWS_MAX


@pytest.mark.parametrize("change", [{"sha256": "cd" * 32}, {"model_version": "mind-8"}, {"metric": "l2"}])
def test_what_another_version_left_is_not_gone_on_with(made_sampler, path, change):
    first = made_sampler()
    first.offer(asked(0, 300))
    first.close()
    second = made_sampler(**change)
    second.offer(asked(300, 5))
    second.close()
    assert numbers(samples.read(path)) == [list(range(300, 305))]


def test_a_damaged_file_is_told_of_and_written_anew(made_sampler, path):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"who asked")
    with capture_logs() as logs:
        sampler = made_sampler()
    [said] = logs
    assert (said["event"], said["log_level"]) == ("samples_ignored", "warning")
    assert "r1.npz cannot be read" in said["error"]
    sampler.offer(asked(0, 3))
    sampler.close()
    assert numbers(samples.read(path)) == [[0, 1, 2]]


def test_a_disk_that_refuses_is_told_of_once_and_stops_nobody(made_sampler, path):
    path.parent.parent.mkdir(parents=True)
    path.parent.write_text("a file where the folder should be")
    with capture_logs() as logs:
        sampler = made_sampler()
        sampler.offer(asked(0, 3))
        sampler.close()
        sampler.close()
    assert [said["event"] for said in logs] == ["samples_ignored", "samples_not_written"]
    path.parent.unlink()
    sampler.close()
    assert numbers(samples.read(path)) == [[0, 1, 2]]


def test_switched_off_it_keeps_nothing_and_deletes_what_was_kept(tmp_path):
    settings = HostSettings(home=tmp_path)
    kept = samples.path_of(tmp_path / "samples", "films", "similar", "r1")
    sampler = Sampler.of(schema(), SHA256, "r1", settings)
    assert sampler is not None
    sampler.offer(asked(0, 3))
    sampler.close()
    assert kept.is_file()
    assert Sampler.of(schema(), SHA256, "r1", HostSettings(home=tmp_path, query_samples=0)) is None
    assert not kept.exists()
    Sampler.of(schema(), SHA256, "r1", HostSettings(home=tmp_path, query_samples=0))


def test_many_threads_offer_while_one_writes(made_sampler, path):
    sampler = made_sampler()

    def offer_again_and_again() -> None:
        for _ in range(500):
            sampler.offer(asked(1, 4))

    offering = [threading.Thread(target=offer_again_and_again) for _ in range(4)]
    for thread in offering:
        thread.start()
    while any(thread.is_alive() for thread in offering):
        sampler.flush()
    sampler.flush()
    [window] = samples.read(path).windows
    assert SIZE < window.seen <= 4 * 500 * 4
    assert (window.vectors >= 1).all()


def test_who_asks_does_not_wait_for_the_one_who_copies_and_is_passed_over(made_sampler, path, monkeypatch):
    sampler = made_sampler()
    entered, leave, closed = threading.Event(), threading.Event(), _Open.closed

    def copied_slowly(held: _Open) -> Window:
        entered.set()
        leave.wait(5)
        return closed(held)

    monkeypatch.setattr(_Open, "closed", copied_slowly)
    flushing = threading.Thread(target=sampler.flush)
    flushing.start()
    assert entered.wait(5)
    sampler.offer(asked(0, 3))
    leave.set()
    flushing.join()
    sampler.flush()
    assert not path.exists(), "the queries were not passed over but waited"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeArtifact:
    return make_artifact(tmp_path_factory.mktemp("made"), items=300, dimension=16, version=3, metric="cosine")


def ask(host: Host, *vectors: np.ndarray) -> None:
    """As a gateway does."""
    line = Line(host)
    reply = line.ask(question(*[recall(vector) for vector in vectors]))
    assert all(each.WhichOneof("result") == "response" for each in reply.answer.answers)
    line.socket.close()


def ordered(host: Host, kind: documents_pb2.Order.Kind) -> None:
    assert host.stub.Execute(documents_pb2.Order(order_id="o", kind=kind)).ok


def ended(host: Host, number: signal.Signals = signal.SIGTERM) -> None:
    host.process.send_signal(number)
    host.process.wait(timeout=30)


@pytest.mark.servers
def test_a_replica_samples_what_gateways_ask_and_nothing_that_the_platform_asks_itself(
    made: MadeArtifact, tmp_path: Path
) -> None:
    home = {"RECALL_HOME": str(tmp_path)}
    theirs, ours = made.queries[:100], made.queries[100:120]
    with running_host(made, **home) as host:
        ask(host, *theirs)
        for kind in (documents_pb2.Order.WARM, documents_pb2.Order.CHECK, documents_pb2.Order.AUDIT):
            ordered(host, kind)
        # The way that COMPARE asks.
        requests = [recall(vector) for vector in ours]
        assert len(host.stub.Answer(replica_pb2.AnswerRequest(requests=requests, version=3)).answers) == 20
        ended(host)
    found = samples.read(tmp_path / "samples" / "films" / "similar" / "r1.npz")
    assert (found.manifest_sha256, found.space.model_version) == (made.manifest_sha256, "mind-7")
    [window] = found.windows
    assert (window.seen, set(window.top_k.tolist())) == (100, {10})
    # As they were searched, which is of length 1 here.
    searched = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(window.vectors, searched, rtol=1e-5, atol=1e-6)


@pytest.mark.servers
def test_a_replica_that_comes_back_goes_on_with_its_sample(made: MadeArtifact, tmp_path: Path) -> None:
    home = {"RECALL_HOME": str(tmp_path)}
    with running_host(made, **home) as host:
        ask(host, *made.queries[:50])
        ended(host)
    with running_host(made, **home) as host:
        ask(host, *made.queries[50:80])
        ended(host)
    [window] = samples.read(tmp_path / "samples" / "films" / "similar" / "r1.npz").windows
    assert (window.seen, len(window.vectors)) == (80, 80)


@pytest.mark.servers
def test_a_replica_may_be_told_to_sample_nothing(made: MadeArtifact, tmp_path: Path) -> None:
    with running_host(made, RECALL_HOME=str(tmp_path), RECALL_QUERY_SAMPLES="0") as host:
        ask(host, *made.queries[:50])
        ended(host)
    assert not (tmp_path / "samples").exists()
