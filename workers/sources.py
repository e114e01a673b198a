"""Looks at every service's source in turn, and leaves to `versions.actions.sources` what follows from it."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from datetime import datetime

from django.utils import timezone

from bundles.errors import DropError, SourceError, UriError
from bundles.sources import find
from catalog.actions import source_at
from catalog.models import Service
from common.errors import RecallError
from querymodel.spec import vocabularies_of
from versions import actions
from versions.actions import Seen
from versions.models import SourceWatch
from versions.selectors import due_watches
from workers import doorbell
from workers.sweep import unless_redis_is_away

log = logging.getLogger(__name__)

# One tick begins at most so many looks, and none after so long: the others have their turn with the next one.
LOOKS_MAX = 200
TICK_SECONDS_MAX = 5.0
# Celery ends a tick after this time, for a file system that does not answer; its source waits LOOK_SECONDS_MAX.
TICK_SECONDS_KILLED = 30
# Of which a look at a remote source takes at most so long.
REMOTE_SECONDS_MAX = 20.0


@unless_redis_is_away
def notice_drops_alone() -> None:
    """The tick: nothing while another worker is in it, so that slow sources never take every worker of the queue."""
    with doorbell.alone("sources", seconds_max=TICK_SECONDS_KILLED) as mine:
        if mine:
            notice_drops()


def notice_drops(now: datetime | None = None) -> None:
    """Looks at the sources whose turn it is. May run in several processes at once."""
    now = now or timezone.now()
    until = time.monotonic() + TICK_SECONDS_MAX
    actions.watches_begin(now)
    for watch in due_watches(now)[:LOOKS_MAX]:
        if time.monotonic() > until:
            log.info("Sources are looked at more slowly than their turns come.")
            return
        if actions.watch_take(watch, now=now):
            look(watch, now)


def look(watch: SourceWatch, now: datetime) -> None:
    """One look at one source, of a row that was taken."""
    seen = newest(watch.service) if actions.must_look(watch, now=now) else Seen()
    try:
        build = actions.source_looked(watch=watch, seen=seen, now=now)
    except RecallError as error:
        # Too many builds are held, say. The next look comes as after one that never ended.
        log.warning("%s: no build could be asked for: %s", watch, error.message)
        return
    if build is not None:
        log.info("%s: drop %s was noticed, build %s is asked for.", watch, seen.name, build.number)


def newest(service: Service) -> Seen:
    """The newest complete drop as a build would find it."""
    spec = service.spec["source"]
    try:
        found = find(
            source_at(service.tenant, spec["uri"]),
            files=spec["files"],
            vocabularies=vocabularies_of(service.spec["schema"]),
            seconds_max=REMOTE_SECONDS_MAX,
        )
    except (UriError, SourceError) as error:
        return Seen(problem=error.message)
    except DropError as error:
        name = error.details.get("drop")
        if name is None:
            return Seen(problem=error.message)
        # It is known by what is wrong with it.
        said = json.dumps([name, error.reason, error.message])
        return Seen(name, hashlib.sha256(said.encode()).hexdigest(), bad=True, problem=error.message)
    return Seen(found.name, found.fingerprint)
