"""The nodes' reports become rows. The sweeper does it every second, and a step that waits for a node does it itself."""

from __future__ import annotations

from versions import actions, routes


def collect() -> None:
    """Writes what changed. Raises redis.RedisError, and then nothing has changed."""
    for seen in routes.node_reports():
        actions.node_report(seen)
