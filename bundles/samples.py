"""Samples of live queries: written by replicas, read by builds of later versions of the same service.

    RECALL_SAMPLES/{tenant}/{service}/{replica}.npz     vectors float32 [n, d], top_k int32 [n], header: JSON as bytes

A sample is a vector as it was searched and how many neighbours were asked for: no key, no id, no feature, no time of
its own. The members are not compressed, so that a file is no larger when it is read, and zip has checksums.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundles.batches import ERROR_CHARACTERS_MAX, Float32
from bundles.errors import SamplesError

Int32 = np.ndarray[Any, np.dtype[np.int32]]

FORMAT = 1
SUFFIX = ".npz"
# Vectors of one window, of which a file has a few.
WINDOW_BYTES_MAX = 4 << 20
WINDOWS_MAX = 4
FILE_BYTES_MAX = (WINDOWS_MAX + 1) * WINDOW_BYTES_MAX
# A query is forgotten after so long, wherever it lies.
SAMPLES_SECONDS_MAX = 24 * 3600.0
# A replica cannot answer more within a day.
SEEN_MAX = 10**15
# What a hypergeometric draw of numpy takes.
POPULATION_MAX = 900_000_000
# They are of users.
FILE_MODE = 0o600


@dataclass(frozen=True)
class Space:
    """Where vectors can be compared: of two spaces that differ in anything they mean different things."""

    dimension: int
    metric: str
    normalized: bool
    model_version: str


@dataclass(frozen=True)
class Window:
    """A uniform sample of the `seen` queries since `began_at` (Unix time): vectors [n, d] and their top_k [n]."""

    began_at: float
    seen: int
    vectors: Float32
    top_k: Int32

    def is_fresh(self, now: float) -> bool:
        """Whether none of its queries has to be forgotten yet."""
        return now - self.began_at < SAMPLES_SECONDS_MAX


@dataclass(frozen=True)
class Samples:
    """What one replica kept of the queries that it answered."""

    tenant: str
    service: str
    manifest_sha256: str
    space: Space
    windows: tuple[Window, ...]


def path_of(root: Path, tenant: str, service: str, replica_id: str) -> Path:
    return root / tenant / service / f"{replica_id}{SUFFIX}"


def write(path: Path, samples: Samples) -> None:
    """All of it or nothing. It is not synced: what a power cut takes is noticed by its checksum. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb") as file:
        np.savez(
            file,
            header=np.frombuffer(json.dumps(_header(samples)).encode(), np.uint8),
            vectors=np.concatenate([window.vectors for window in samples.windows]),
            top_k=np.concatenate([window.top_k for window in samples.windows]),
        )
    os.replace(fresh, path)


def read(path: Path) -> Samples:
    """Raises SamplesError for what `write` did not write so, FileNotFoundError when it is gone."""
    try:
        with path.open("rb") as file:
            payload = file.read(FILE_BYTES_MAX + 1)
        return _parse(payload)
    except FileNotFoundError:
        raise
    except Exception as error:
        # What libraries say of bytes that are not theirs has many names.
        said = (str(error).splitlines() or [""])[0][:ERROR_CHARACTERS_MAX]
        message = f"{path.name} cannot be read: {said or type(error).__name__}"
        raise SamplesError("samples.unreadable", message) from error


def merge(windows: Sequence[Window], most: int, random: np.random.Generator) -> tuple[Float32, Int32]:
    """A uniform sample of at most `most` of all queries that the windows saw together: vectors [n, d] and top_k [n].

    There is at least one window. It is exactly uniform as long as each kept `most` of its queries or all of them.
    """
    seen = np.array([window.seen for window in windows], dtype=np.int64)
    kept = np.array([len(window.vectors) for window in windows], dtype=np.int64)
    if seen.sum() > POPULATION_MAX:
        seen = np.maximum(kept, (seen * (POPULATION_MAX / seen.sum())).astype(np.int64))
    # How many of the sample are of each window; which ones of it does not matter then.
    shares = random.multivariate_hypergeometric(seen, min(most, int(seen.sum())), method="marginals")
    chosen = [
        random.choice(len(window.vectors), min(share, len(window.vectors)), replace=False)
        for window, share in zip(windows, shares.tolist(), strict=True)
    ]
    pairs = list(zip(windows, chosen, strict=True))
    return (
        np.concatenate([window.vectors[rows] for window, rows in pairs]),
        np.concatenate([window.top_k[rows] for window, rows in pairs]),
    )


def _parse(payload: bytes) -> Samples:
    """Raises ValueError, and whatever the libraries raise."""
    if len(payload) > FILE_BYTES_MAX:
        raise ValueError(f"it has more than {FILE_BYTES_MAX} bytes")
    with zipfile.ZipFile(io.BytesIO(payload)) as members:
        # Packed, a small file could be a large array.
        if any(each.compress_type != zipfile.ZIP_STORED for each in members.infolist()):
            raise ValueError("it is packed")
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        return _samples(json.loads(arrays["header"].tobytes()), arrays["vectors"], arrays["top_k"])


def _header(samples: Samples) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "tenant": samples.tenant,
        "service": samples.service,
        "manifest_sha256": samples.manifest_sha256,
        "space": asdict(samples.space),
        "windows": [
            {"began_at": each.began_at, "seen": each.seen, "kept": len(each.vectors)} for each in samples.windows
        ],
    }


def _samples(header: Mapping[str, Any], vectors: Any, top_k: Any) -> Samples:
    """Raises ValueError, KeyError or TypeError for what does not fit together."""
    if header["format"] != FORMAT:
        raise ValueError(f"its format is {header['format']}, not {FORMAT}")
    space = Space(**header["space"])
    if (vectors.dtype, top_k.dtype) != (np.float32, np.int32):
        raise ValueError(f"it holds {vectors.dtype} and {top_k.dtype}")
    told = header["windows"]
    rows = sum(each["kept"] for each in told)
    if not 0 < len(told) <= WINDOWS_MAX or vectors.shape != (rows, space.dimension) or top_k.shape != (rows,):
        raise ValueError(f"{vectors.shape} vectors in {len(told)} windows of {rows} x {space.dimension}")
    if not np.isfinite(vectors).all() or not (top_k > 0).all():
        raise ValueError("it holds queries that nobody can have asked")
    ends = np.cumsum([each["kept"] for each in told])[:-1]
    parts = zip(told, np.split(vectors, ends), np.split(top_k, ends), strict=True)
    return Samples(
        tenant=str(header["tenant"]),
        service=str(header["service"]),
        manifest_sha256=str(header["manifest_sha256"]),
        space=space,
        windows=tuple(_window(each, *arrays) for each, *arrays in parts),
    )


def _window(told: Mapping[str, Any], vectors: Float32, top_k: Int32) -> Window:
    began_at, seen = float(told["began_at"]), int(told["seen"])
    if not 0 <= began_at < math.inf or not 0 < len(vectors) <= seen <= SEEN_MAX:
        raise ValueError(f"a window since {began_at} with {len(vectors)} of {seen} queries")
    return Window(began_at, seen, vectors, top_k)
