"""Notes of each signed-in browser where it came from and when it was last seen, and what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from django.http import HttpRequest, HttpResponse

from accounts.actions import session_seen
from accounts.models import AGENT_CHARACTERS_MAX
from accounts.sessions import SessionStore
from common.addresses import client_address


class SessionSeenMiddleware:
    """Stands inside Django's SessionMiddleware, which saves a session that was changed after this."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        session = cast(SessionStore, request.session)
        # Whoever brought no cookie and was given none has no session to look up.
        if session.session_key is not None and session.is_signed_in:
            agent = _text(request.headers.get("User-Agent", ""))
            if session.visit(address=client_address(request), agent=agent) and not session.modified:
                session_seen(session_key=session.session_key, seen=session.seen)
        return response


def _text(agent: str) -> str:
    """A header may hold anything, and PostgreSQL refuses some of it."""
    return "".join(each for each in agent if each.isprintable())[:AGENT_CHARACTERS_MAX]
