"""Forms whose answer shows what no page can show again: sent a second time, as by reloading, they do nothing.

Two that are sent at the very same time both count; the page's script keeps a second press from sending.
"""

from __future__ import annotations

import secrets

from django.http import HttpRequest

FIELD = "once"
# In the session's list of forms that were sent; older ones are forgotten.
SENT_MAX = 50
SESSION_KEY = "forms_sent"
TOKEN_CHARACTERS_MAX = 32


def new_token() -> str:
    """For the hidden field FIELD of one showing of a form."""
    return secrets.token_urlsafe(9)


def is_repetition(request: HttpRequest) -> bool:
    """Whether this very form was sent before in this session. Notes that it is now."""
    token = request.POST.get(FIELD, "")[:TOKEN_CHARACTERS_MAX]
    sent: list[str] = request.session.get(SESSION_KEY, [])
    if token in sent:
        return True
    request.session[SESSION_KEY] = [*sent, token][-SENT_MAX:] if token else sent
    return False
