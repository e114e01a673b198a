from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from replicas import identity as identities
from replicas.identity import AlreadyHeld, Identity, claim, lock_path, publish, read, start_ticks


@pytest.fixture
def me() -> Identity:
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    return Identity("r1", "local", os.getpid(), ticks, "unix:/run/r1.sock", "ab" * 32, "films", "similar", 3)


def test_an_identity_is_read_as_it_was_written(tmp_path: Path, me: Identity) -> None:
    publish(tmp_path / "r1.json", me)

    assert read(tmp_path / "r1.json") == me
    assert me.alive()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"replica_id": "r1"}'])
def test_a_record_that_is_not_whole_is_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / "r1.json").write_text(content)

    assert read(tmp_path / "r1.json") is None


def test_a_reused_pid_is_not_the_same_process(me: Identity) -> None:
    assert not replace(me, started_ticks=me.started_ticks - 1).alive()


def test_a_corpse_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    deadline = time.monotonic() + 10
    while start_ticks(child.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)

    assert start_ticks(child.pid) is None
    assert child.wait() == 0


def test_a_name_is_held_by_one_process_until_it_dies(
    tmp_path: Path, me: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "CLAIM_SECONDS_MAX", 0.1)
    held = claim(tmp_path / "r1.json", me)

    with pytest.raises(AlreadyHeld):
        claim(tmp_path / "r1.json", replace(me, pid=1))
    assert read(lock_path(tmp_path / "r1.json")) == me

    os.close(held)
    successor = replace(me, pid=1)
    os.close(claim(tmp_path / "r1.json", successor))
    assert read(lock_path(tmp_path / "r1.json")) == successor
