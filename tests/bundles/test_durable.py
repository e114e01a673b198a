"""What a step leaves is on the disk before the step counts as done."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bundles.durable import sync_work
from bundles.errors import ArtifactError


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "index").mkdir(parents=True)
    (folder / "vectors.npy").write_bytes(b"vectors")
    (folder / "index" / "graph").write_bytes(b"graph")
    return folder


def test_each_file_is_synced_and_then_each_folder_that_names_it(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(Path(os.readlink(f"/proc/self/fd/{handle}"))))
    sync_work(work)
    files, folders = synced[:2], synced[2:]
    assert set(files) == {work / "vectors.npy", work / "index" / "graph"}
    assert folders == [work / "index", work]


def test_a_disk_that_refuses_is_told(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ArtifactError, match="Input/output error") as caught:
        sync_work(work)
    assert (caught.value.reason, caught.value.owner) == ("artifact.not_durable", "platform")
