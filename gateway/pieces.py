"""A batch, cut into pieces that travel like single queries do: of one version each, and none too large."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway import checks
from gateway.errors import GatewayError, InternalError
from gateway.lanes import PIECE_US_MAX, price_us
from gateway.queries import Batch
from gateway.replica_client import Outcome
from gateway.routes import Route, RouteVersion
from gateway.strides import STRIDE_QUERIES, Strides

# Fewer than fit one call to a replica, so that others find room beside them.
PIECE_QUERIES_MAX = 64


@dataclass(slots=True)
class Piece:
    """Queries of one version, where in the batch each belongs, and the price of all in microseconds."""

    version: RouteVersion
    positions: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    us: float = 0.0

    def has_room(self, us: float) -> bool:
        return len(self.payloads) < PIECE_QUERIES_MAX and self.us + us <= PIECE_US_MAX


def cut_into_pieces(batch: Batch, route: Route) -> Strides[tuple[list[Outcome], list[Piece]]]:
    """The outcomes, filled in where a query was refused, and the pieces that will fill in the rest."""
    outcomes: list[Outcome] = [InternalError("unanswered")] * len(batch.queries)
    pieces: list[Piece] = []
    open_pieces: dict[int, Piece] = {}
    for position, query in enumerate(batch.queries):
        if position and not position % STRIDE_QUERIES:
            yield
        try:
            checks.check_batch_member(query, batch)
            version = route.choose(query.require_version, query.model_version)
            checks.check_query(query, version.schema, route.limits)
        except GatewayError as error:
            outcomes[position] = error
            continue
        us = price_us(query, version.prices)
        piece = open_pieces.get(version.number)
        if piece is None or not piece.has_room(us):
            piece = open_pieces[version.number] = Piece(version)
            pieces.append(piece)
        piece.positions.append(position)
        piece.payloads.append(query.payload)
        piece.us += us
    return outcomes, pieces
