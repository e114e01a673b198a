"""What this node shall run: the newest document ever seen, kept on disk to start from."""

from __future__ import annotations

import os
import re
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from documents.store import PLACEMENTS, ZERO, DocumentReader, Stamp
from recallpb.internal.v1 import documents_pb2

log = structlog.get_logger()

COPY_NAME = "placements.bin"
# It becomes a file's name.
REPLICA_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


class PlacementsFollower:
    """The node's Placements. An older document, an absent one and an empty Redis change nothing."""

    def __init__(self, node: str, folder: Path) -> None:
        self.document: documents_pb2.Placements | None = None
        self._node = node
        self._copy = folder / COPY_NAME
        self._refused = ZERO

    @property
    def stamp(self) -> Stamp:
        return ZERO if self.document is None else Stamp.of(self.document.stamp)

    def start_from_copy(self) -> None:
        """Take the copy on disk, if there is one that can be read."""
        if self._copy.is_file():
            self.document = self._parse(self._copy.read_bytes())

    async def refresh(self, reader: DocumentReader) -> bool:
        """Ask Redis; True when a newer document came. Raises redis.RedisError."""
        stamp = (await reader.stamps(PLACEMENTS)).get(self._node, ZERO)
        if stamp <= max(self.stamp, self._refused):
            return False
        payload = (await reader.documents(PLACEMENTS, [self._node])).get(self._node)
        return payload is not None and self._apply(payload, stamp)

    def _apply(self, payload: bytes, stamp: Stamp) -> bool:
        document = self._parse(payload)
        if document is None or Stamp.of(document.stamp) <= self.stamp:
            # Not looked at again until its stamp changes.
            self._refused = stamp
            return False
        self._keep_copy(payload)
        self.document = document
        log.info("placements", stamp=self.stamp.text(), replicas=len(document.placements))
        return True

    def _parse(self, payload: bytes) -> documents_pb2.Placements | None:
        try:
            document = documents_pb2.Placements.FromString(payload)
        except DecodeError:
            log.exception("placements_unreadable", bytes=len(payload))
            return None
        if document.node != self._node:
            log.error("placements_of_another_node", found=document.node)
            return None
        strange = [each.replica_id for each in document.placements if not REPLICA_ID.fullmatch(each.replica_id)]
        if strange:
            log.error("placements_with_strange_ids", ids=strange[:10])
            return None
        return document

    def _keep_copy(self, payload: bytes) -> None:
        """Atomically, and on disk before it is acted upon: a restart must not bring an older document back."""
        fresh = self._copy.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._copy)
