"""Files of sampled queries: written whole, read with suspicion, merged fairly."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import samples
from bundles.errors import SamplesError
from bundles.samples import FILE_BYTES_MAX, POPULATION_MAX, Samples, Space, Window

SPACE = Space(4, "ip", False, "mind-7")
# Between these lie 998 of 1,000 values of chi-square with 2 degrees of freedom.
CHI_SQUARE_2 = 13.8


def window(seen: int, kept: int, *, began_at: float = 1_000.0, value: float = 0.0) -> Window:
    vectors = np.random.default_rng(seen).normal(size=(kept, 4)).astype(np.float32)
    vectors[:, 0] = value
    return Window(began_at, seen, vectors, np.arange(1, kept + 1, dtype=np.int32))


def of(*windows: Window) -> Samples:
    return Samples("films", "similar", "ab" * 32, SPACE, windows)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return samples.path_of(tmp_path, "films", "similar", "r7")


def test_what_was_written_is_read(path: Path) -> None:
    samples.write(path, of(window(5_000, 30), window(12, 12, began_at=50_000.0)))
    found = samples.read(path)
    assert (found.tenant, found.service, found.manifest_sha256, found.space) == ("films", "similar", "ab" * 32, SPACE)
    assert [(each.began_at, each.seen) for each in found.windows] == [(1_000.0, 5_000), (50_000.0, 12)]
    np.testing.assert_array_equal(found.windows[0].vectors, window(5_000, 30).vectors)
    np.testing.assert_array_equal(found.windows[1].top_k, np.arange(1, 13))


def test_nobody_else_may_read_it_and_nothing_is_left_beside_it(path: Path) -> None:
    for _ in range(2):
        samples.write(path, of(window(9, 9)))
    assert [each.name for each in path.parent.iterdir()] == ["r7.npz"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_gone_is_no_damage(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        samples.read(path)


def cut(payload: bytes) -> bytes:
    return payload[: len(payload) // 2]


def flipped(payload: bytes) -> bytes:
    """One bit of a vector, where only a checksum tells."""
    at = payload.index(window(50, 50).vectors.tobytes()[:64]) + 5
    return payload[:at] + bytes([payload[at] ^ 0x10]) + payload[at + 1 :]


def packed(payload: bytes) -> bytes:
    """A small file of a large array."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, header=np.zeros(1, np.uint8), vectors=np.zeros((10**6, 4), np.float32))
    return buffer.getvalue()


def rewritten(**changes: Any) -> Callable[[bytes], bytes]:
    """A whole file in which something is another."""

    def write(payload: bytes) -> bytes:
        with np.load(io.BytesIO(payload)) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        header = json.loads(found["header"].tobytes())
        header.update({name: value for name, value in changes.items() if name not in ("vectors", "top_k")})
        found["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        found.update({name: changes[name] for name in ("vectors", "top_k") if name in changes})
        buffer = io.BytesIO()
        np.savez(buffer, **found)
        return buffer.getvalue()

    return write


def without_vectors(payload: bytes) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, header=np.frombuffer(b"{}", np.uint8))
    return buffer.getvalue()


def lying_about_its_shape(payload: bytes) -> bytes:
    """An array that says it has a billion rows."""
    with zipfile.ZipFile(io.BytesIO(payload)) as members:
        found = {each.filename: members.read(each) for each in members.infolist()}
    found["vectors.npy"] = found["vectors.npy"].replace(b"(50, 4), }        ", b"(1000000000, 4), }")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as members:
        for name, each in found.items():
            members.writestr(name, each)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        flipped,
        packed,
        without_vectors,
        lying_about_its_shape,
        lambda _: b"",
        lambda _: b"who asked",
        lambda _: b"\x93NUMPY\x01\x00",
        rewritten(format=2),
        rewritten(space={"dimension": 5, "metric": "ip", "normalized": False, "model_version": "mind-7"}),
        rewritten(space={"dimension": 4}),
        rewritten(windows=[]),
        rewritten(windows=[{"began_at": 0, "seen": 50, "kept": 49}]),
        rewritten(windows=[{"began_at": 0, "seen": 49, "kept": 50}]),
        rewritten(windows=[{"began_at": 0, "seen": 10**30, "kept": 50}]),
        rewritten(windows=[{"began_at": float("inf"), "seen": 50, "kept": 50}]),
        rewritten(windows=[{"began_at": 0, "seen": 10, "kept": 10}] * 5),
        rewritten(vectors=np.full((50, 4), np.nan, np.float32)),
        rewritten(vectors=np.zeros((50, 4), np.float64)),
        rewritten(vectors=np.full((50, 4), {"an": "object"})),
        rewritten(top_k=np.zeros(50, np.int32)),
    ],
)
def test_what_is_damaged_or_a_stranger_s_is_told_by_its_name_and_never_believed(
    path: Path, damage: Callable[[bytes], bytes]
) -> None:
    samples.write(path, of(window(50, 50)))
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    with pytest.raises(SamplesError, match=r"^r7\.npz cannot be read: .") as caught:
        samples.read(path)
    assert (caught.value.reason, caught.value.owner) == ("samples.unreadable", "platform")


def test_no_more_is_read_than_a_replica_ever_writes(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(SamplesError, match=f"it has more than {FILE_BYTES_MAX} bytes"):
        samples.read(path)


def test_a_folder_of_its_name_is_told_too(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(SamplesError, match="Is a directory"):
        samples.read(path)


def test_all_are_taken_when_they_are_no_more_than_wanted() -> None:
    vectors, top_k = samples.merge([window(30, 30), window(12, 12)], 100, np.random.default_rng(1))
    assert (vectors.shape, top_k.shape, len(np.unique(vectors, axis=0))) == ((42, 4), (42,), 42)


def test_each_replica_counts_by_the_queries_that_it_has_seen() -> None:
    """Three windows of 10, 1,000 and 9,000 queries: in samples of 10, the mean shares are 10 : 1,000 : 9,000."""
    seen, trials, wanted = np.array([10, 1_000, 9_000]), 2_000, 10
    windows = [window(int(many), 10, value=float(place)) for place, many in enumerate(seen)]
    random = np.random.default_rng(11)
    counts = np.zeros(3)
    for _ in range(trials):
        vectors, _ = samples.merge(windows, wanted, random)
        assert len(vectors) == wanted
        counts += np.bincount(vectors[:, 0].astype(int), minlength=3)
    expected = trials * wanted * seen / seen.sum()
    assert ((counts - expected) ** 2 / expected).sum() < CHI_SQUARE_2


def test_within_a_window_each_kept_query_counts_alike() -> None:
    windows, random = [window(10**6, 20), window(10**6, 20)], np.random.default_rng(12)
    rows = np.concatenate([each.vectors for each in windows])
    counts = np.zeros(40)
    for _ in range(4_000):
        vectors, _ = samples.merge(windows, 20, random)
        counts += (vectors[:, np.newaxis] == rows).all(axis=2).any(axis=0)
    assert counts.min() > 0.9 * counts.mean()
    assert counts.max() < 1.1 * counts.mean()


def test_more_queries_than_numpy_draws_from_are_merged_by_their_shares() -> None:
    windows = [window(3 * POPULATION_MAX, 100, value=0.0), window(POPULATION_MAX, 100, value=1.0)]
    vectors, _ = samples.merge(windows, 100, np.random.default_rng(13))
    assert len(vectors) == 100
    assert 0.1 < vectors[:, 0].mean() < 0.4


def test_a_window_is_forgotten_a_day_after_it_began() -> None:
    assert window(1, 1, began_at=0.0).is_fresh(24 * 3600 - 1)
    assert not window(1, 1, began_at=0.0).is_fresh(24 * 3600)
