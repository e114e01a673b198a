"""The control plane's edge to the data plane: rows become documents, reports become plain values.

Documents are written to Redis only if newer. A write that fails is logged and left to the sweeper, which publishes
everything again from the rows.
"""

from versions.routes.publishing import (
    publish,
    publish_after_commit,
    publish_placements,
    publish_placements_after_commit,
    publish_tenant,
    published_stamps,
    wanted_placements,
    wanted_routes,
)
from versions.routes.reports import acknowledged, node_reports, served_stamps

__all__ = [
    "acknowledged",
    "node_reports",
    "publish",
    "publish_after_commit",
    "publish_placements",
    "publish_placements_after_commit",
    "publish_tenant",
    "published_stamps",
    "served_stamps",
    "wanted_placements",
    "wanted_routes",
]
