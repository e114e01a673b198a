"""What the frame of every page shows."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest

from alerts.selectors import open_count
from console.base import caller_of
from tenants.selectors import tenants_of


def open_alerts(request: HttpRequest) -> dict[str, Callable[[], int]]:
    """How many alerts nobody looks after, in every team that one is in. Counted only where a page shows it."""
    return {"open_alerts": lambda: open_count(tenants_of(caller_of(request)).order_by())}
