"""Keeps a claim alive from a thread beside the steps, and hears there whether the build shall be cancelled."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from django.db import Error, connection, connections

from versions import actions
from versions.actions import LEASE_SECONDS, Claim, FenceLost
from workers.outcomes import CancelRequested

log = logging.getLogger(__name__)

RENEW_SECONDS = 2.0


class Lease:
    """Use as a context manager around the steps; `check` is cheap and is called before and within each of them."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        # Before the UPDATE, so that this clock is never ahead of the database's.
        self._renewed_at = time.monotonic()
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{claim.build_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """Raises FenceLost when another worker has the build, CancelRequested when it shall end."""
        if self._lost.is_set() or time.monotonic() - self._renewed_at > LEASE_SECONDS:
            raise FenceLost(f"The lease of build {self._claim.build_id} was not renewed in time.")
        if self._cancelled.is_set():
            raise CancelRequested

    def _keep(self) -> None:
        try:
            while not self._ended.wait(RENEW_SECONDS) and not self._lost.is_set():
                self._renew()
        finally:
            connections.close_all()

    def _renew(self) -> None:
        began_at = time.monotonic()
        try:
            cancelled = actions.lease_renew(self._claim)
        except FenceLost:
            self._lost.set()
            return
        except Error:  # A connection that PostgreSQL dropped raises InterfaceError, which is no DatabaseError.
            log.warning("The lease of build %s was not renewed.", self._claim.build_id, exc_info=True)
            # A broken connection stays broken; the next try opens a new one.
            connection.close()
            return
        self._renewed_at = began_at
        if cancelled:
            self._cancelled.set()
