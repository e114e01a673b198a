"""When a replica looks for the next question instead of sleeping until it comes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from replicas import polling
from replicas.polling import Lines, Poller

LONG_SECONDS = 20.0


class Watched(socket.socket):
    """Counts its looks, and how often its reader went to sleep."""

    looks = sleeps = 0

    def recv(self, bytes_max: int, flags: int = 0) -> bytes:  # type: ignore[override]
        if flags & socket.MSG_DONTWAIT:
            self.looks += 1
        else:
            self.sleeps += 1
        return super().recv(bytes_max, flags)


class Line:
    """A connection of a gateway, and who reads it at the replica's end."""

    def __init__(self, lines: Lines, seconds_max: float) -> None:
        ours, self.gateway = socket.socketpair()
        self.socket = Watched(fileno=ours.detach())
        self.poller = Poller(self.socket, seconds_max, lines)

    def hear(self, after_seconds: float = 0.0) -> None:
        """A question that comes after some time."""
        if not after_seconds:
            self.gateway.sendall(b"question")
        else:
            threading.Timer(after_seconds, self.gateway.sendall, (b"question",)).start()
        assert self.poller.receive(100) == b"question"

    def close(self) -> None:
        self.gateway.close()
        self.socket.close()


@pytest.fixture(autouse=True)
def cores_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's machine is busy as a rule."""
    monkeypatch.setattr("cores.Cores.are_free", lambda _cores, _now: True)


@pytest.fixture
def make_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Line]]:
    monkeypatch.setattr(polling, "ALONE_SECONDS", 0.0)
    lines, made = Lines(), []

    def make(seconds_max: float = LONG_SECONDS) -> Line:
        made.append(Line(lines, seconds_max))
        return made[-1]

    yield make
    for line in made:
        line.close()


def test_the_question_after_a_quick_one_is_looked_for(make_line: Callable[..., Line]) -> None:
    line = make_line()
    line.hear()
    assert (line.socket.looks, line.socket.sleeps) == (0, 1)
    line.hear(after_seconds=0.05)
    assert line.socket.looks > 1
    assert line.socket.sleeps == 1


def test_the_question_after_a_late_one_is_slept_for(make_line: Callable[..., Line]) -> None:
    line = make_line(0.01)
    for _ in range(3):
        line.hear(after_seconds=0.05)
    assert (line.socket.looks, line.socket.sleeps) == (0, 3)


def test_who_looks_gives_up_in_time_and_sleeps(make_line: Callable[..., Line]) -> None:
    line = make_line(0.2)
    line.hear()
    begun = time.monotonic()
    line.hear(after_seconds=1.0)
    assert line.socket.looks > 1
    assert line.socket.sleeps == 2
    assert time.monotonic() - begun >= 0.9


def test_nobody_looks_while_another_line_asks(make_line: Callable[..., Line], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "ALONE_SECONDS", LONG_SECONDS)
    lines = [make_line(), make_line()]
    for line in 3 * lines:
        line.hear()
    assert [(line.socket.looks, line.socket.sleeps) for line in lines] == [(0, 3), (0, 3)]


def test_a_line_that_has_been_the_only_one_for_a_while_is_looked_at_again(
    make_line: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "ALONE_SECONDS", 0.2)
    one, other = make_line(), make_line()
    for line in (one, other, one):
        line.hear()
    assert one.socket.looks == 0
    time.sleep(0.25)
    one.hear()
    assert one.socket.looks > 0
    assert other.socket.looks == 0


def test_where_others_want_the_cores_it_is_slept_for(
    make_line: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cores.Cores.are_free", lambda _cores, _now: False)
    line = make_line()
    for _ in range(3):
        line.hear()
    assert (line.socket.looks, line.socket.sleeps) == (0, 3)


def test_the_end_of_a_connection_is_heard_while_looking_too(make_line: Callable[..., Line]) -> None:
    line = make_line()
    line.hear()
    threading.Timer(0.05, line.gateway.shutdown, (socket.SHUT_RDWR,)).start()
    assert line.poller.receive(100) == b""
    assert line.socket.looks > 1
    assert line.socket.sleeps == 1


def test_zero_never_looks(make_line: Callable[..., Line]) -> None:
    line = make_line(0.0)
    for _ in range(3):
        line.hear()
    assert (line.socket.looks, line.socket.sleeps) == (0, 3)
