"""Reading accounts: sessions, passwords that must be changed, locks of sign-in."""

from __future__ import annotations

from datetime import datetime, timedelta

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import F
from django.utils import timezone

from accounts.models import Account, Session
from common.errors import NotFound

# More than this on one page helps nobody; "end all others" reaches the rest.
SESSIONS_SHOWN_MAX = 100


def sessions_of(user: User) -> list[Session]:
    """Where a person is signed in, the latest seen first."""
    good = Session.objects.filter(user=user, expire_date__gt=timezone.now()).select_related("user")
    return list(good.order_by(F("seen_at").desc(nulls_last=True), "expire_date")[:SESSIONS_SHOWN_MAX])


def session_get(user: User, handle: str) -> Session:
    """Raises NotFound with the same words for one that ended and for another person's."""
    found = next((session for session in sessions_of(user) if session.handle == handle), None)
    if found is None:
        raise NotFound("You have no such session; it may have ended.", reason="SESSION_NOT_FOUND")
    return found


def user_get(username: str) -> User:
    """For administrators: raises NotFound for a name that is nobody's."""
    user = User.objects.filter(username=username).first() if username.isprintable() else None
    if user is None:
        raise NotFound(f"There is no user {username}.", reason="USER_NOT_FOUND", field="username")
    return user


def account_of(user: User) -> Account | None:
    return Account.objects.filter(user_id=user.pk).first()


def must_change_password(user: User | AnonymousUser) -> bool:
    """Whether somebody else knows the person's password, so that it opens nothing but the page that changes it."""
    return user.pk is not None and Account.objects.filter(pk=user.pk, must_change_password=True).exists()


def sign_in_locked_until(username: str, address: str | None) -> datetime | None:
    """When enough of the wrong passwords for this name from this address are forgotten; None when it is not locked."""
    lasts = timedelta(seconds=settings.SIGN_IN_LOCK_SECONDS)
    counted = AccessAttempt.objects.filter(
        username=username, ip_address=address, attempt_time__gte=timezone.now() - lasts
    )
    failures = 0
    for attempt in counted.order_by("-attempt_time").only("failures_since_start", "attempt_time"):
        failures += attempt.failures_since_start
        if failures >= settings.SIGN_IN_FAILURES_MAX:
            until: datetime = attempt.attempt_time + lasts
            return until
    return None
