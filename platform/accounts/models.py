"""People beside Django's User: where each is signed in, and whether their password is their own yet."""

from __future__ import annotations

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.utils.crypto import salted_hmac

ADDRESS_CHARACTERS_MAX = 64
AGENT_CHARACTERS_MAX = 300
HANDLE_SALT = "accounts.session.handle"
HANDLE_CHARACTERS = 24


class Session(AbstractBaseSession):
    """One browser's session. The columns after `user` are what its owner sees of it, and empty until it signs in."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="sessions")
    signed_in_at = models.DateTimeField(null=True)
    # Coarse: written at most once in SEEN_SECONDS.
    seen_at = models.DateTimeField(null=True)
    address = models.CharField(max_length=ADDRESS_CHARACTERS_MAX, blank=True)
    agent = models.CharField(max_length=AGENT_CHARACTERS_MAX, blank=True)

    def __str__(self) -> str:
        return f"{self.handle} of {self.user}"

    @property
    def handle(self) -> str:
        """What pages and URLs name it by. The key itself opens the account, so it stands in no page and no log."""
        return salted_hmac(HANDLE_SALT, self.session_key, algorithm="sha256").hexdigest()[:HANDLE_CHARACTERS]

    @classmethod
    def get_session_store_class(cls) -> type[SessionBase]:
        from accounts.sessions import SessionStore

        return SessionStore


class Account(models.Model):
    """No row: the password was chosen by the person, before the platform took note of when."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="account"
    )
    # Somebody else made the password up, or typed it, and so knows it.
    must_change_password = models.BooleanField(default=False)
    password_changed_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"account of {self.user}"
