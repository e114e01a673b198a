"""A batch, cut into pieces that travel like single queries do, of one version each and none too large; and put together
again, within what an answer may hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

from gateway import checks
from gateway.errors import (
    DeadlineExceeded,
    GatewayError,
    InternalError,
    InvalidRequest,
    ResourceExhausted,
    Unavailable,
)
from gateway.lanes import PIECE_US_MAX, price_us
from gateway.queries import Batch
from gateway.replica_client import Outcome
from gateway.routes import Route, RouteVersion
from gateway.strides import STRIDE_QUERIES, Strides

# Fewer than fit one call to a replica, so that others find room beside them.
PIECE_QUERIES_MAX = 64


class Priced(NamedTuple):
    position: int
    payload: bytes
    us: float


@dataclass(slots=True)
class Piece:
    """Queries of one version, where in the batch each belongs, and the price of all in microseconds."""

    version: RouteVersion
    positions: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    us: float = 0.0

    def has_room(self, us: float) -> bool:
        return len(self.payloads) < PIECE_QUERIES_MAX and self.us + us <= PIECE_US_MAX

    def add(self, query: Priced) -> None:
        self.positions.append(query.position)
        self.payloads.append(query.payload)
        self.us += query.us


class Gathered:
    """The outcomes of a batch as they come in. What is too large to be sent is let go of as soon as that is known."""

    def __init__(self, outcomes: list[Outcome], bytes_max: int) -> None:
        self._outcomes = outcomes
        self._bytes_max = bytes_max
        self._bytes = 0

    @property
    def too_large(self) -> bool:
        return self._bytes > self._bytes_max

    def put(self, piece: Piece, answers: list[Outcome]) -> None:
        self._bytes += sum(len(answer) for answer in answers if isinstance(answer, bytes))
        if self.too_large:
            self._outcomes.clear()
            return
        for position, answer in zip(piece.positions, answers, strict=True):
            self._outcomes[position] = answer

    def outcomes(self) -> list[Outcome]:
        """All of them. Raises InvalidRequest when they are too large, or the error of a batch that got nowhere."""
        if self.too_large:
            message = f"the answers of the batch take more than {self._bytes_max} bytes; ask for less at once"
            raise InvalidRequest("requests", "ANSWER_TOO_LARGE", message)
        _raise_if_all_failed(self._outcomes)
        return self._outcomes


def cut_into_pieces(batch: Batch, route: Route, *, items_max: int) -> Strides[tuple[list[Outcome], list[Piece]]]:
    """The outcomes, filled in where a query was refused, and the pieces that will fill in the rest.

    Raises InvalidRequest when the vectors asked for do not fit one answer, FailedPrecondition without a live version.
    `items_max`: of the items that one query asks by.
    """
    route.live()
    outcomes: list[Outcome] = [InternalError("unanswered")] * len(batch.queries)
    priced: dict[int, tuple[RouteVersion, list[Priced]]] = {}
    vector_bytes = 0
    for position, query in enumerate(batch.queries):
        if position and not position % STRIDE_QUERIES:
            yield
        try:
            checks.check_batch_member(query, batch)
            version = route.choose(query.require_version, query.model_version)
            checks.check_query(query, version, route.limits, items_max=items_max)
        except GatewayError as error:
            outcomes[position] = error
            continue
        if query.return_vectors:
            # Each is as long as those of the version that it is answered by.
            vector_bytes += checks.returned_bytes(query.top_k, version.schema)
            checks.check_returned_bytes(vector_bytes)
        _, queries = priced.setdefault(version.number, (version, []))
        queries.append(Priced(position, query.payload, price_us(query, version.prices)))
    return outcomes, [piece for version, queries in priced.values() for piece in _cut_evenly(version, queries)]


def _cut_evenly(version: RouteVersion, queries: list[Priced]) -> list[Piece]:
    """As few pieces as there can be, of about equal price, so that none is a remnant that is hardly worth a call."""
    total_us = sum(query.us for query in queries)
    fit = int(PIECE_US_MAX * len(queries) / total_us)
    share_us = total_us / ceil(len(queries) / min(max(fit, 1), PIECE_QUERIES_MAX))
    pieces: list[Piece] = []
    cut_us = 0.0
    for query in queries:
        if cut_us >= share_us * len(pieces) or not pieces[-1].has_room(query.us):
            pieces.append(Piece(version))
        pieces[-1].add(query)
        cut_us += query.us
    return pieces


def _raise_if_all_failed(outcomes: list[Outcome]) -> None:
    """A batch that got nowhere fails like a single call would, so that the caller's retries see it."""
    for outcome in outcomes:
        if not isinstance(outcome, Unavailable | ResourceExhausted | DeadlineExceeded | InternalError):
            return
    first = outcomes[0]
    if isinstance(first, GatewayError):
        raise first
