"""When who waits awake leaves the cores to others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cores import LOOK_EVERY_SECONDS, LOOKS_IN_A_ROW_MAX, REST_SECONDS, SPARE_THREADS, Cores

COUNT = 2


class Machine:
    """Whose kernel tells how many threads want a core. Time passes by looking."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.now = 100.0
        self.run(1)
        self.cores = Cores(path, COUNT)

    def run(self, threads: int) -> None:
        self._path.write_text(f"7.35 6.46 5.80 {threads}/517 30302\n")

    def looks(self, times: int) -> list[bool]:
        return [self._look() for _ in range(times)]

    def _look(self) -> bool:
        self.now += LOOK_EVERY_SECONDS
        return self.cores.are_free(self.now)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path / "loadavg")
    monkeypatch.setattr("cores.time.monotonic", lambda: machine.now)
    return machine


def test_cores_are_free_while_no_more_threads_want_one_than_a_lone_call_has(machine: Machine) -> None:
    machine.run(COUNT + SPARE_THREADS)
    assert all(machine.looks(100))


def test_a_hand_over_is_no_sign_of_others(machine: Machine) -> None:
    for _ in range(20):
        machine.run(COUNT + SPARE_THREADS + 3)
        assert all(machine.looks(LOOKS_IN_A_ROW_MAX))
        machine.run(COUNT + SPARE_THREADS)
        assert all(machine.looks(1))


def test_what_goes_on_is_left_the_cores_for_a_while(machine: Machine) -> None:
    machine.run(COUNT + SPARE_THREADS + 1)
    assert machine.looks(LOOKS_IN_A_ROW_MAX + 1) == [True] * LOOKS_IN_A_ROW_MAX + [False]
    machine.run(1)
    machine.now += REST_SECONDS - 2 * LOOK_EVERY_SECONDS
    assert not any(machine.looks(1))
    machine.now += LOOK_EVERY_SECONDS
    assert all(machine.looks(100))


def test_a_kernel_that_does_not_tell_has_none_to_spare(tmp_path: Path) -> None:
    cores = Cores(tmp_path / "none", COUNT)
    assert False in [cores.are_free(100.0 + look * LOOK_EVERY_SECONDS) for look in range(LOOKS_IN_A_ROW_MAX + 1)]


def test_this_kernel_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1_000_000)
    cores = Cores()
    assert all(cores.are_free(100.0 + look * LOOK_EVERY_SECONDS) for look in range(2 * LOOKS_IN_A_ROW_MAX))
