"""Checks that every engine makes before it works, so that all refuse alike."""

from __future__ import annotations

import math
import mmap
import resource
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from pydantic import ValidationError

from engines.base import Float32, IndexSpec, SearchEffort
from engines.description import EngineDescription, EngineParams
from engines.errors import OutOfMemory, ParamsInvalid, QueryInvalid, VectorsInvalid
from engines.graph import EF_MAX, GraphSearchParams
from engines.rowset import RowSet

DIMENSION_MAX = 32_768
THREADS_MAX = 1_024
# Graph engines number their nodes in 32 bits.
ROWS_MAX = 2**32 - 1
TOP_K_MAX = 200_000
# What a thread's stack takes where the system names no limit for it.
STACK_BYTES_DEFAULT = 8 * 2**20

EF_DEFAULT: int = GraphSearchParams().ef

Params = TypeVar("Params", bound=EngineParams)


def check_spec(spec: IndexSpec, description: EngineDescription) -> None:
    """Refuse a spec that this engine cannot follow. Raises ParamsInvalid with the field's name."""
    if spec.metric not in description.metrics:
        raise ParamsInvalid(f"metric: {spec.metric!r} is not one of {', '.join(description.metrics)}", field="metric")
    if not 1 <= spec.dimension <= DIMENSION_MAX:
        raise ParamsInvalid(f"dimension: {spec.dimension} is not within 1 and {DIMENSION_MAX}", field="dimension")
    if not 1 <= spec.threads <= THREADS_MAX:
        raise ParamsInvalid(f"threads: {spec.threads} is not within 1 and {THREADS_MAX}", field="threads")
    if spec.partitions != 1:
        message = f"partitions: {spec.partitions} are no matter of engine {description.name}, which knows only 1"
        raise ParamsInvalid(message, field="partitions")


def parse_params(model: type[Params], params: Mapping[str, object]) -> Params:
    """The engine's typed parameters. Raises ParamsInvalid with the first offending field, such as `params.x`."""
    try:
        return model.model_validate(dict(params))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(["params", *(str(part) for part in first["loc"])])
        raise ParamsInvalid(f"{field}: {first['msg']}", field=field) from error


def check_vectors(vectors: Float32, dimension: int) -> Float32:
    """The vectors as a plain C-ordered array, not copied. Raises VectorsInvalid; their values are not looked at."""
    plain = np.asarray(vectors)
    if plain.dtype != np.float32 or plain.ndim != 2 or not plain.flags.c_contiguous:
        raise VectorsInvalid(f"vectors must be C-ordered float32 [n, d], not {plain.dtype} {plain.shape}")
    if plain.shape[1] != dimension:
        raise VectorsInvalid(f"vectors have dimension {plain.shape[1]}, the spec says {dimension}")
    if not 1 <= len(plain) <= ROWS_MAX:
        raise VectorsInvalid(f"{len(plain)} rows are not within 1 and {ROWS_MAX}")
    return plain


def check_finite(chunk: Float32, first_row: int) -> None:
    """Refuse NaN and infinity: an index would take them in and answer wrongly for good. Raises VectorsInvalid."""
    finite = np.isfinite(chunk)
    if finite.all():
        return
    row = first_row + int(np.flatnonzero(~finite.all(axis=1))[0])
    raise VectorsInvalid("holds NaN or infinity", row=row)


def check_queries(queries: Float32, dimension: int, top_k: int) -> Float32:
    """The queries as a C-ordered float32 array [q, d]. Raises QueryInvalid."""
    plain = np.ascontiguousarray(queries, dtype=np.float32)
    if plain.ndim != 2 or plain.shape[1] != dimension:
        raise QueryInvalid(f"queries must have shape [q, {dimension}], not {list(plain.shape)}", field="queries")
    if not 1 <= top_k <= TOP_K_MAX:
        raise QueryInvalid(f"top_k: {top_k} is not within 1 and {TOP_K_MAX}", field="top_k")
    # Finite squares are of finite numbers; where they overflow, each number is looked at.
    if not math.isfinite(np.vdot(plain, plain)) and not np.isfinite(plain).all():
        raise QueryInvalid("queries hold NaN or infinity", field="queries")
    return plain


def ef_of(effort: SearchEffort) -> int:
    """The candidates that a search of this effort keeps in a graph. Raises QueryInvalid."""
    ef = EF_DEFAULT if effort.ef is None else effort.ef
    if not 1 <= ef <= EF_MAX:
        raise QueryInvalid(f"ef: {ef} is not within 1 and {EF_MAX}", field="ef")
    return ef


def check_allowed(allowed: RowSet | None, count: int, description: EngineDescription) -> None:
    """Raises QueryInvalid when this engine cannot keep to `allowed`, or the set is of another index."""
    if allowed is not None and not description.filters:
        raise QueryInvalid(f"engine {description.name} cannot be told which rows are allowed", field="allowed")
    check_size(allowed, count)


def check_size(allowed: RowSet | None, count: int) -> None:
    """Raises QueryInvalid when the set is of another index."""
    if allowed is not None and allowed.size != count:
        raise QueryInvalid(f"allowed is of {allowed.size} rows, the index has {count}", field="allowed")


def check_room_for_threads(threads: int, bytes_each: int = 0) -> None:
    """Libraries abort the process, without a word, when only some of their threads find room.

    `bytes_each` is what a thread allocates beside its stack before it begins. Raises OutOfMemory.
    """
    if threads == 1:
        return  # It works in this thread.
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)
    stack_bytes = STACK_BYTES_DEFAULT if limit == resource.RLIM_INFINITY else limit
    size = threads * (stack_bytes + bytes_each)
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise OutOfMemory(f"{threads} threads have no room in the memory that this build may use") from error
