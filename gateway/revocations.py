"""Revoked keys, straight from the control plane, so that they die within seconds even when Redis is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
import structlog

from gateway.auth import PREFIX_CHARACTERS, Auth

log = structlog.get_logger(__name__)

POLL_SECONDS = 2.0
HTTP_TIMEOUT_SECONDS = 1.5
PREFIXES_MAX = 100_000
PATH = "/internal/revocations"
HEADER = "X-Recall-Internal"


class RevocationFeed:
    """Keeps Auth's list of revoked prefixes as new as the control plane is. Away, it changes nothing."""

    def __init__(self, auth: Auth, console_url: str, internal_token: bytes, *, on_change: Callable[[], None]) -> None:
        self._auth = auth
        self._on_change = on_change
        self._client = httpx.AsyncClient(
            base_url=console_url,
            headers={HEADER: internal_token.decode()},
            timeout=HTTP_TIMEOUT_SECONDS,
            follow_redirects=False,
            trust_env=False,
        )
        self._away = False
        self.fresh_at = 0.0

    async def run(self) -> None:
        """Polls until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(POLL_SECONDS)

    async def poll(self) -> bool:
        """One exchange; False when the control plane did not answer as it should."""
        try:
            response = await self._client.get(PATH)
            response.raise_for_status()
            prefixes = _prefixes(response.json())
        except (httpx.HTTPError, ValueError) as error:
            self._seen(away=True, cause=repr(error))
            return False
        if self._auth.revoke(prefixes):
            self._on_change()
        self._seen(away=False)
        self.fresh_at = time.monotonic()
        return True

    async def close(self) -> None:
        await self._client.aclose()

    def _seen(self, *, away: bool, cause: str = "") -> None:
        if away and not self._away:
            log.warning("console.away", cause=cause)
        if self._away and not away:
            log.info("console.back")
        self._away = away


def _prefixes(body: object) -> list[str]:
    """Raises ValueError when the body is not what was agreed."""
    prefixes = body.get("revoked_prefixes") if isinstance(body, dict) else None
    if not isinstance(prefixes, list) or len(prefixes) > PREFIXES_MAX:
        raise ValueError("no list of revoked prefixes")
    if not all(isinstance(prefix, str) and len(prefix) == PREFIX_CHARACTERS for prefix in prefixes):
        raise ValueError("a revoked prefix is ill-formed")
    return prefixes
