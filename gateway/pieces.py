"""A batch, cut into pieces that travel like single queries do: of one version each, and none too large."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway import checks
from gateway.errors import GatewayError, InternalError
from gateway.queries import Batch
from gateway.replica_client import Outcome
from gateway.routes import Route, RouteVersion

# Fewer than fit one call to a replica, so that single queries find room beside them.
PIECE_QUERIES_MAX = 64


@dataclass(slots=True)
class Piece:
    """Queries of one version, and where in the batch each belongs."""

    version: RouteVersion
    positions: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)


def cut_into_pieces(batch: Batch, route: Route, *, items_max: int) -> tuple[list[Outcome], list[Piece]]:
    """The outcomes, filled in where a query was refused, and the pieces that will fill in the rest.

    `items_max`: of the items that one query asks by.
    """
    outcomes: list[Outcome] = [InternalError("unanswered")] * len(batch.queries)
    pieces: list[Piece] = []
    open_pieces: dict[int, Piece] = {}
    for position, query in enumerate(batch.queries):
        try:
            checks.check_batch_member(query, batch)
            version = route.choose(query.require_version, query.model_version)
            checks.check_query(query, version.schema, route.limits, items_max=items_max)
        except GatewayError as error:
            outcomes[position] = error
            continue
        piece = open_pieces.get(version.number)
        if piece is None or len(piece.payloads) >= PIECE_QUERIES_MAX:
            piece = open_pieces[version.number] = Piece(version)
            pieces.append(piece)
        piece.positions.append(position)
        piece.payloads.append(query.payload)
    return outcomes, pieces
