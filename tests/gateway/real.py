"""Real versions behind a gateway: artifacts, `python -m replicas.host`, and the routes that name them."""

from __future__ import annotations

from typing import Any

import numpy as np

from recallpb.internal.v1 import documents_pb2
from recallpb.v1 import recall_pb2
from tests.gateway.harness import FILMS, packed
from tests.support.artifacts import MadeArtifact
from tests.support.replica_hosts import Host

# Ids tell their version: those of version v begin at v times this.
IDS_PER_VERSION = 1_000_000


def route_of(made: MadeArtifact, host: Host) -> documents_pb2.RouteVersion:
    """The version as the control plane writes it into a route."""
    schema = made.manifest["schema"]
    return documents_pb2.RouteVersion(
        version=made.version,
        model_version=made.manifest["model_version"],
        items=made.manifest["items"],
        searchable_items=made.manifest["searchable_items"],
        schema=recall_pb2.Schema(
            id_type=schema["id_type"],
            dimension=schema["dimension"],
            metric=schema["metric"],
            normalize=schema["normalize"],
            attributes=[recall_pb2.Attribute(**attribute) for attribute in schema["attributes"]],
        ),
        replicas=[documents_pb2.RouteReplica(replica_id="r1", address=host.address, node="local")],
    )


def by_vectors(*vectors: Any, service: str = FILMS, top_k: int = 10, **fields: Any) -> recall_pb2.RecallRequest:
    asked = recall_pb2.VectorQuery(vectors=[packed(vector) for vector in vectors])
    return recall_pb2.RecallRequest(service=service, vectors=asked, top_k=top_k, **fields)


def rows_of(made: MadeArtifact, ids: Any) -> np.ndarray[Any, Any]:
    """Where each id stands in what the artifact was made of."""
    places = {key: row for row, key in enumerate(made.ids)}
    return np.array([places[key] for key in ids], dtype=np.int64)
