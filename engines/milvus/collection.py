"""What is asked of one collection: how it is made, filled, indexed, loaded, searched, released and dropped."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

import numpy as np

from engines.base import Float32, Int64
from engines.description import Metric
from engines.errors import BuildFailed, EngineUnavailable, ParamsInvalid
from engines.metrics import blank_answer
from engines.milvus.connection import CALL_SECONDS_MAX, CollectionGone, Instance, NotLoaded, seconds_until
from engines.milvus.errors import FewQueryNodes
from engines.milvus.library import DataType, MilvusClient
from engines.milvus.params import PQ_BITS, MilvusParams

ROW: Final = "row"
VECTOR: Final = "vector"
# Cosine vectors arrive normalised, so that their inner product is the cosine.
METRICS: Final[Mapping[Metric, str]] = {"ip": "IP", "cosine": "IP", "l2": "L2"}

INSERT_SECONDS_MAX: Final = 120.0
FLUSH_SECONDS_MAX: Final = 1_800.0
INDEX_SECONDS_MAX: Final = 6 * 3_600.0
LOAD_SECONDS_MAX: Final = 1_800.0
POLL_SECONDS: Final = 0.2

RowsIndexed = Callable[[int], None]


class Collection:
    """One collection of one instance. Every method raises EngineUnavailable, CollectionGone and EngineError."""

    def __init__(self, instance: Instance, name: str) -> None:
        self.name: Final = name
        self._instance = instance
        self._replicas = 1
        self._reloading: Future[None] | None = None
        self._lock = threading.Lock()

    def create(self, dimension: int, about: str) -> None:
        """Empty, of rows and their vectors, and of nothing else. `about` is for people with other tools."""

        def call(client: MilvusClient) -> None:
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False, description=about)
            schema.add_field(ROW, DataType.INT64, is_primary=True)
            schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dimension)
            # It is written before anybody searches it and never again, so that no search needs to wait for writes.
            client.create_collection(self.name, schema=schema, consistency_level="Eventually", timeout=CALL_SECONDS_MAX)

        self._instance.tell(call)

    def insert(self, first_row: int, vectors: Float32) -> None:
        """`vectors` [n, d] as the rows from `first_row` on. Not to be done twice: a server may keep both."""
        rows = [{ROW: row, VECTOR: vector} for row, vector in enumerate(vectors, start=first_row)]
        self._instance.tell(lambda client: client.insert(self.name, rows, timeout=INSERT_SECONDS_MAX))

    def flush(self) -> None:
        """What was inserted is on disk, in segments that are not written to any more."""
        self._instance.tell(lambda client: client.flush(self.name, timeout=FLUSH_SECONDS_MAX))

    def index(self, metric: Metric, params: MilvusParams, rows: int, dimension: int, tell: RowsIndexed) -> None:
        """Builds the index of all `rows` and waits for it, also while the instance is away, which goes on when it is
        back; `tell` hears how many rows are done. Raises BuildFailed."""

        def call(client: MilvusClient) -> None:
            if client.describe_index(self.name, VECTOR, timeout=CALL_SECONDS_MAX) is not None:
                return  # It was told before it went away, which nobody heard.
            wanted = client.prepare_index_params()
            # In a `params` of its own: the client would spread them, and not every server reads them then.
            how = {"params": _index_params(params, rows, dimension)}
            wanted.add_index(
                VECTOR, index_name=VECTOR, index_type=params.index_type, metric_type=METRICS[metric], params=how
            )
            client.create_index(self.name, wanted, sync=False, timeout=INDEX_SECONDS_MAX)

        self._instance.insist(lambda: self._instance.tell(call))
        until = time.monotonic() + INDEX_SECONDS_MAX
        while not self._instance.insist(lambda: self._is_indexed(rows, tell)):
            if time.monotonic() > until:
                raise BuildFailed(f"the index of {self.name} is not done after {INDEX_SECONDS_MAX:,.0f} s")
            time.sleep(POLL_SECONDS)

    def _is_indexed(self, rows: int, tell: RowsIndexed) -> bool:
        found = self._instance.tell(lambda client: client.describe_index(self.name, VECTOR, timeout=CALL_SECONDS_MAX))
        if found is None or found["state"] == "Failed":
            raise BuildFailed(f"the index of {self.name} failed; the log of the instance says why")
        # Rows in small segments are never indexed, so that the state counts and not the number.
        tell(min(rows, int(found.get("indexed_rows", 0))))
        return bool(found["state"] == "Finished" and not int(found.get("pending_index_rows", 0)))

    def load(self, replicas: int) -> None:
        """Into the memory of so many query nodes; does nothing when it is there. Raises ParamsInvalid."""
        self._replicas = replicas
        try:
            self._instance.tell(self._load)
        except FewQueryNodes as error:
            # An instance that was silent for a while has lost its own nodes, and is about to find them or to end.
            if replicas == 1:
                raise EngineUnavailable(f"{error.message}: it has no query node just now") from error
            message = f"params.replicas: {replicas} are more than the query nodes of the instance {self._instance.name}"
            raise ParamsInvalid(message, field="params.replicas") from error

    def _load(self, client: MilvusClient) -> None:
        client.load_collection(self.name, replica_number=self._replicas, timeout=LOAD_SECONDS_MAX)

    def count(self) -> int:
        """The rows it has, with everything that was written."""
        return self._count("Strong", None)

    def count_loaded(self, until: float | None = None) -> int:
        """The rows that searches find; changes of the last moment may be missing."""
        return self._count("Eventually", until)

    def _count(self, consistency: str, until: float | None) -> int:
        limit = _limit(until)
        found = self._instance.ask(
            lambda client: client.query(
                self.name, output_fields=["count(*)"], consistency_level=consistency, timeout=seconds_until(limit)
            ),
            limit,
        )
        return int(found[0]["count(*)"])

    def vectors_of(self, rows: Int64) -> dict[int, Float32]:
        """The vector [d] of each of those few rows that there are."""
        listed = ", ".join(str(row) for row in rows.tolist())
        found = self._instance.ask(
            lambda client: client.query(
                self.name, filter=f"{ROW} in [{listed}]", output_fields=[ROW, VECTOR], timeout=CALL_SECONDS_MAX
            )
        )
        return {int(each[ROW]): np.asarray(each[VECTOR], dtype=np.float32) for each in found}

    def search(
        self, queries: Float32, top_k: int, params: Mapping[str, int], until: float | None = None
    ) -> tuple[Int64, Float32]:
        """Rows [q, top_k] and the server's scores [q, top_k], padded with -1 and NaN, in one call that is waited for
        `until` (time.monotonic()), and no longer than other questions."""
        limit = _limit(until)

        def call(client: MilvusClient) -> Sequence[Any]:
            hits: Sequence[Any] = client.search(
                self.name,
                data=list(queries),
                anns_field=VECTOR,
                limit=top_k,
                search_params={"params": dict(params)},
                timeout=seconds_until(limit),
            )
            return hits

        try:
            found = self._instance.ask(call, limit)
        except NotLoaded as error:
            if failed := self._load_again():
                error.add_note(f"the last try to load it again failed: {failed}")
            raise
        return _as_arrays(found, len(queries), top_k)

    def _load_again(self) -> BaseException | None:
        """Begins to, unless that is under way; nobody waits, the next searches find out. What the last try met."""
        with self._lock:
            last = self._reloading
            if last is not None and not last.done():
                return None
            self._reloading = self._instance.begin(self._load)
        return last.exception() if last is not None else None

    def release(self) -> None:
        """Out of the memory of the instance; nothing happens when it is not there. Whoever searches it loads it."""
        try:
            self._instance.tell(lambda client: client.release_collection(self.name, timeout=CALL_SECONDS_MAX))
        except CollectionGone:
            return

    def drop(self) -> None:
        """Its aliases first: servers refuse while it has some, or keep them for nothing. Nothing happens without it."""

        def call(client: MilvusClient) -> None:
            for alias in client.list_aliases(self.name, timeout=CALL_SECONDS_MAX)["aliases"]:
                client.drop_alias(alias, timeout=CALL_SECONDS_MAX)
            client.drop_collection(self.name, timeout=CALL_SECONDS_MAX)

        try:
            self._instance.tell(call)
        except CollectionGone:
            return


def _limit(until: float | None) -> float:
    """Until when a question is waited for."""
    return min(time.monotonic() + CALL_SECONDS_MAX, math.inf if until is None else until)


def _index_params(params: MilvusParams, rows: int, dimension: int) -> dict[str, int]:
    match params.index_type:
        case "HNSW":
            return {"M": params.M, "efConstruction": params.ef_construction}
        case "IVF_FLAT":
            return {"nlist": params.cells(rows)}
        case "IVF_PQ":
            return {"nlist": params.cells(rows), "m": params.codes(dimension), "nbits": PQ_BITS}
        case "FLAT":
            return {}


def _as_arrays(found: Sequence[Any], queries: int, top_k: int) -> tuple[Int64, Float32]:
    """Raises EngineUnavailable when the answer is not one list for each query: it was cut on its way."""
    if len(found) != queries:
        raise EngineUnavailable(f"{len(found)} lists are no answer to {queries} queries")
    rows, scores = blank_answer(queries, top_k)
    for place, hits in enumerate(found):
        rows[place, : len(hits.ids)] = hits.ids
        scores[place, : len(hits.ids)] = hits.distances
    return rows, scores
