"""The queries that a version was recorded with, as a caller would ask them: by features where its model has some."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from bundles import layout
from querymodel import recorded
from querymodel.spec import Features
from replicas.loaded import LoadedVersion
from replicas.queries import MergePolicy, Query, QueryKind

Known = NDArray[np.float32]


def recorded_queries(loaded: LoadedVersion, most: int, top_k: int) -> list[Query]:
    """At most `most` of them, with nothing said of when they arrived."""
    features = recorded_features(loaded)
    if features:
        return [
            Query(QueryKind.FEATURES, [], [], top_k, MergePolicy.MAX, features=dict(each)) for each in features[:most]
        ]
    return [Query(QueryKind.VECTORS, [raw], [], top_k, MergePolicy.MAX) for raw in islice(_vectors(loaded), most)]


def recorded_features(loaded: LoadedVersion) -> list[Features]:
    """The recorded features that the version's model has vectors for; none without a model, or without records."""
    path = loaded.artifact.path / layout.FEATURES
    return recorded.read(path) if loaded.query_model is not None and path.is_file() else []


def known_features(loaded: LoadedVersion) -> tuple[list[Features], Known] | None:
    """Some of the recorded features, and what the model gave for them when it was tried, float32 [k, m, d]."""
    path = loaded.artifact.path / layout.KNOWN_FEATURES
    if not path.is_file():
        return None
    known: Known = np.load(path, allow_pickle=False)
    return recorded_features(loaded)[: len(known)], known


def _vectors(loaded: LoadedVersion) -> Iterator[bytes]:
    recorded_vectors, _ = loaded.artifact.queries()
    return (np.asarray(vector, dtype="<f4").tobytes() for vector in recorded_vectors)
