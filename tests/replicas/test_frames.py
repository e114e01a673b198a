"""Questions over frames, to a host process: the same answers as over gRPC, and connections that break the rules."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from google.rpc import code_pb2

from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2
from replicas.frames import frames_path
from tests.support.artifacts import MadeArtifact, make_artifact
from tests.support.replica_hosts import READY_SECONDS_MAX, Host, host_command, running_host

pytestmark = pytest.mark.servers

Result = TypeVar("Result")

ITEMS, DIMENSION, VERSION = 300, 16, 3
CONNECTIONS_MAX = 8
REQUEST_BYTES_MAX = 2**20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeArtifact:
    return make_artifact(tmp_path_factory.mktemp("made"), items=ITEMS, dimension=DIMENSION, version=VERSION)


@pytest.fixture(scope="module")
def host(made: MadeArtifact) -> Iterator[Host]:
    limits = {
        "RECALL_REPLICA_CALLS_MAX": str(CONNECTIONS_MAX),
        "RECALL_REPLICA_REQUEST_BYTES_MAX": str(REQUEST_BYTES_MAX),
    }
    with running_host(made, **limits) as host:
        yield host


class Line:
    """A gateway's connection, as plain as it gets."""

    def __init__(self, host: Host) -> None:
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


def test_a_frame_above_the_limit_ends_its_connection_and_no_other(line: Line, host: Host, made: MadeArtifact) -> None:
    other = Line(host)
    line.socket.sendall((REQUEST_BYTES_MAX + 1).to_bytes(4, "big"))
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
    lines = [Line(host) for _ in range(CONNECTIONS_MAX)]
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


def patiently(attempt: Callable[[], Result]) -> Result:
    give_up_at = time.monotonic() + READY_SECONDS_MAX
    while True:
        try:
            return attempt()
        except (ConnectionError, FileNotFoundError):
            assert time.monotonic() < give_up_at, "nobody answers again"
            time.sleep(0.02)
