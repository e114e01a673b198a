"""When a worker that takes nothing is deaf, and when it only has nothing to take or no hand free."""

from __future__ import annotations

import pytest

from workers.hearing import Hearing

DEAF_SECONDS = 20.0
LOOK_SECONDS = 2.0


class Worker:
    """Looks at its queue every LOOK_SECONDS."""

    def __init__(self) -> None:
        self._hearing = Hearing(DEAF_SECONDS)
        self._now = 100.0
        self.taken = 0

    def looks(self, seconds: float, *, waiting: int, is_free: bool = True, takes: int = 0) -> list[bool]:
        """Takes so many messages between two looks."""
        return [
            self._look(waiting=waiting, is_free=is_free, takes=takes) for _ in range(int(seconds / LOOK_SECONDS) + 1)
        ]

    def _look(self, *, waiting: int, is_free: bool, takes: int) -> bool:
        self._now += LOOK_SECONDS
        self.taken += takes
        return self._hearing.is_lost(now=self._now, waiting=waiting, taken=self.taken, is_free=is_free)


def test_messages_that_wait_for_a_free_worker_that_takes_none_tell_that_it_is_deaf() -> None:
    assert Worker().looks(DEAF_SECONDS, waiting=1) == [False] * 10 + [True]


@pytest.mark.parametrize(
    "way", [{"waiting": 0}, {"waiting": 9, "is_free": False}, {"waiting": 9, "takes": 1}], ids=["idle", "busy", "hears"]
)
def test_who_is_idle_or_busy_or_takes_some_is_not(way: dict[str, int]) -> None:
    assert not any(Worker().looks(10 * DEAF_SECONDS, **way))


@pytest.mark.parametrize("way", [{"waiting": 0}, {"waiting": 1, "is_free": False}, {"waiting": 1, "takes": 1}])
def test_one_look_that_is_well_begins_the_time_anew(way: dict[str, int]) -> None:
    worker = Worker()
    assert not any(worker.looks(DEAF_SECONDS - LOOK_SECONDS, waiting=1))
    assert not any(worker.looks(0, **way))
    assert worker.looks(DEAF_SECONDS, waiting=1) == [False] * 10 + [True]
