"""What the machine has, also inside a container, and what a process's children hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from workers import machine

MIB = 2**20


@pytest.fixture
def container(tmp_path: Path, monkeypatch) -> Path:
    """The folder of the control group that this process is in, two below the root."""
    root = tmp_path / "cgroup"
    folder = root / "docker" / "worker"
    folder.mkdir(parents=True)
    own = tmp_path / "own"
    own.write_text("0::/docker/worker\n")
    monkeypatch.setattr(machine, "CGROUPS", root)
    monkeypatch.setattr(machine, "OWN_CGROUP", own)
    return folder


def limit(folder: Path, most: str, *, held: int = 0, file_pages: int = 0) -> None:
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{held}\n")
    (folder / "memory.stat").write_text(f"anon 5\nfile {file_pages}\nactive_file 0\ninactive_file {file_pages}\n")


def test_without_limits_it_is_the_systems_memory(container):
    limit(container, "max")
    assert machine.memory().total == psutil.virtual_memory().total


def test_in_a_container_its_limit_counts_and_pages_of_files_are_free(container):
    limit(container, str(200 * MIB), held=90 * MIB, file_pages=40 * MIB)
    assert machine.memory() == (200 * MIB, 150 * MIB)


def test_a_limit_further_out_counts_too(container):
    limit(container, "max")
    limit(container.parent, str(100 * MIB), held=120 * MIB)
    assert machine.memory() == (100 * MIB, 0)


def test_a_system_without_such_groups_has_no_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "none")
    assert machine.memory().total == psutil.virtual_memory().total


def test_disk_is_looked_at_before_its_folder_is_made(tmp_path):
    missing = tmp_path / "work" / "films"
    assert machine.disk_free_bytes(missing) > 0
    assert machine.is_one_disk(missing, tmp_path / "artifacts")


def test_what_children_hold_is_seen_and_a_process_that_is_gone_holds_nothing():
    code = f"held = b'x' * {50 * MIB}; print('.', flush=True); input()"
    before = machine.held_by_children(os.getpid())
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        assert 50 * MIB <= machine.held_by_children(os.getpid()) - before < 100 * MIB
        child.kill()
    assert machine.held_by_children(child.pid) == 0
