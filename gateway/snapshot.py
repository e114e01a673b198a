"""The routes' copy on disk, from which a gateway starts when Redis and the control plane are away."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from gateway.auth import Auth
from gateway.routes import Routes
from gateway.wire import length_delimited
from recallpb.internal.v1 import documents_pb2

log = structlog.get_logger(__name__)

WRITE_PAUSE_SECONDS = 1.0
ROUTES_FIELD = documents_pb2.RouteSnapshot.ROUTES_FIELD_NUMBER
REVOKED_FIELD = documents_pb2.RouteSnapshot.REVOKED_PREFIXES_FIELD_NUMBER


class SnapshotFile:
    """Written atomically after changes, at most once a second."""

    def __init__(self, path: Path, routes: Routes, auth: Auth) -> None:
        self.path = path
        self._routes = routes
        self._auth = auth
        self._changed = asyncio.Event()

    def load(self) -> None:
        """Takes over what the file holds; one that cannot be read is left aside and said so."""
        try:
            snapshot = documents_pb2.RouteSnapshot.FromString(self.path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, DecodeError):
            log.exception("snapshot.unreadable", path=str(self.path))
            return
        documents = {f"{route.tenant}/{route.service}": route.SerializeToString() for route in snapshot.routes}
        self._routes.apply(documents)
        self._auth.revoke(snapshot.revoked_prefixes)
        self._routes.loaded = bool(documents)
        log.info("snapshot.loaded", routes=len(documents))

    def changed(self) -> None:
        """Says that the file is out of date."""
        self._changed.set()

    async def run(self) -> None:
        """Writes after each change until cancelled."""
        while True:
            await self._changed.wait()
            await self.write()
            await asyncio.sleep(WRITE_PAUSE_SECONDS)

    async def write(self) -> None:
        """Writes now. A disk that is full or gone is logged: it must not stop the answers."""
        self._changed.clear()
        routes = [route.document for route in self._routes.all()]
        revoked = sorted(self._auth.revoked)
        try:
            await asyncio.to_thread(_write, self.path, routes, revoked)
        except OSError:
            log.exception("snapshot.unwritable", path=str(self.path))


def _write(path: Path, routes: list[bytes], revoked: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    # It holds digests of keys, so that only the owner may read it.
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.writelines(length_delimited(ROUTES_FIELD, document) for document in routes)
        file.writelines(length_delimited(REVOKED_FIELD, prefix.encode()) for prefix in revoked)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
