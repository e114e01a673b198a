"""Recall of what callers get, which is another thing than that of an index."""

from __future__ import annotations

import grpc
import numpy as np

from benchmarks.data import Float32
from benchmarks.load import MESSAGE_BYTES_MAX
from benchmarks.platform import DataPlane
from benchmarks.raw_hnsw import TOP_K, recall_of, true_rows
from recallpb.v1 import recall_pb2, recall_pb2_grpc

SECONDS_MAX = 30.0


def recall_through(plane: DataPlane, vectors: Float32, queries: Float32) -> float:
    """recall@100 of the gateway's answers against exact search. Ids are row numbers."""
    request = recall_pb2.BatchRecallRequest(service=plane.service)
    for query in queries:
        vector = recall_pb2.Vector(packed=query.astype("<f4").tobytes())
        request.requests.add(vectors=recall_pb2.VectorQuery(vectors=[vector]), top_k=TOP_K)
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
    with grpc.insecure_channel(plane.address, options=options) as channel:
        stub = recall_pb2_grpc.RecallServiceStub(channel)
        answer = stub.BatchRecall(request, timeout=SECONDS_MAX, metadata=(("authorization", f"Bearer {plane.key}"),))
    rows = np.array([list(result.response.ids) for result in answer.results])
    return recall_of(rows, true_rows(vectors, queries))
