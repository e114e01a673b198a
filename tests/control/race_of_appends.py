"""Run by tests as several processes on one database: all of them append to the audit trail and raise alerts at once.

python -m tests.control.race_of_appends prepare
python -m tests.control.race_of_appends run TURNS GO_FILE     waits until GO_FILE is there
python -m tests.control.race_of_appends tell                  prints what the database holds
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import django

GO_SECONDS_MAX = 60
# So many turns end in a rollback, and so many resolve what the others raise.
ROLLBACK_EVERY, RESOLVE_EVERY = 5, 7


def prepare() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from tests.factories import make_service, make_tenant

    make_service(make_tenant("films"))


def upgrade(events: int) -> None:
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", "audit", "0001", verbosity=0)
    columns = "tenant, service, actor_kind, actor, address, request_id, verb, target, reason, at"
    with connection.cursor() as cursor:
        for number in range(events):
            # Words and a moment of our own: no input.
            values = f"'films', '', 'user', 'alice', '', '', 'test.old', '{number}', '', '2026-11-21 10:00:00.123456'"
            cursor.execute(f"INSERT INTO audit_auditevent ({columns}) VALUES ({values})")  # noqa: S608
    prepare()


def run(turns: int, go: Path) -> None:
    from django.db import transaction

    from alerts.actions import alert_raise, alert_resolve
    from audit.actions import record
    from catalog.models import Service
    from tests.factories import TESTER

    service = Service.objects.select_related("tenant").get()
    until = time.monotonic() + GO_SECONDS_MAX
    print("ready", flush=True)
    while not go.exists():
        assert time.monotonic() < until, "nobody said go"
        time.sleep(0.005)
    for turn in range(1, turns + 1):
        with transaction.atomic():
            alert_raise(service=service, reason="drop.late", message=f"Turn {turn} of {os.getpid()}.")
            if turn % RESOLVE_EVERY == 0:
                alert_resolve(service=service, reason="drop.late")
            record(actor=TESTER, verb="test.turn", tenant="films", target=str(turn), after={"pid": os.getpid()})
            transaction.set_rollback(turn % ROLLBACK_EVERY == 0)


def tell() -> dict[str, object]:
    from alerts.models import Alert
    from audit.models import AuditEvent
    from audit.selectors import verify

    found = verify()
    return {
        "turns": AuditEvent.objects.filter(verb="test.turn").count(),
        "old": list(AuditEvent.objects.filter(verb="test.old").order_by("pk").values_list("position", flat=True)),
        "verified": found.events == AuditEvent.objects.count(),
        "fault": found.fault.message if found.fault else None,
        "unresolved": Alert.objects.exclude(state="RESOLVED").count(),
        "raised": sum(Alert.objects.values_list("count", flat=True)),
        "numbers": sorted(Alert.objects.values_list("number", flat=True)),
    }


if __name__ == "__main__":
    django.setup()
    match sys.argv[1:]:
        case ["prepare"]:
            prepare()
        case ["run", turns, go]:
            run(int(turns), Path(go))
        case ["upgrade", events]:
            upgrade(int(events))
        case ["tell"]:
            print(json.dumps(tell()))
