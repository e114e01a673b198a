"""What lies at a path that somebody is about to register."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from bundles import places
from bundles.errors import TEMPORARY_REASONS, SourceError, UriError
from catalog import blocks
from catalog.actions import source_at
from catalog.block import Block
from catalog.faults import faults_of
from catalog.spec import ServiceSpec, invalid
from common.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from tenants.models import Tenant

log = logging.getLogger(__name__)

SAMPLE_ROWS = 5
INSPECT_SECONDS_MAX = 20
# In one console process; more would hold the threads that everybody's pages need.
INSPECTIONS_AT_ONCE_MAX = 2
ERROR_CHARACTERS_MAX = 2_000


class Decided(Block):
    """What somebody has decided already of a service that they are about to register; null: nothing."""

    schema_: blocks.Schema | None = Field(default=None, alias="schema")
    columns: blocks.Columns | None = None
    files: blocks.Patterns | None = None


_places = threading.BoundedSemaphore(INSPECTIONS_AT_ONCE_MAX)


def source_inspect(*, tenant: Tenant, uri: str, **decided: Any) -> dict[str, Any]:
    """What the newest drop at `uri` holds, the schema it suggests, and how a sample of it fares: an Inspection as dict.

    `decided`: fields of Decided. By them the sample is judged, else by what the drop suggests. The files are anybody's
    and a remote place may be slow, therefore a child process with a memory cap reads them.
    Raises InvalidArgument for an address that is not allowed and with every fault of what is decided,
    FailedPrecondition for a drop that cannot be read, Unavailable when enough of them are being read already or the
    place cannot be reached.
    """
    order = {
        "source": _located(tenant, uri).to_dict(),
        "rows": SAMPLE_ROWS,
        "wanted": _wanted(decided),
    }
    if not _places.acquire(blocking=False):
        raise Unavailable("Other drops are being looked into. Try again in a moment.", reason="INSPECTIONS_BUSY")
    try:
        # What the child leaves is gone with this folder, also when it had to be ended.
        with tempfile.TemporaryDirectory(prefix="recall-inspect-") as folder:
            done = subprocess.run(
                [sys.executable, "-m", "bundles.inspect_child", json.dumps(order)],
                capture_output=True,
                timeout=INSPECT_SECONDS_MAX,
                check=False,
                env={**os.environ, "TMPDIR": folder},
            )
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceeded(f"The drop could not be read within {INSPECT_SECONDS_MAX} seconds.") from error
    finally:
        _places.release()
    return _answer(done)


def _wanted(decided: Mapping[str, Any]) -> dict[str, Any]:
    """A bundles.inspection.Wanted as a dict."""
    try:
        wanted = Decided.model_validate(dict(decided)).model_dump(mode="json")
    except ValidationError as error:
        raise invalid(faults_of(error, Decided, root=ServiceSpec)) from error
    return {**wanted, "files": wanted["files"] or []}


def _located(tenant: Tenant, uri: str) -> places.Source:
    """The source, if its tenant may read there. Raises InvalidArgument, FailedPrecondition."""
    source = source_at(tenant, uri)
    try:
        places.locate(source, field="uri")
    except UriError as error:
        raise InvalidArgument(f"{error.message} {error.remedy}", reason=_reason(error.reason), field="uri") from error
    except SourceError as error:
        raise FailedPrecondition(error.message, reason=_reason(error.reason), field="uri") from error
    return source


def _answer(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    """The child's line; a child that died without one met files that crash their reader."""
    try:
        said = json.loads(done.stdout)
    except ValueError as error:
        log.exception("Looking into a drop ended with %s: %s", done.returncode, done.stderr[-ERROR_CHARACTERS_MAX:])
        raise FailedPrecondition("The drop's files cannot be read.", reason="DROP_UNREADABLE") from error
    if "error" in said:
        reason, message = said["error"]["reason"], said["error"]["message"]
        if reason in TEMPORARY_REASONS:
            raise Unavailable(message, reason=_reason(reason))
        raise FailedPrecondition(message, reason=_reason(reason), field="uri")
    inspection: dict[str, Any] = said["inspection"]
    return inspection


def _reason(reason: str) -> str:
    """`drop.not_found` as an error of the API is DROP_NOT_FOUND."""
    return reason.upper().replace(".", "_")
