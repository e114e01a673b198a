"""What is served at the servers where indexes are made: who would notice that another one is made there. Reads only."""

from __future__ import annotations

from django.db.models import F, Q

from catalog.models import Service
from engines import registry
from versions.groups import members_of
from versions.models import Version
from versions.states import PLACED

# The least needed beyond so many do not count when a place is chosen.
BESIDE_MAX = 5_000
# Reports and specs are long, and there may be thousands.
READ = ("number", "artifact", "service__name", "service__tenant", "service__live_version")


def versions_beside(service: Service) -> list[Version]:
    """Versions of all services whose indexes lie at servers and are loaded, the most needed first.

    Live ones of the service and of its group, live ones of everybody else, then what else is loaded, in the same order.
    Services of one group are told the same, so that their builds choose the same place, and those that lie apart come
    together there. Whoever leaves the servers by the next build comes with nobody, and after the others.
    """
    there = Version.objects.filter(engine__in=registry.remote_names(), service__deleted_at__isnull=True)
    loaded = Q(service__live_version=F("number")) | Q(replicas__state__in=PLACED)
    found = there.exclude(artifact="").filter(loaded).select_related("service").distinct().only(*READ)
    engines = dict(members_of(service).values_list("pk", "spec__engine__name"))
    leaving = {key for key, engine in engines.items() if engine not in registry.remote_names()}

    def need(version: Version) -> tuple[bool, bool, bool, int, int]:
        key = version.service_id
        return not is_live(version), key not in engines, key in leaving, key, -version.number

    return sorted(found, key=need)[:BESIDE_MAX]


def is_live(version: Version) -> bool:
    return version.service.live_version == version.number
