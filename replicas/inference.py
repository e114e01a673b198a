"""The encoder of queries by features: the version's own model computes their vectors, in the answering thread.

Model and index are of one artifact and move together, so a vector of one model never meets another's index. Queries
share runs of the model as far as it lets them, and what befalls one of them never touches another.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import numpy as np

from bundles.query_vectors import as_searched
from querymodel.errors import FeatureInvalid, ModelFailed, ModelTooSlow, QueryModelError
from replicas.errors import DeadlinePassed, InternalError, InvalidQuery, ModelStopped, ReplicaError
from replicas.loaded import LoadedVersion
from replicas.queries import Floats, Query
from replicas.schema import VersionSchema
from replicas.vectors import Encoded

FEATURES_FIELD = "features"
NAME_CHARACTERS_MAX = 80
US_PER_SECOND = 1_000_000
NO_QUERY_MODEL = "the version that answers has no query model; set `vectors` or `items`"


def encode_features(loaded: LoadedVersion, queries: Sequence[Query]) -> list[Encoded | ReplicaError]:
    """The vectors of each query, or its own error; `model_us` of all is what they took together."""
    if loaded.query_model is None:
        return [InvalidQuery(FEATURES_FIELD, "NO_QUERY_MODEL", NO_QUERY_MODEL) for _ in queries]
    started = time.monotonic()
    features = [query.features for query in queries]
    found = loaded.query_model.encode(features, lambda place: queries[place].is_late(time.monotonic()))
    model_us = int((time.monotonic() - started) * US_PER_SECOND)
    return [_encoded(each, loaded.schema, model_us) for each in found]


def feature_field(name: str) -> str:
    """The request's field for one feature; the name is written as JSON, whatever a stranger called it."""
    return f"features.features[{json.dumps(name[:NAME_CHARACTERS_MAX], ensure_ascii=False)}]"


def _encoded(found: Floats | QueryModelError | None, schema: VersionSchema, model_us: int) -> Encoded | ReplicaError:
    match found:
        case None:
            return DeadlinePassed()
        case FeatureInvalid():
            return InvalidQuery(feature_field(found.feature), found.reason, found.message)
        case ModelFailed():
            return InvalidQuery(FEATURES_FIELD, found.reason, found.message)
        case ModelTooSlow():
            return ModelStopped(found.message)
        case np.ndarray():
            return _searched(found, schema, model_us)
    return InternalError()


def _searched(vectors: Floats, schema: VersionSchema, model_us: int) -> Encoded | ReplicaError:
    searched = as_searched(vectors, normalized=schema.normalized)
    if searched.refused:
        refusal = next(iter(searched.refused.values()))
        message = f"of what the query model gives for these features: {refusal.message}"
        return InvalidQuery(FEATURES_FIELD, refusal.reason, message)
    return Encoded(searched.matrix, model_us=model_us)
