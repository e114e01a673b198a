"""When a replica looks for the next question instead of sleeping until it comes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from replicas import polling
from replicas.polling import Poller

LONG_SECONDS = 20.0


class Watched(socket.socket):
    """Counts its looks, and how often its reader went to sleep. Each look takes `look_seconds`."""

    looks = sleeps = 0
    look_seconds = 0.0

    def recv(self, bytes_max: int, flags: int = 0) -> bytes:  # type: ignore[override]
        if flags & socket.MSG_DONTWAIT:
            self.looks += 1
            time.sleep(self.look_seconds)
        else:
            self.sleeps += 1
        return super().recv(bytes_max, flags)


@pytest.fixture
def line() -> Iterator[tuple[Watched, socket.socket]]:
    ours, theirs = socket.socketpair()
    with Watched(fileno=ours.detach()) as watched, theirs:
        yield watched, theirs


def hear(poller: Poller, theirs: socket.socket, after_seconds: float = 0.0) -> None:
    timer = threading.Timer(after_seconds, theirs.sendall, (b"question",))
    timer.start()
    assert poller.receive(100) == b"question"
    timer.join()


def test_the_question_after_a_quick_one_is_looked_for(line: tuple[Watched, socket.socket]) -> None:
    watched, theirs = line
    poller = Poller(watched, LONG_SECONDS, lambda: True)
    hear(poller, theirs)
    assert (watched.looks, watched.sleeps) == (0, 1)
    hear(poller, theirs, after_seconds=0.02)
    assert watched.looks > 1


def test_the_question_after_a_late_one_is_slept_for(line: tuple[Watched, socket.socket]) -> None:
    watched, theirs = line
    poller = Poller(watched, 0.01, lambda: True)
    for _ in range(3):
        hear(poller, theirs, after_seconds=0.05)
    assert (watched.looks, watched.sleeps) == (0, 3)


def test_who_looks_gives_up_in_time_and_sleeps(
    line: tuple[Watched, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "TAKEN_SECONDS", LONG_SECONDS)
    watched, theirs = line
    poller = Poller(watched, 0.1, lambda: True)
    hear(poller, theirs)
    hear(poller, theirs, after_seconds=0.5)
    assert watched.looks > 1
    assert watched.sleeps == 2


def test_nobody_looks_while_something_else_is_under_way(line: tuple[Watched, socket.socket]) -> None:
    watched, theirs = line
    poller = Poller(watched, LONG_SECONDS, lambda: False)
    for _ in range(3):
        hear(poller, theirs)
    assert (watched.looks, watched.sleeps) == (0, 3)


def test_whose_core_is_wanted_by_others_sleeps_and_leaves_it_to_them_for_a_while(
    line: tuple[Watched, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "REST_SECONDS", LONG_SECONDS)
    watched, theirs = line
    watched.look_seconds = 10 * polling.TAKEN_SECONDS
    poller = Poller(watched, LONG_SECONDS, lambda: True)
    hear(poller, theirs)
    for sleeps in (2, 3):
        hear(poller, theirs, after_seconds=0.1)
        assert (watched.looks, watched.sleeps) == (1, sleeps)


def test_the_end_of_a_connection_is_heard_while_looking_too(line: tuple[Watched, socket.socket]) -> None:
    watched, theirs = line
    poller = Poller(watched, LONG_SECONDS, lambda: True)
    hear(poller, theirs)
    threading.Timer(0.02, theirs.shutdown, (socket.SHUT_RDWR,)).start()
    assert poller.receive(100) == b""
    assert watched.sleeps <= 2


def test_zero_never_looks(line: tuple[Watched, socket.socket]) -> None:
    watched, theirs = line
    poller = Poller(watched, 0.0, lambda: True)
    for _ in range(3):
        hear(poller, theirs)
    assert (watched.looks, watched.sleeps) == (0, 3)
