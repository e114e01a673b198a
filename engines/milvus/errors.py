"""What the library raises, as errors of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from engines.errors import EngineError, EngineUnavailable
from engines.milvus.instances import Address
from engines.milvus.library import MilvusException

CANNOT_CONNECT: Final = 2
# What a server says that is overloaded, or not ready yet.
UNAVAILABLE_CODES: Final = frozenset({4, 8, 503})
AWAY_STATUSES: Final = frozenset({"UNAVAILABLE", "CANCELLED"})
SILENT_STATUS: Final = "DEADLINE_EXCEEDED"
UNAVAILABLE_STATUSES: Final = frozenset({"RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "PERMISSION_DENIED"})
# Of a connection that another thread has just replaced.
CONNECTION_REPLACED: Final = "Cannot invoke RPC"
NO_SUCH_COLLECTION: Final = 100
NOT_LOADED_CODES: Final = frozenset({101, 103})
# A server says it of more copies than it has query nodes, and of one while it has none.
FEW_QUERY_NODES: Final = "nodes not enough"

# As the transport writes it, whatever name was configured.
RESOLVED_ADDRESS: Final = re.compile(r"ipv[46]:[^\s,;]+")
ITS_ADDRESS: Final = "its address"


class CollectionGone(EngineError):
    """The instance has no collection of this name any more."""


class NotLoaded(EngineUnavailable):
    """The instance has the collection and not in its memory, as after a restart, or when somebody released it."""


class FewQueryNodes(EngineError):
    """The instance has fewer query nodes just now than copies were asked for."""


class InstanceAway(EngineUnavailable):
    """The instance itself has said nothing, as when it cannot be connected to."""


class InstanceSilent(InstanceAway):
    """It was silent until the time limit."""


@contextmanager
def as_ours(address: Address) -> Iterator[None]:
    """Raises the library's errors as ours."""
    try:
        yield
    except Exception as error:
        # Beside its own errors the library lets those of its transport through, which engines do not know.
        if not isinstance(error, MilvusException) and not callable(getattr(error, "code", None)):
            raise
        raise _translated(error, address) from error


def _translated(error: Any, address: Address) -> EngineError:
    """Of an error of the library, whose code is the server's or its transport's, or of the transport itself."""
    code = error.code() if callable(error.code) else error.code
    status = getattr(code, "name", "")
    # Tenants read it, on builds and in alerts; where the instance is stands in a setting of administrators.
    told = RESOLVED_ADDRESS.sub(ITS_ADDRESS, _text(error).replace(address.place, ITS_ADDRESS))
    said = f"the instance {address.name}: {told}"
    if code == NO_SUCH_COLLECTION:
        return CollectionGone(said)
    if code in NOT_LOADED_CODES:
        return NotLoaded(said)
    if FEW_QUERY_NODES in told:
        return FewQueryNodes(said)
    if status == SILENT_STATUS:
        return InstanceSilent(said)
    if code == CANNOT_CONNECT or status in AWAY_STATUSES or CONNECTION_REPLACED in told:
        return InstanceAway(said)
    passing = code in UNAVAILABLE_CODES or status in UNAVAILABLE_STATUSES
    return EngineUnavailable(said) if passing or getattr(error, "retriable", False) else EngineError(said)


def _text(error: Any) -> str:
    """One line; some errors have no text."""
    text = error.message if isinstance(error, MilvusException) else error.details()
    return " ".join(str(text or type(error).__name__).split())
