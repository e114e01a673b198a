"""Everything that changes people's accounts: who is there, their passwords, their sessions, locks of sign-in.

Each action is one transaction with its audit event in it. What a lock is, and when there is one, django-axes decides by
the settings AXES_*; here it is told and lifted.
"""

from __future__ import annotations

from datetime import datetime

from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from accounts.agents import in_words
from accounts.checks import check_password, check_row, password_or_generated
from accounts.models import Account, Session
from accounts.sessions import Seen
from audit.actions import record
from common.actor import Actor
from common.addresses import counted_address
from common.errors import Conflict, InvalidArgument

TARGET_CHARACTERS_MAX = 200

# ---- people and passwords


@transaction.atomic
def user_create(
    *, actor: Actor, username: str, password: str | None = None, admin: bool = False, must_change: bool = False
) -> tuple[User, str | None]:
    """Makes a person. Returns them and the generated password, or None when `password` was given.

    A generated password opens nothing but the page that changes it, and so does a given one with `must_change`. Raises
    Conflict when the name is taken, InvalidArgument with every objection to name or password.
    """
    user = User(username=User.normalize_username(username), is_superuser=admin)
    chosen, generated = password_or_generated(password, user)
    user.set_password(chosen)
    check_row(user)
    # Alice and alice would be taken for one another.
    if User.objects.filter(username__iexact=user.username).exists():
        raise Conflict(f"The user name {user.username} is taken.", reason="USER_EXISTS", field="username")
    user.save()
    _note_password(user, must_change=must_change or generated is not None)
    record(actor=actor, verb="user.create", target=user.username, after={"admin": admin})
    return user, generated


@transaction.atomic
def user_set_password(*, actor: Actor, user: User, password: str | None = None) -> str | None:
    """Gives a person a new password, which they must change; returns it when it was generated. Ends their sessions."""
    chosen, generated = password_or_generated(password, user)
    user.set_password(chosen)
    user.save(update_fields=["password"])
    _note_password(user, must_change=True)
    ended = _end(user)
    record(actor=actor, verb="user.set_password", target=user.username, after={"sessions_ended": ended})
    return generated


@transaction.atomic
def password_change(*, actor: Actor, user: User, password: str, keep: str | None) -> None:
    """A person's own new password, once the present one was asked. Ends all their sessions but the one of key `keep`.

    Raises InvalidArgument with every objection to the password.
    """
    check_password(password, user)
    if user.check_password(password):
        raise InvalidArgument("Choose another password than the present one.", field="password")
    user.set_password(password)
    user.save(update_fields=["password"])
    _note_password(user, must_change=False)
    ended = _end(user, keep=keep)
    record(actor=actor, verb="user.change_password", target=user.username, after={"sessions_ended": ended})


# ---- sessions


@transaction.atomic
def session_end(*, actor: Actor, session: Session) -> None:
    """Signs one browser out; its next request is a stranger's."""
    username = session.user.get_username() if session.user else ""
    told = {"address": session.address, "browser": in_words(session.agent)}
    session.delete()
    record(actor=actor, verb="session.end", target=username, before=told)


@transaction.atomic
def sessions_end_others(*, actor: Actor, user: User, keep: str | None) -> int:
    """Signs every browser of a person out but the one of key `keep`; returns how many."""
    ended = _end(user, keep=keep)
    if ended:
        record(actor=actor, verb="session.end_others", target=user.get_username(), after={"sessions_ended": ended})
    return ended


def session_seen(*, session_key: str, seen: Seen) -> None:
    """Notes a visit; no audit event. A session that was ended meanwhile stays ended."""
    Session.objects.filter(session_key=session_key).update(
        signed_in_at=seen.signed_in_at, seen_at=seen.seen_at, address=seen.address, agent=seen.agent
    )


def sessions_forget_expired() -> None:
    """Deletes what opens nothing any more; asked for at each sign-in, so that none of it piles up."""
    Session.objects.filter(expire_date__lt=timezone.now()).delete()


# ---- locks of sign-in


@transaction.atomic
def sign_in_locked(*, actor: Actor, username: str, until: datetime | None) -> None:
    """Tells the trail that a name was locked for an address.

    A name that is nobody's is not told: it may be a password, typed into the wrong field.
    """
    known = User.objects.filter(username=username).exists()
    after = {"until": until.isoformat() if until else None, "known": known}
    record(actor=actor, verb="sign_in.lock", target=username[:TARGET_CHARACTERS_MAX] if known else "", after=after)


@transaction.atomic
def sign_in_unlock(*, actor: Actor, username: str, address: str = "") -> int:
    """Forgets wrong passwords for a name, from one address or, without one, from all; returns how many there were."""
    counted = counted_address(address) if address else None
    if address and counted is None:
        raise InvalidArgument(f"{address!r} is no IP address.", field="address")
    attempts = AccessAttempt.objects.filter(username=username, **({"ip_address": counted} if counted else {}))
    forgotten: int = attempts.aggregate(failures=Sum("failures_since_start"))["failures"] or 0
    attempts.delete()
    after = {"address": counted or "every address", "forgotten": forgotten}
    record(actor=actor, verb="sign_in.unlock", target=username[:TARGET_CHARACTERS_MAX], after=after)
    return forgotten


def _note_password(user: User, *, must_change: bool) -> None:
    noted = {"must_change_password": must_change, "password_changed_at": timezone.now()}
    Account.objects.update_or_create(user=user, defaults=noted)


def _end(user: User, *, keep: str | None = None) -> int:
    """Ends the person's sessions; returns how many of them were still good."""
    others = Session.objects.filter(user=user).exclude(session_key=keep or "")
    good = others.filter(expire_date__gt=timezone.now()).count()
    others.delete()
    return good
