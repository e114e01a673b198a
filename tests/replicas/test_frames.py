"""Questions over frames: to a host process, the same answers as over gRPC; and to a server in this process, whose
work can be held up, what becomes of lines when threads, descriptors, time or callers are lacking.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import structlog
from google.rpc import code_pb2

from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2
from replicas import frames, items
from replicas.calls import MESSAGE_SPARE_BYTES, WAIT_SECONDS_UNHEARD, Calls
from replicas.frames import FrameServer
from replicas.framing import frames_path
from replicas.loaded import LoadedVersion, load
from replicas.polling import Poller
from replicas.settings import MIB, HostSettings
from tests.support.artifacts import MadeArtifact, make_artifact
from tests.support.replica_hosts import READY_SECONDS_MAX, Host, host_command, running_host

pytestmark = pytest.mark.servers

Result = TypeVar("Result")

ITEMS, DIMENSION, VERSION = 300, 16, 3
CALLS_MAX, CONNECTIONS_MAX = 4, 8
REQUEST_BYTES_MAX = 2**20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeArtifact:
    return make_artifact(tmp_path_factory.mktemp("made"), items=ITEMS, dimension=DIMENSION, version=VERSION)


@pytest.fixture(scope="module")
def host(made: MadeArtifact) -> Iterator[Host]:
    limits = {
        "RECALL_REPLICA_CALLS_MAX": str(CALLS_MAX),
        "RECALL_REPLICA_CONNECTIONS_MAX": str(CONNECTIONS_MAX),
        "RECALL_REPLICA_REQUEST_BYTES_MAX": str(REQUEST_BYTES_MAX),
    }
    with running_host(made, **limits) as host:
        yield host


class Line:
    """A gateway's connection, as plain as it gets."""

    def __init__(self, host: Host | Served) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(frames_path(host.address))
        assert self._exactly(4) == bytes(4)

    def ask(self, payload: bytes) -> replica_pb2.Reply:
        self.socket.sendall(len(payload).to_bytes(4, "big") + payload)
        return self.hear()

    def hear(self) -> replica_pb2.Reply:
        size = int.from_bytes(self._exactly(4), "big")
        return replica_pb2.Reply.FromString(self._exactly(size))

    def is_closed(self) -> bool:
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _exactly(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            more = self.socket.recv(size - len(received))
            if not more:
                raise ConnectionResetError("the replica closed the connection")
            received += more
        return received


@pytest.fixture
def line(host: Host) -> Iterator[Line]:
    line = Line(host)
    with contextlib.closing(line.socket):
        yield line


def recall(vector: np.ndarray) -> bytes:
    packed = recall_pb2.Vector(packed=np.asarray(vector, dtype="<f4").tobytes())
    return recall_pb2.RecallRequest(vectors=recall_pb2.VectorQuery(vectors=[packed]), top_k=10).SerializeToString()


def batch(*requests: bytes, version: int = VERSION) -> replica_pb2.AnswerRequest:
    return replica_pb2.AnswerRequest(requests=requests, version=version)


def question(*requests: bytes, version: int = VERSION) -> bytes:
    return replica_pb2.Question(answer=batch(*requests, version=version)).SerializeToString()


UNREADABLE_ITEMS = replica_pb2.Question(get_items=b"\xff\xff").SerializeToString()
DEADLINES_LACKING = replica_pb2.Question(
    answer=replica_pb2.AnswerRequest(requests=[b"", b""], deadlines_ms=[1], version=VERSION)
).SerializeToString()


def test_a_frame_is_answered_as_a_grpc_call_is(line: Line, host: Host, made: MadeArtifact) -> None:
    requests = [*(recall(query) for query in made.queries[:20]), b"\xff\xff"]
    assert line.ask(question(*requests)).answer == host.stub.Answer(batch(*requests))


def test_a_connection_takes_one_question_after_the_other(line: Line, made: MadeArtifact) -> None:
    for query in made.queries[:20]:
        assert len(line.ask(question(recall(query))).answer.answers) == 1


def test_items_come_by_id(line: Line, host: Host, made: MadeArtifact) -> None:
    request = recall_pb2.GetItemsRequest(items=recall_pb2.ItemIds(ids=[made.ids[3], 5]), return_vectors=True)
    reply = line.ask(replica_pb2.Question(get_items=request.SerializeToString()).SerializeToString())
    assert recall_pb2.GetItemsResponse.FromString(reply.items) == host.stub.GetItems(request)


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (question(version=2), code_pb2.FAILED_PRECONDITION, "VERSION_NOT_LOADED"),
        (b"\xff\xff\xff", code_pb2.INVALID_ARGUMENT, "REQUEST_UNREADABLE"),
        (b"", code_pb2.INVALID_ARGUMENT, "QUESTION_UNKNOWN"),
        (UNREADABLE_ITEMS, code_pb2.INVALID_ARGUMENT, "REQUEST_UNREADABLE"),
        (DEADLINES_LACKING, code_pb2.INVALID_ARGUMENT, "COLUMNS_DIFFER"),
    ],
)
def test_what_cannot_be_answered_is_told_and_the_connection_stays(
    line: Line, made: MadeArtifact, payload: bytes, code: int, reason: str
) -> None:
    error = line.ask(payload).error
    assert (error.code, error.reason) == (code, reason)
    assert len(line.ask(question(recall(made.queries[0]))).answer.answers) == 1


def test_a_frame_may_come_in_pieces(line: Line, made: MadeArtifact) -> None:
    payload = question(recall(made.queries[0]))
    for byte in len(payload).to_bytes(4, "big") + payload:
        line.socket.sendall(bytes([byte]))
    assert len(line.hear().answer.answers) == 1


@pytest.mark.parametrize("follows", [b"", b"x" * (REQUEST_BYTES_MAX + 1)])
def test_a_frame_above_the_limit_is_refused_unread_and_ends_its_connection_and_no_other(
    line: Line, host: Host, made: MadeArtifact, follows: bytes
) -> None:
    other = Line(host)
    with contextlib.suppress(BrokenPipeError):
        line.socket.sendall((REQUEST_BYTES_MAX + 1).to_bytes(4, "big") + follows)
    error = line.hear().error
    assert (error.code, error.reason) == (code_pb2.RESOURCE_EXHAUSTED, "QUESTION_TOO_LARGE")
    assert line.is_closed()
    with contextlib.closing(other.socket):
        assert len(other.ask(question(recall(made.queries[0]))).answer.answers) == 1


def test_a_gateway_that_hangs_up_in_the_middle_harms_nobody(host: Host, made: MadeArtifact) -> None:
    for cut in (b"\0", (100).to_bytes(4, "big"), (100).to_bytes(4, "big") + b"x" * 50):
        broken = Line(host)
        broken.socket.sendall(cut)
        broken.socket.close()
    unheard = Line(host)
    payload = question(*[recall(query) for query in made.queries[:100]])
    unheard.socket.sendall(len(payload).to_bytes(4, "big") + payload)
    unheard.socket.close()
    with contextlib.closing((line := Line(host)).socket):
        assert len(line.ask(payload).answer.answers) == 100


def test_connections_beyond_the_limit_are_closed_and_places_come_back(host: Host, made: MadeArtifact) -> None:
    # Those of earlier tests may just be ending.
    lines = [patiently(lambda: Line(host)) for _ in range(CONNECTIONS_MAX)]
    for each in lines:
        each.ask(question(recall(made.queries[0])))
    with pytest.raises(ConnectionResetError):
        Line(host)
    for each in lines:
        each.socket.close()
    assert len(patiently(lambda: asked(host, made))) == 1


def asked(host: Host, made: MadeArtifact) -> Sequence[replica_pb2.Answer]:
    """What a fresh connection is answered. Raises ConnectionError when it is closed before."""
    with contextlib.closing((line := Line(host)).socket):
        return line.ask(question(recall(made.queries[0]))).answer.answers


def test_sigterm_lets_questions_end_and_takes_the_sockets_away(made: MadeArtifact) -> None:
    with running_host(made) as host:
        lines = [Line(host) for _ in range(4)]
        idle = Line(host)
        payload = question(*[recall(query) for query in made.queries] * 10)
        replies: list[replica_pb2.Reply] = []
        asking = [threading.Thread(target=lambda each=each: replies.append(each.ask(payload))) for each in lines]
        for thread in asking:
            thread.start()
        os.kill(host.process.pid, signal.SIGTERM)

        for thread in asking:
            thread.join()
        assert [len(reply.answer.answers) for reply in replies] == [10 * len(made.queries)] * 4
        assert idle.is_closed()
        assert host.process.wait(timeout=30) == 0
        assert not Path(frames_path(host.address)).exists()


def test_a_socket_that_a_dead_process_left_is_taken_over(made: MadeArtifact) -> None:
    with running_host(made) as host:
        host.process.kill()
        host.process.wait()
        with pytest.raises(ConnectionRefusedError):
            Line(host)
        host.process = subprocess.Popen(host_command(made, host.folder, "r1"))
        try:
            line = patiently(lambda: Line(host))
            with contextlib.closing(line.socket):
                assert len(line.ask(question(recall(made.queries[0]))).answer.answers) == 1
        finally:
            host.process.kill()
            host.process.wait()


class Served:
    """A frame server in this process, whose loop has a thread of its own. `folder` takes its socket."""

    def __init__(self, folder: str, loaded: LoadedVersion, settings: HostSettings) -> None:
        self.address = f"unix:{folder}/r1.sock"
        self.server = FrameServer(frames_path(self.address), Calls(loaded, "r1", settings), settings)
        self.closing: Future[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._submit(self._start()).result(20)

    def close(self) -> Future[None]:
        """Begin to close the server, once."""
        self.closing = self.closing or self._submit(self.server.close())
        return self.closing

    def loop_turns(self) -> bool:
        self._submit(asyncio.sleep(0)).result(5)
        return True

    def end(self) -> None:
        try:
            self.close().result(20)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _start(self) -> None:
        self.server.start()

    def _submit(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)


@pytest.fixture(scope="module")
def loaded(made: MadeArtifact) -> LoadedVersion:
    return load(made.path, made.manifest_sha256, search_threads=1)


@contextlib.contextmanager
def serving(loaded: LoadedVersion, **settings: int) -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="recall-frames-") as folder:
        served = Served(folder, loaded, HostSettings(**settings))
        try:
            yield served
        finally:
            served.end()


def test_each_line_looks_for_its_next_question_as_the_setting_says(
    loaded: LoadedVersion, made: MadeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []

    class Watched(Poller):
        def receive(self, bytes_max: int) -> bytes:
            looked.append(self._seconds_max)
            return super().receive(bytes_max)

    monkeypatch.setattr("replicas.frames.Poller", Watched)
    with serving(loaded, poll_us_max=700) as served:
        line = Line(served)
        with contextlib.closing(line.socket):
            for _ in range(2):
                line.ask(items_question(made))
    assert len(looked) >= 2
    assert set(looked) == {0.0007}


class Gate:
    """Stands before the work on GetItems, and lets it through once it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()
        self.passed = 0

    def __call__(self, *arguments: Any, **named: Any) -> items.Items:
        self.entered.release()
        assert self.opened.wait(20)
        self.passed += 1
        return items.get_items(*arguments, **named)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr("replicas.calls.get_items", gate)
    yield gate
    gate.opened.set()
    wait_until(lambda: not frame_threads())


@pytest.fixture
def asking() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as asking:
        yield asking


def items_question(made: MadeArtifact, **more: int) -> bytes:
    request = recall_pb2.GetItemsRequest(items=recall_pb2.ItemIds(ids=[made.ids[0]]))
    return replica_pb2.Question(get_items=request.SerializeToString(), **more).SerializeToString()


def frame_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "frames"]


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up_at, "it did not come about"
        time.sleep(0.01)


def test_at_most_answer_threads_questions_are_worked_on_at_once(
    made: MadeArtifact, loaded: LoadedVersion, gate: Gate, asking: ThreadPoolExecutor
) -> None:
    with serving(loaded, answer_threads=2) as served:
        replies = [asking.submit(Line(served).ask, items_question(made)) for _ in range(5)]
        for _ in range(2):
            assert gate.entered.acquire(timeout=20)
        assert not gate.entered.acquire(timeout=0.3), "a third one found a place"
        gate.opened.set()
        assert all(reply.result(20).items for reply in replies)


def test_it_closes_idle_lines_at_once_and_others_behind_their_reply_and_the_loop_is_free(
    made: MadeArtifact, loaded: LoadedVersion, gate: Gate, asking: ThreadPoolExecutor
) -> None:
    with serving(loaded, answer_threads=1) as served:
        idle, *busy = (Line(served) for _ in range(3))
        replies = [asking.submit(line.ask, items_question(made)) for line in busy]
        assert gate.entered.acquire(timeout=20)
        time.sleep(0.1)  # So that the other one waits in line.

        closing = served.close()
        assert idle.is_closed()
        assert served.loop_turns()
        assert not closing.done()
        gate.opened.set()
        assert all(reply.result(20).items for reply in replies)
        closing.result(20)
        assert not frame_threads()
        assert not Path(frames_path(served.address)).exists()


def test_a_reply_that_takes_too_long_is_not_waited_for(
    made: MadeArtifact, loaded: LoadedVersion, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "CLOSE_SECONDS_MAX", 0.2)
    with serving(loaded) as served:
        line = Line(served)
        payload = items_question(made)
        line.socket.sendall(len(payload).to_bytes(4, "big") + payload)
        assert gate.entered.acquire(timeout=20)
        served.close().result(5)
        assert line.is_closed()


def test_a_socket_that_somebody_removed_does_not_keep_it_from_closing(loaded: LoadedVersion) -> None:
    with serving(loaded) as served:
        line = Line(served)
        os.unlink(frames_path(served.address))
        served.close().result(5)
        assert line.is_closed()
        assert not frame_threads()


def test_a_line_that_gets_no_thread_is_closed_and_leaves_its_place(
    made: MadeArtifact, loaded: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(frames, "ACCEPT_PAUSE_SECONDS", 0.05)
    with serving(loaded, replica_connections_max=1) as served:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            for _ in range(2):
                with pytest.raises(ConnectionResetError):
                    Line(served)
        assert Line(served).ask(items_question(made)).items


def test_without_descriptors_it_pauses_and_callers_wait(
    made: MadeArtifact, loaded: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[float] = []

    def refuse(_: socket.socket) -> None:
        attempts.append(time.monotonic())
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(frames, "ACCEPT_PAUSE_SECONDS", 0.1)
    with serving(loaded) as served, ThreadPoolExecutor(1) as waiting:
        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "accept", refuse)
            line = waiting.submit(Line, served)
            wait_until(lambda: len(attempts) == 3)
            assert attempts[2] - attempts[0] > 0.18
            assert served.loop_turns()
        assert line.result(20).ask(items_question(made)).items


def test_a_full_server_says_so_once_until_there_is_room_again(loaded: LoadedVersion) -> None:
    with serving(loaded, replica_connections_max=1) as served, structlog.testing.capture_logs() as logs:
        for full in (1, 2):
            line = patiently(lambda: Line(served))
            for _ in range(3):
                with pytest.raises(ConnectionResetError):
                    Line(served)
            assert [entry["event"] for entry in logs].count("too_many_connections") == full
            line.socket.close()
            wait_until(lambda: not frame_threads())


def test_items_beyond_the_answers_limit_are_refused(tmp_path: Path) -> None:
    wide = make_artifact(tmp_path, items=300, dimension=512)
    with serving(load(wide.path, wide.manifest_sha256, search_threads=1), replica_answer_bytes_max=MIB) as served:
        line = Line(served)
        for count, reason in ((200, ""), (1_000, "ANSWER_TOO_LARGE")):
            ids = recall_pb2.ItemIds(ids=[wide.ids[0]] * count)
            request = recall_pb2.GetItemsRequest(items=ids, return_vectors=True)
            reply = line.ask(replica_pb2.Question(get_items=request.SerializeToString()).SerializeToString())
            assert reply.error.reason == reason
            assert bool(reply.items) is not bool(reason)
            assert reply.ByteSize() < MIB - MESSAGE_SPARE_BYTES + 64
        assert (reply.error.code, reply.error.field) == (code_pb2.INVALID_ARGUMENT, "items")


@pytest.mark.parametrize("kind", ["answer", "get_items"])
def test_a_question_whose_deadline_passes_in_line_is_told_so_while_it_waits(
    made: MadeArtifact, loaded: LoadedVersion, gate: Gate, asking: ThreadPoolExecutor, kind: str
) -> None:
    late = items_question(made, deadline_ms=50)
    if kind == "answer":
        late = replica_pb2.Question(answer=batch(recall(made.queries[0])), deadline_ms=50).SerializeToString()
    with serving(loaded, answer_threads=1) as served:
        first = asking.submit(Line(served).ask, items_question(made, deadline_ms=20_000))
        assert gate.entered.acquire(timeout=20)
        error = Line(served).ask(late).error
        assert (error.code, error.reason) == (code_pb2.DEADLINE_EXCEEDED, "DEADLINE_PASSED")
        gate.opened.set()
        assert first.result(20).items


def test_a_costly_question_waits_for_a_costly_place_and_quick_ones_pass_it(
    made: MadeArtifact, loaded: LoadedVersion, gate: Gate, asking: ThreadPoolExecutor
) -> None:
    with serving(loaded, answer_threads=1) as served:
        costly = asking.submit(Line(served).ask, items_question(made, lane=replica_pb2.COSTLY))
        assert gate.entered.acquire(timeout=20)
        of_a_newer_gateway = asking.submit(Line(served).ask, items_question(made, lane=7))
        late = Line(served).ask(items_question(made, lane=replica_pb2.COSTLY, deadline_ms=100))
        assert late.error.reason == "DEADLINE_PASSED"
        assert not gate.entered.acquire(blocking=False), "a second costly one found a place"
        quick = asking.submit(Line(served).ask, items_question(made))
        assert gate.entered.acquire(timeout=20)
        gate.opened.set()
        assert all(reply.result(20).items for reply in (costly, of_a_newer_gateway, quick))


def test_a_deadline_that_passed_on_the_way_costs_no_work(made: MadeArtifact, loaded: LoadedVersion, gate: Gate) -> None:
    with serving(loaded) as served:
        assert Line(served).ask(items_question(made, deadline_ms=-1)).error.reason == "DEADLINE_PASSED"
        assert not gate.entered.acquire(blocking=False)


def test_the_question_of_a_caller_who_hung_up_in_line_is_dropped(
    made: MadeArtifact, loaded: LoadedVersion, gate: Gate, asking: ThreadPoolExecutor
) -> None:
    payload = items_question(made)
    with serving(loaded, answer_threads=1) as served:
        first = Line(served)
        reply = asking.submit(first.ask, payload)
        assert gate.entered.acquire(timeout=20)
        gone = Line(served)
        gone.socket.sendall(len(payload).to_bytes(4, "big") + payload)
        gone.socket.close()
        time.sleep(10 * WAIT_SECONDS_UNHEARD)  # In line, behind the first.
        gate.opened.set()
        assert reply.result(20).items
        wait_until(lambda: len(frame_threads()) == 1)
        assert gate.passed == 1
        assert first.ask(payload).items, "its place is free again"


def patiently(attempt: Callable[[], Result]) -> Result:
    give_up_at = time.monotonic() + READY_SECONDS_MAX
    while True:
        try:
            return attempt()
        except (ConnectionError, FileNotFoundError):
            assert time.monotonic() < give_up_at, "nobody answers again"
            time.sleep(0.02)
