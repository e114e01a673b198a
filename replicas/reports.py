"""What a node says of itself."""

from __future__ import annotations

import os
from collections.abc import Iterable

import psutil

from documents.store import Stamp
from recallpb.internal.v1 import documents_pb2


def node_report(
    *, node: str, stamp: Stamp, replicas: Iterable[documents_pb2.ReplicaReport], leaving: Iterable[str] = ()
) -> documents_pb2.NodeReport:
    """The whole report: the machine, the document that is acted upon, each replica, and those that end."""
    memory = psutil.virtual_memory()
    return documents_pb2.NodeReport(
        node=node,
        cpu_count=len(os.sched_getaffinity(0)),
        memory_total_bytes=memory.total,
        memory_available_bytes=memory.available,
        replicas=replicas,
        leaving=leaving,
        placements_stamp=stamp.to_message(),
        agent_pid=os.getpid(),
    )
