"""The heavy part of a step, in a process of its own: what it says, how it fails, how it is stopped."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from workers import child
from workers.child import Check, run_child
from workers.outcomes import CancelRequested, StepFailed


def run(folder: Path, check: Check = lambda: None, heard: list[Any] | None = None, **order: Any) -> dict[str, Any]:
    into = [] if heard is None else heard
    return run_child(
        "tests.workers.babbler", order, folder, check=check, progress=lambda done, rows: into.append((done, rows))
    )


def test_its_progress_is_heard_and_its_last_word_returned(tmp_path):
    heard: list[Any] = []
    say = [{"rows_done": 1, "rows": 2}, {"rows_done": 2, "rows": 2}, {"done": True, "seconds": 0.1}]
    assert run(tmp_path, heard=heard, say=say) == {"done": True, "seconds": 0.1}
    assert heard == [(1, 2), (2, 2)]


def test_what_it_tells_people_is_passed_on_as_it_is(tmp_path):
    said: list[str] = []
    order = {"say": [{"note": "Waits: nobody answers."}, {"rows_done": 1, "rows": 1}, {"done": True}]}
    run_child("tests.workers.babbler", order, tmp_path, check=lambda: None, progress=lambda *_: None, say=said.append)
    assert said == ["Waits: nobody answers."]


def test_its_error_becomes_the_steps(tmp_path):
    error = {"reason": "drop.bad_id_type", "owner": "user", "message": "Ids are text."}
    with pytest.raises(StepFailed) as failed:
        run(tmp_path, say=[{"error": error}], exit=1)
    assert (failed.value.reason, failed.value.owner, failed.value.message) == tuple(error.values())


def test_a_child_that_crashes_is_named_with_its_last_words(tmp_path):
    with pytest.raises(StepFailed) as failed:
        run(tmp_path, signal="SIGSEGV", mutter="bad pointer")
    assert failed.value.reason == "engine.crashed"
    assert "was ended by SIGSEGV" in failed.value.message
    assert "bad pointer" in failed.value.message


def test_a_child_that_ends_without_a_word_has_failed(tmp_path):
    with pytest.raises(StepFailed, match="ended with code 3 and without a result"):
        run(tmp_path, exit=3)


def test_a_child_is_killed_at_once_when_the_build_is_cancelled(tmp_path):
    pid_file = tmp_path / "pid"

    def check() -> None:
        if pid_file.exists() and pid_file.read_text():
            raise CancelRequested

    began = time.monotonic()
    with pytest.raises(CancelRequested):
        run(tmp_path, check=check, pid_file=str(pid_file), sleep=60)
    assert time.monotonic() - began < 30
    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_a_silent_child_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(child, "SILENCE_SECONDS_MAX", 0.3)
    with pytest.raises(StepFailed) as failed:
        run(tmp_path, sleep=60)
    assert failed.value.reason == "engine.stuck"


def test_a_child_that_takes_too_much_shared_memory_ends_with_a_reason(tmp_path):
    limits = {"parent_pid": os.getpid(), "nice": 0, "cpus": 1, "memory_bytes_max": 256 * 2**20}
    order = {**limits, "bytes": 320 * 2**20, "sleep": 60}
    with pytest.raises(StepFailed) as failed:
        run_child("tests.workers.hoarder", order, tmp_path, check=lambda: None, progress=lambda *_: None)
    assert failed.value.reason == "engine.out_of_memory"


def test_a_child_that_finds_the_order_of_another_process_does_not_work_for_it_and_says_why(tmp_path):
    """As when two workers were given one working folder, and one wrote its order over the other's."""
    order = {"parent_pid": 1, "nice": 0, "cpus": 1, "memory_bytes_max": 256 * 2**20}
    with pytest.raises(StepFailed) as failed:
        run_child("tests.workers.hoarder", order, tmp_path, check=lambda: None, progress=lambda *_: None)
    assert failed.value.reason == "engine.crashed"
    said = f"this was to be done for process 1, and the parent is {os.getpid()}"
    assert failed.value.message == f"tests.workers.hoarder was ended by SIGKILL. Its last words: {said}"
