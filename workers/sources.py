"""Looks at every service's source in turn, and leaves to `versions.actions.sources` what follows from it."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from datetime import datetime

from django.utils import timezone

from bundles import uris
from bundles.drop import newest_complete, open_drop
from bundles.errors import DropError, UriError
from catalog.actions import source_root
from catalog.models import Service
from common.errors import RecallError
from versions import actions
from versions.actions import Seen
from versions.models import SourceWatch
from versions.selectors import due_watches

log = logging.getLogger(__name__)

# One tick begins at most so many looks, and none after so long: the others have their turn with the next one.
LOOKS_MAX = 200
TICK_SECONDS_MAX = 5.0
# Celery ends a tick after this time, for a file system that does not answer; its source waits LOOK_SECONDS_MAX.
TICK_SECONDS_KILLED = 30


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
        source = uris.resolve(spec["uri"], source_root(service.tenant))
        found = newest_complete(source)
    except (UriError, DropError) as error:
        return Seen(problem=error.message)
    try:
        return Seen(found.name, open_drop(source, found.name, files=spec["files"]).fingerprint)
    except DropError as error:
        # It is known by what is wrong with it.
        said = json.dumps([found.name, error.reason, error.message])
        return Seen(found.name, hashlib.sha256(said.encode()).hexdigest(), bad=True, problem=error.message)
