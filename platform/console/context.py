"""What the frame of every page shows."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from alerts.selectors import open_count
from console.base import caller_of
from tenants.models import Tenant
from tenants.selectors import tenants_of

# More teams than this are left out of menus, which say so.
TEAMS_SHOWN_MAX = 20


@dataclass(frozen=True)
class Frame:
    """Open alerts are those that nobody looks after, in every team that one is in."""

    teams: list[Tenant]
    more_teams: bool
    open_alerts: int


def frame(request: HttpRequest) -> dict[str, object]:
    """Read only where a page shows it, and then once."""
    return {"frame": SimpleLazyObject(lambda: _frame(request))}


def _frame(request: HttpRequest) -> Frame:
    tenants = tenants_of(caller_of(request))
    found = list(tenants[: TEAMS_SHOWN_MAX + 1])
    return Frame(
        teams=found[:TEAMS_SHOWN_MAX],
        more_teams=len(found) > TEAMS_SHOWN_MAX,
        open_alerts=open_count(tenants.order_by()),
    )
