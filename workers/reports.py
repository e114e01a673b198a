"""The nodes' reports become rows. The sweeper does it every second, and a step that waits for a node does it itself."""

from __future__ import annotations

from versions import actions, routes
from versions.seen import NodeSeen


def collect() -> list[NodeSeen]:
    """Writes what changed, and returns what was said. Raises redis.RedisError, and then nothing has changed."""
    heard = routes.node_reports()
    for seen in heard:
        actions.node_report(seen)
    return heard
