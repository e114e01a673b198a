"""Everything that changes what services are asked to be.

services   registered, changed, held, deleted; and what checks a spec
drafts     of services that are still to be registered (import `catalog.actions.drafts`)
"""

from catalog.actions.services import (
    service_create,
    service_delete,
    service_hold,
    service_release,
    service_update,
    source_at,
    spec_check,
)

__all__ = [
    "service_create",
    "service_delete",
    "service_hold",
    "service_release",
    "service_update",
    "source_at",
    "spec_check",
]
