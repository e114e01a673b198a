"""What a query costs, and the lane that it takes by that. Prices are ratios: a query that does more costs more."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import convert
from gateway.errors import GatewayError
from gateway.lanes import (
    EXCLUDED_CUT_MAX,
    PIECE_US_MAX,
    QUICK_US_MAX,
    Lane,
    Prices,
    items_price_us,
    lane_of,
    price_us,
    prices_of,
)
from gateway.pieces import PIECE_QUERIES_MAX, Piece, cut_into_pieces
from gateway.queries import Batch, ItemQuery, ItemsQuery, Query
from gateway.replica_client import Outcome
from gateway.routes import Route, parse_route
from gateway.strides import STRIDE_QUERIES, Strides, Striding
from recallpb.internal.v1 import documents_pb2
from recallpb.v1 import recall_pb2
from replicas.answer import EXCLUDED_CUT_MAX as EXCLUDED_CUT_MAX_OF_REPLICAS
from tests.gateway.harness import DIMENSION, limits, route, route_version
from tests.gateway.strides import at_once

MILLION = 1_000_000


def prices(**changes: Any) -> Prices:
    """Of a graph over a million items, as its build has measured it: 230 us for a query at ef 200."""
    told: dict[str, Any] = {"items": MILLION, "dimension": 64, "vector_us": 230.0, "effort": 200}
    types = {"title": "string", "year": "int64", "genres": "list<string>"}
    return prices_of(**{**told, "model_us": 1_500.0, "model_vectors": 4, "attribute_types": types, **changes})


def asked(*, vectors: int = 1, **fields: Any) -> Query:
    return Query(**{"payload": b"", "service": "", "top_k": 100, "vector_values": [64.0] * vectors, **fields})


def price(query: Query, **changes: Any) -> float:
    return price_us(query, prices(**changes))


def test_an_ordinary_query_costs_what_the_build_measured_and_a_little_more() -> None:
    assert 230 < price(asked()) < 2 * 230
    assert lane_of(price(asked())) is Lane.QUICK


def test_it_costs_by_the_larger_of_effort_and_what_is_wanted() -> None:
    ordinary = price(asked())
    assert price(asked(top_k=10)) == price(asked(top_k=200)) == ordinary
    assert price(asked(ef=50, top_k=50)) < price(asked(ef=100, top_k=50)) < ordinary
    assert price(asked(top_k=400)) == price(asked(ef=400)) > 1.5 * ordinary
    assert price(asked(top_k=150, excluded=100)) > ordinary


def test_cells_cost_what_their_items_count() -> None:
    """Of a million items a cell is taken to have a thousand, and 16 of them to cost as much as one candidate."""
    assert price(asked(nprobe=16)) == pytest.approx(price(asked(ef=1_000)))
    assert price(asked(nprobe=1)) == price(asked()), "where it is no index of cells, ef counts"
    assert price(asked(nprobe=16, ef=2_000)) == price(asked(ef=2_000))
    assert lane_of(price(asked(nprobe=1_024))) is Lane.COSTLY


def test_what_is_returned_with_each_item_costs_by_their_number() -> None:
    def added(**fields: Any) -> float:
        top_k = fields.pop("top_k", 1_000)
        return price(asked(top_k=top_k, **fields)) - price(asked(top_k=top_k))

    title, year, both = (added(return_attributes=names) for names in (["title"], ["year"], ["title", "year"]))
    assert 200 <= title <= 500
    assert both == pytest.approx(title + year)
    assert added(return_attributes=["genres"]) > 5 * title
    assert added(return_attributes=["title"], top_k=100) == pytest.approx(title / 10)
    assert 200 <= added(return_vectors=True) <= 1_000
    assert added(return_attributes=["unknown"]) == 0
    large = price(asked(top_k=10_000, return_vectors=True), dimension=512, vector_us=0.0, effort=0)
    assert large - price(asked(top_k=10_000), dimension=512, vector_us=0.0, effort=0) > PIECE_US_MAX


def test_attributes_and_vectors_are_priced_as_a_caller_writes_them() -> None:
    asked_for = recall_pb2.RecallRequest(top_k=9, return_attributes=["genre", "year"], return_vectors=True)
    query = convert.query_in(asked_for.SerializeToString())
    assert (list(query.return_attributes), query.return_vectors) == (["genre", "year"], True)
    prices_of_route = parse_route(route(route_version(1)).SerializeToString()).live().prices
    assert set(prices_of_route.attribute_us) == {"genre"}


def test_it_costs_by_the_number_of_vectors() -> None:
    one, two, three = (price(asked(vectors=vectors)) for vectors in (1, 2, 3))
    assert three - two == pytest.approx(two - one)
    assert two - one >= 230


def test_exact_search_costs_by_the_number_of_items() -> None:
    assert price(asked(exact=True), items=2 * MILLION) > 1.9 * price(asked(exact=True))
    assert lane_of(price(asked(exact=True))) is Lane.COSTLY
    assert lane_of(price(asked(exact=True), items=10_000)) is Lane.QUICK
    assert price(asked(exact=True, ef=10_000)) == price(asked(exact=True))


def test_where_every_search_is_exact_a_query_costs_what_was_measured_whatever_it_wants() -> None:
    scanning = {"vector_us": 3_000.0, "effort": 0}
    assert price(asked(top_k=10), **scanning) == price(asked(top_k=1_000), **scanning) == pytest.approx(3_060, rel=0.01)


def test_a_filter_costs_the_more_the_more_items_it_may_have_to_look_at() -> None:
    plain, few, many = price(asked()), *(price(asked(filter_bytes=20), items=items) for items in (10_000, 6 * MILLION))
    assert plain < few < many
    assert lane_of(few) is Lane.QUICK
    assert lane_of(many) is Lane.COSTLY


def test_features_cost_what_the_model_takes_and_a_search_by_each_of_its_vectors() -> None:
    by_features = asked(vectors=0)
    assert price(by_features) == pytest.approx(price(asked(vectors=4)) + 1_500)
    assert price(by_features, model_us=40_000.0) > 40_000
    assert lane_of(price(by_features, model_us=0.0)) is Lane.COSTLY, "a model that nobody measured may be slow"


def test_items_cost_a_search_and_a_little_for_each() -> None:
    few, many = (asked(vectors=0, items=ItemQuery([0.0] * count, 0.0, 0.0)) for count in (1, 1_000))
    assert price(asked()) < price(few) < price(many) < QUICK_US_MAX
    assert lane_of(items_price_us(ItemsQuery(b"", "", 10, False))) is Lane.QUICK
    assert lane_of(items_price_us(ItemsQuery(b"", "", 1_000, False))) is Lane.COSTLY


def test_without_a_measure_a_vector_costs_by_its_length() -> None:
    unmeasured = {"vector_us": 0.0, "effort": 0}
    assert price(asked(), **unmeasured) == pytest.approx(price(asked()), rel=0.5)
    assert price(asked(), dimension=768, **unmeasured) > 5 * price(asked(), **unmeasured)


@given(
    query=st.builds(
        asked,
        vectors=st.integers(0, 64),
        top_k=st.integers(1, 10_000),
        ef=st.none() | st.integers(1, 10_000),
        exact=st.booleans(),
        excluded=st.integers(0, 10_000),
        filter_bytes=st.sampled_from([0, 100]),
    ),
    items=st.integers(0, 10**9),
    vector_us=st.sampled_from([0.0, 100.0]),
    effort=st.sampled_from([0, 100]),
)
def test_every_query_has_a_price_and_more_vectors_never_cost_less(
    query: Query, items: int, vector_us: float, effort: int
) -> None:
    version = {"items": items, "vector_us": vector_us, "effort": effort}
    us = price(query, **version)
    assert 0 < us < float("inf")
    if query.vector_values:
        query.vector_values.append(64.0)
        assert price(query, **version) >= us


def test_pricing_takes_next_to_nothing() -> None:
    """Beside some 50 us that the gateway takes for a query; the least of several runs is what it takes undisturbed."""
    query, version = asked(), prices()
    runs = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(2_000):
            lane_of(price_us(query, version))
        runs.append((time.perf_counter() - began) / 2_000)
    assert min(runs) < 5e-6


def route_with(cost: documents_pb2.Cost | None) -> Route:
    version = route_version(1, "unix:/nowhere")
    if cost is not None:
        version.cost.CopyFrom(cost)
    return parse_route(route(version, limits=limits(max_top_k=1_000)).SerializeToString())


def test_a_route_tells_what_the_build_measured_and_an_older_one_tells_nothing() -> None:
    told = route_with(documents_pb2.Cost(vector_us=230, effort=200, model_us=1_500)).live().prices
    assert (told.candidate_us, told.effort, told.model_us) == (1.15, 200, 1_500)
    untold = route_with(None).live().prices
    assert untold.candidate_us > 0
    assert untold.model_us > QUICK_US_MAX


def batch_of(*queries: Query) -> Batch:
    return Batch("", list(queries))


def cut(batch: Batch, route: Route) -> Strides[tuple[list[Outcome], list[Piece]]]:
    return cut_into_pieces(batch, route, items_max=1_000)


def plain(**fields: Any) -> Query:
    return asked(**{"vector_values": [float(DIMENSION)], **fields})


def test_a_batch_is_cut_into_pieces_of_a_bounded_price() -> None:
    dear = route_with(documents_pb2.Cost(vector_us=1_000, effort=100))
    outcomes, pieces = at_once(cut(batch_of(*[plain() for _ in range(100)]), dear))
    assert len(outcomes) == sum(len(piece.payloads) for piece in pieces) == 100
    assert all(PIECE_US_MAX / 2 < piece.us <= PIECE_US_MAX for piece in pieces)
    assert [position for piece in pieces for position in piece.positions] == list(range(100))


def test_cheap_queries_are_shared_out_evenly_and_a_dear_one_is_a_piece_of_its_own() -> None:
    cheap = route_with(documents_pb2.Cost(vector_us=10, effort=100))
    queries = [plain() for _ in range(PIECE_QUERIES_MAX + 2)]
    _, pieces = at_once(cut(batch_of(*queries), cheap))
    assert [len(piece.payloads) for piece in pieces] == [PIECE_QUERIES_MAX // 2 + 1] * 2
    mixed = route_with(documents_pb2.Cost(vector_us=30_000, effort=1_000))
    cheap_one, dear_one = plain(ef=100), plain(ef=500)
    _, pieces = at_once(cut(batch_of(cheap_one, dear_one, cheap_one), mixed))
    assert [piece.positions for piece in pieces] == [[0], [1], [2]]
    dear = route_with(documents_pb2.Cost(vector_us=3 * PIECE_US_MAX, effort=100))
    _, pieces = at_once(cut(batch_of(plain(), plain()), dear))
    assert [len(piece.payloads) for piece in pieces] == [1, 1]


def test_what_is_refused_is_in_no_piece() -> None:
    outcomes, pieces = at_once(cut(batch_of(plain(), plain(top_k=0), plain()), route_with(None)))
    assert [piece.positions for piece in pieces] == [[0, 2]]
    assert isinstance(outcomes[1], GatewayError)


async def test_between_two_strides_of_whoevers_work_the_loop_goes_round() -> None:
    """Three long works, and somebody who wants one round of the loop after the other."""
    striding, story, rounds = Striding(), [], 0

    def work(name: str) -> Strides[str]:
        for _ in range(5):
            story.append((name, rounds))
            yield
        return name

    async def go_round() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    going = asyncio.create_task(go_round())
    assert await asyncio.gather(*(striding.run(work(name)) for name in "abc")) == ["a", "b", "c"]
    going.cancel()
    later = story[3:]  # What fits one stride is done at once.
    assert len({at for _, at in later}) == len(later), "two strides fell into one round of the loop"
    assert [name for name, _ in later[:6]] == list("abcabc"), "they take turns"


async def test_a_work_that_fails_or_is_cancelled_leaves_the_turn_to_others() -> None:
    striding = Striding()

    def failing() -> Strides[None]:
        yield
        raise ValueError("no")

    def endless() -> Strides[None]:
        while True:
            yield

    with pytest.raises(ValueError, match="no"):
        await striding.run(failing())
    cancelled = asyncio.create_task(striding.run(endless()))
    await asyncio.sleep(0.01)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    queries = [plain() for _ in range(3 * STRIDE_QUERIES)]
    outcomes, _ = await asyncio.wait_for(striding.run(cut(batch_of(*queries), route_with(None))), 5)
    assert len(outcomes) == len(queries)


def test_a_price_knows_from_how_many_excluded_items_on_a_replica_no_longer_searches_wider() -> None:
    assert EXCLUDED_CUT_MAX == EXCLUDED_CUT_MAX_OF_REPLICAS
