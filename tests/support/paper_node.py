"""A node on paper: reads its placements from Valkey and reports as an agent would, without any process or index.

For what a real node cannot be made to do on demand: fail to load, answer slowly or wrongly, stay away.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bundles import layout
from documents.store import PLACEMENTS, Stamp
from recallpb.internal.v1 import documents_pb2
from tests.support.valkey import Valkey

POLL_SECONDS = 0.02
Report = documents_pb2.ReplicaReport


class PaperNode:
    """`load_error` fails every load, `p99_ms` is what each WARM measures in its turn, `check_error` fails CHECK.

    COMPARE finds for each of the two what its last WARM measured, `timed` and `likeness`; `compare_error` fails it.
    """

    def __init__(
        self,
        valkey: Valkey,
        name: str = "local",
        *,
        p99_ms: tuple[float, ...] = (1.0,),
        memory_available_bytes: int = 2**33,
    ) -> None:
        self.name, self.load_error, self.check_error, self.compare_error = name, "", "", ""
        # What artifacts without a manifest hold, how many sampled rows are found, and how alike two versions answer.
        self.items, self.rows_found = 60, 100
        self.timed = 1_000
        self.likeness = {"overlap": 0.9, "mean_score": 1.0, "beside_mean_score": 1.0}
        self._warmed_ms: dict[str, float] = {}
        self.memory_available_bytes = memory_available_bytes
        self.rss_bytes = 0  # Of each replica.
        # Once this order was carried out the replica respawns, until this is empty again.
        self.respawn_after = ""
        self._p99_ms = list(p99_ms)
        self.executed: list[str] = []
        self.placed: list[int] = []
        self._results: dict[str, documents_pb2.OrderResult] = {}
        self._redis = valkey.client()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._report(documents_pb2.Placements())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._redis.delete(f"recall:node:{self.name}")

    def _run(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            payload: Any = self._redis.hget(PLACEMENTS.docs_key, self.name)
            self._report(documents_pb2.Placements.FromString(payload or b""))

    def _report(self, placements: documents_pb2.Placements) -> None:
        self.placed = [placement.version for placement in placements.placements]
        report = documents_pb2.NodeReport(
            node=self.name,
            cpu_count=2,
            memory_total_bytes=2**34,
            memory_available_bytes=self.memory_available_bytes,
            replicas=[self._replica(placement) for placement in placements.placements],
            placements_stamp=Stamp.of(placements.stamp).to_message(),
        )
        self._redis.set(f"recall:node:{self.name}", report.SerializeToString())

    def _replica(self, placement: documents_pb2.Placement) -> documents_pb2.ReplicaReport:
        if self.load_error:
            return Report(replica_id=placement.replica_id, state=Report.FAILED, error=self.load_error)
        orders = [self._result(placement, order) for order in placement.orders]
        respawns = self.respawn_after in self.executed
        return Report(
            replica_id=placement.replica_id,
            state=Report.RESPAWNING if respawns else Report.READY,
            address=f"unix:/run/{placement.replica_id}.sock",
            version=placement.version,
            rss_bytes=self.rss_bytes,
            orders=orders,
        )

    def _result(self, placement: documents_pb2.Placement, order: documents_pb2.Order) -> documents_pb2.OrderResult:
        if order.order_id not in self._results:
            self.executed.append(order.order_id)
            self._results[order.order_id] = self._execute(placement, order)
        return self._results[order.order_id]

    def _execute(self, placement: documents_pb2.Placement, order: documents_pb2.Order) -> documents_pb2.OrderResult:
        if order.kind == documents_pb2.Order.WARM:
            p99_ms = self._p99_ms.pop(0) if len(self._p99_ms) > 1 else self._p99_ms[0]
            self._warmed_ms[placement.replica_id] = p99_ms
            return documents_pb2.OrderResult(order_id=order.order_id, ok=True, p99_ms=p99_ms, queries=100)
        if order.kind == documents_pb2.Order.COMPARE:
            return self._compare(placement, order)
        return documents_pb2.OrderResult(
            order_id=order.order_id,
            ok=not self.check_error,
            error=self.check_error,
            agreement=0.5 if self.check_error else 1.0,
            agreement_min=0.98,
            version=placement.version,
            items=self._items(placement),
            rows_sampled=100,
            rows_found=self.rows_found,
        )

    def _compare(self, placement: documents_pb2.Placement, order: documents_pb2.Order) -> documents_pb2.OrderResult:
        if self.compare_error:
            return documents_pb2.OrderResult(order_id=order.order_id, ok=False, error=self.compare_error)
        return documents_pb2.OrderResult(
            order_id=order.order_id,
            ok=True,
            version=placement.version,
            beside_version=order.beside_version,
            queries=100,
            timed=self.timed,
            p99_ms=self._warmed_ms[placement.replica_id],
            beside_p99_ms=self._warmed_ms.get(order.beside, self._p99_ms[0]),
            **self.likeness,
        )

    def _items(self, placement: documents_pb2.Placement) -> int:
        manifest = Path(placement.artifact) / layout.MANIFEST
        return int(json.loads(manifest.read_text())["searchable_items"]) if manifest.is_file() else self.items
