"""The control plane's edge to the data plane: rows become documents, reports become plain values.

Documents are written to Redis only if newer. A write that fails is logged and left to the sweeper, which publishes
everything again from the rows.
"""

from versions.routes.publishing import (
    publish,
    publish_after_commit,
    publish_placements,
    publish_placements_after_commit,
    publish_quietly,
    publish_tenant,
    publish_tenant_quietly,
    published_stamps,
    wanted_placements,
    wanted_routes,
)
from versions.routes.reports import (
    acknowledged,
    forget_traffic,
    gateways_heard,
    laggards_of,
    node_reports,
    reporting_nodes,
    served_stamps,
    settled_traffic,
    take_key_uses,
)

__all__ = [
    "acknowledged",
    "forget_traffic",
    "gateways_heard",
    "laggards_of",
    "node_reports",
    "publish",
    "publish_after_commit",
    "publish_placements",
    "publish_placements_after_commit",
    "publish_quietly",
    "publish_tenant",
    "publish_tenant_quietly",
    "published_stamps",
    "reporting_nodes",
    "served_stamps",
    "settled_traffic",
    "take_key_uses",
    "wanted_placements",
    "wanted_routes",
]
