"""The control plane's way to the gateway: the only part of it that knows the public wire."""

from versions.queries.gateway import batch_recall, count, items_get, recall, resource_name

__all__ = ["batch_recall", "count", "items_get", "recall", "resource_name"]
