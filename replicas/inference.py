"""Queries by features become queries by vectors: the version's own model computes them, in the answering thread.

Model and index are of one artifact and move together, so a vector of one model never meets another's index. Whatever
befalls one query never touches another one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog

from bundles import layout
from encoders.errors import EncoderError, FeatureInvalid, ModelFailed, ModelRefused, ModelTooSlow
from replicas.errors import DeadlinePassed, InternalError, InvalidQuery, LoadError, ModelStopped, ReplicaError
from replicas.queries import Floats, Query
from replicas.schema import VersionSchema

if TYPE_CHECKING:
    from encoders.encoder import Encoder

log = structlog.get_logger()

US_PER_SECOND = 1_000_000
MS_PER_SECOND = 1_000
NAME_CHARACTERS_MAX = 80


def open_encoder(artifact: Path, schema: VersionSchema, seconds_max: float) -> Encoder | None:
    """The version's query model, None when it has none. Raises LoadError."""
    if schema.model is None:
        return None
    # ONNX Runtime takes memory and a start that versions without a model do not pay for.
    from encoders.encoder import Encoder

    try:
        return Encoder.open(
            artifact / layout.MODEL_FOLDER, schema.model, seconds_max=seconds_max, batch_max=schema.model_batch_max
        )
    except ModelRefused as error:
        raise LoadError("artifact.bad_model", error.message) from error


def encode(encoder: Encoder, queries: Sequence[Query]) -> tuple[list[list[bytes] | ReplicaError], int]:
    """For each query its vectors as raw float32, or its error, in order; and the microseconds that all took."""
    started = time.monotonic()
    try:
        found = encoder.encode([query.features for query in queries], lambda place: _is_late(queries[place]))
    except Exception:
        # Of a batch that broke something of ours nobody knows whose fault it is.
        log.exception("encoding_failed", queries=len(queries))
        return [InternalError() for _ in queries], 0
    took_us = int((time.monotonic() - started) * US_PER_SECOND)
    return [_outcome(each) for each in found], took_us


def feature_field(name: str) -> str:
    """The request's field for one feature; the name is written as JSON, whatever a stranger called it."""
    return f"features.features[{json.dumps(name[:NAME_CHARACTERS_MAX], ensure_ascii=False)}]"


def _is_late(query: Query) -> bool:
    return bool(query.deadline_ms) and time.monotonic() - query.arrived > query.deadline_ms / MS_PER_SECOND


def _outcome(found: Floats | EncoderError | None) -> list[bytes] | ReplicaError:
    match found:
        case None:
            return DeadlinePassed()
        case FeatureInvalid():
            return InvalidQuery(feature_field(found.feature), found.reason, found.message)
        case ModelFailed():
            return InvalidQuery("features", found.reason, found.message)
        case ModelTooSlow():
            return ModelStopped(found.message)
        case np.ndarray():
            return [vector.tobytes() for vector in found.astype("<f4", copy=False)]
    return InternalError()
