"""Run by test_races in a process of its own, on a database of its own: everybody creates at once."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import django

RACERS = 8


def main(services_max: int) -> dict[str, dict[str, int]]:
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from tenants.actions import member_add, quota_update
    from tests.factories import PASSWORD, TESTER, make_tenant

    films = make_tenant("films")
    quota_update(actor=TESTER, tenant=films, services_max=services_max)
    for name in ("alice", "bob"):
        member_add(actor=TESTER, tenant=films, username=name, role="owner", password=PASSWORD)
    return {"creations": creations(films), "namesakes": namesakes(), "owners": owners(films), "looks": looks()}


def creations(films) -> dict[str, int]:
    """Eight services, for fewer of which the quota has room."""
    from tests.factories import make_service

    return race([lambda n=n: make_service(films, f"movies-{n}") for n in range(RACERS)])


def namesakes() -> dict[str, int]:
    """Eight services of one name."""
    from tests.factories import make_service, make_tenant

    books = make_tenant("books")
    return race([lambda: make_service(books, "novels")] * RACERS)


def owners(films) -> dict[str, int]:
    """The two owners of a tenant, removed at the same moment."""
    from tenants.actions import member_remove
    from tenants.selectors import member_get
    from tests.factories import TESTER

    members = [member_get(films, name) for name in ("alice", "bob")]
    return race([lambda member=member: member_remove(actor=TESTER, member=member) for member in members])


def looks() -> dict[str, int]:
    """Eight workers who all saw the same new drop; one of them asks for a build."""
    from django.utils import timezone

    from tests.factories import make_service, make_tenant
    from versions import actions
    from versions.actions import Seen
    from versions.models import Build, SourceWatch

    service = make_service(make_tenant("games"), "chess")
    now = timezone.now()
    actions.watches_begin(now)
    watch = SourceWatch.objects.select_related("service__tenant").get(service=service)
    found = race([lambda: actions.source_looked(watch=watch, seen=Seen("1", "f" * 64), now=now)] * RACERS)
    taken = race([lambda: actions.watch_take(SourceWatch.objects.get(pk=watch.pk), now=now)] * RACERS)
    return {**found, "builds": Build.objects.filter(service=service).count(), "looked": sum(taken.values())}


def race(runs: list[Callable[[], object]]) -> dict[str, int]:
    """How the runs ended, when all were started at one moment: the name of an error, or `done`."""
    start = Barrier(len(runs))

    def run(work: Callable[[], object]) -> str:
        from django.db import connection

        from common.errors import RecallError

        start.wait()
        try:
            work()
        except RecallError as error:
            return error.reason
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(len(runs)) as pool:
        return dict(Counter(pool.map(run, runs)))


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
