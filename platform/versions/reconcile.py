"""Redis follows the rows: what it lacks or holds older is published again, whatever happened to it meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from catalog.models import Service
from documents.store import PLACEMENTS, ROUTES, Stamp
from versions import routes
from versions.actions.epochs import epoch_raise
from versions.models import Node
from versions.selectors import platform_epoch

# One tick publishes at most this many documents, so that it ends; the next one goes on.
PUBLISH_MAX = 2_000


@dataclass(frozen=True)
class Reconciled:
    routes: int = 0
    placements: int = 0
    epoch: int = 0


def reconcile() -> Reconciled:
    """Publishes again what Redis lacks or holds older. Raises redis.RedisError.

    Raises the epoch when Redis or a gateway holds a document newer than its row: then the database was restored, and
    what was made after the restore must win over what was made before it.
    """
    # Read before the rows, so that a document found newer than its row was made from rows that are no more.
    held = routes.published_stamps(ROUTES)
    held_placements = routes.published_stamps(PLACEMENTS)
    served = routes.served_stamps()
    wanted, wanted_placements = routes.wanted_routes(), routes.wanted_placements()
    epoch = platform_epoch()
    known = [(wanted, held), (wanted_placements, held_placements), *((wanted, serving) for serving in served.values())]
    newest = max((_newest_stray(rows, stamps, epoch) for rows, stamps in known), default=0)
    if newest:
        epoch = epoch_raise(above=newest)
    return Reconciled(
        routes=_publish_routes(_behind(wanted, held, epoch)),
        placements=_publish_placements(_behind(wanted_placements, held_placements, epoch)),
        epoch=epoch,
    )


def _newest_stray(wanted: dict[str, tuple[int, int]], stamps: dict[str, Stamp], epoch: int) -> int:
    """The greatest epoch of a document that is newer than its row; 0 when there is none."""
    strays = [
        stamp.epoch
        for field, stamp in stamps.items()
        if stamp > Stamp(epoch, wanted[field][0] if field in wanted else 0) and (field in wanted or stamp.epoch > epoch)
    ]
    return max(strays, default=0)


def _behind(wanted: dict[str, tuple[int, int]], held: dict[str, Stamp], epoch: int) -> list[int]:
    missing = Stamp(0, 0)
    behind = [pk for field, (generation, pk) in wanted.items() if held.get(field, missing) < Stamp(epoch, generation)]
    return behind[:PUBLISH_MAX]


def _publish_routes(service_ids: Iterable[int]) -> int:
    return sum(routes.publish(Service.objects.get(pk=pk)) for pk in service_ids)


def _publish_placements(node_ids: Iterable[int]) -> int:
    return sum(routes.publish_placements(Node.objects.get(pk=pk)) for pk in node_ids)
