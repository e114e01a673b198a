"""SESSION_ENGINE: Django's sessions in the database, each with what its owner is shown of it.

Django names this module's `SessionStore` by the setting. Whose session it is comes from its data; address, browser and
times come from `middleware`, and travel through every save of the row in `seen`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.utils import timezone

if TYPE_CHECKING:
    from accounts.models import Session

    Base = DatabaseStore[Session]
else:
    Base = DatabaseStore

SEEN_SECONDS = 60


@dataclass(frozen=True)
class Seen:
    """Columns of the session's row."""

    signed_in_at: datetime | None = None
    seen_at: datetime | None = None
    address: str = ""
    agent: str = ""

    def is_due(self, now: datetime) -> bool:
        """Whether `seen_at` is old enough to be written again, or lies ahead because the clock was set back."""
        return self.seen_at is None or abs(now - self.seen_at) >= timedelta(seconds=SEEN_SECONDS)


class SessionStore(Base):
    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self.seen = Seen()

    @classmethod
    def get_model_class(cls) -> type[Session]:
        from accounts.models import Session

        return Session

    @property
    def is_signed_in(self) -> bool:
        return SESSION_KEY in self

    def visit(self, *, address: str, agent: str) -> bool:
        """Notes who came; returns whether that is news for the row."""
        now = timezone.now()
        if not self.seen.is_due(now):
            return False
        self.seen = Seen(self.seen.signed_in_at or now, now, address, agent)
        return True

    def flush(self) -> None:
        super().flush()
        self.seen = Seen()

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        row = super().create_model_instance(data)
        row.user_id = int(data[SESSION_KEY]) if SESSION_KEY in data else None
        for name, value in asdict(self.seen).items():
            setattr(row, name, value)
        return row

    def _get_session_from_db(self) -> Session | None:
        # The stubs leave it out.
        row: Session | None = super()._get_session_from_db()  # type: ignore[misc]
        if row is not None:
            self.seen = Seen(row.signed_in_at, row.seen_at, row.address, row.agent)
        return row
