"""The nodes' reports become rows. The sweeper does it every second, and a step that waits for a node does it itself."""

from __future__ import annotations

import logging

import redis

from versions import actions, routes

log = logging.getLogger(__name__)


def collect() -> int:
    """Writes what changed; says how many nodes were heard. Without Redis nothing changes."""
    try:
        reports = routes.node_reports()
    except redis.RedisError as error:
        log.warning("The nodes' reports cannot be read: %s", error)
        return 0
    for seen in reports:
        actions.node_report(seen)
    return len(reports)
