"""The nodes' reports become rows. The sweeper does it every second, and a step that waits for a node does it itself."""

from __future__ import annotations

from versions import actions, routes
from workers import doorbell

# So many nodes' reports are read and written in one round; the others come first in the next.
NODES_MAX = 500
# A worker that died in a round is forgotten after so long.
ROUND_SECONDS_MAX = 5


def collect() -> list[str]:
    """Writes what changed, and returns the names of all nodes that report, also of those whose turn is still to come.

    When another worker is at it, nothing is written: it writes the same. Raises redis.RedisError, and then nothing has
    changed.
    """
    heard = routes.reporting_nodes()
    with doorbell.alone("reports", seconds_max=ROUND_SECONDS_MAX) as mine:
        if mine:
            for seen in routes.node_reports(doorbell.in_turn("reports", dict.fromkeys(heard, 1), most=NODES_MAX)):
                actions.node_report(seen)
    return heard
