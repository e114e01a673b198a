"""Remote places behind one small interface: one module per protocol, each through fsspec."""

from __future__ import annotations

from bundles.places import RemoteLocation, S3Location
from bundles.stores.base import Entry as Entry
from bundles.stores.base import Store as Store


def open_store(location: RemoteLocation) -> Store:
    """A store that reads below `location` and nowhere else. Raises SourceError."""
    # The libraries of one protocol are not loaded for the other.
    if isinstance(location, S3Location):
        from bundles.stores.s3 import S3Store

        return S3Store(location)
    from bundles.stores.webhdfs import WebhdfsStore

    return WebhdfsStore(location)
