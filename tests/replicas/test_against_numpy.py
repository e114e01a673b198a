"""Every kind of query, merge policy and exclusion, on every engine, in one partition and in several, against a plain
computation that shares nothing with the code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from engines import registry
from replicas.answer import answer
from replicas.checks import QueryLimits
from replicas.errors import InvalidQuery
from replicas.loaded import LoadedVersion, load
from replicas.queries import Answer, ItemQuery, MergePolicy, Query, QueryKind, WeightedItem
from tests.replicas.plainly import item_mean, merged, ranked
from tests.support.artifacts import MadeArtifact, make_artifact

ITEMS, HIDDEN, DIMENSION = 240, 15, 6
SPACES = (("ip", False), ("cosine", False), ("l2", False), ("l2", True))
CASES = [(name, *space, partitions) for name in registry.names() for space in SPACES for partitions in (1, 3)]
# Of the items of an answer that were found with ordinary effort; the graphs are small, and so is the effort.
RECALL_MIN = 0.95
LIMITS = QueryLimits()
# What cancels out to less than this may be called rounding or not.
REST_MIN = 1e-5
EIGHTHS = st.integers(-16, 16).map(lambda eighths: eighths / 8)
PROPERTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Served(NamedTuple):
    made: MadeArtifact
    loaded: LoadedVersion

    @property
    def far(self) -> bool:
        return bool(self.made.manifest["metric"] == "l2")

    def ask(self, query: Query) -> Answer | InvalidQuery:
        [outcome] = answer(self.loaded, [query], LIMITS)
        assert isinstance(outcome, Answer | InvalidQuery), outcome
        return outcome


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    engine, metric, normalize, partitions = request.param
    made = make_artifact(
        tmp_path_factory.mktemp("served"),
        engine=engine,
        metric=metric,
        normalize=normalize,
        partitions=partitions,
        text_ids=partitions > 1,
        items=ITEMS,
        hidden=HIDDEN,
        dimension=DIMENSION,
        # Ids that do not all fall into one partition: they are 3 apart.
        first_id=7,
    )
    loaded = load(made.path, made.manifest_sha256, search_threads=2)
    yield Served(made, loaded)
    loaded.close()


@st.composite
def vector_queries(draw: st.DrawFn) -> tuple[list[np.ndarray], list[float], MergePolicy, int, list[int]]:
    """Vectors, weights (none, or one for each), policy, top_k, and rows whose items are excluded."""
    vectors = [
        np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)
        for seed in draw(st.lists(st.integers(0, 200), min_size=1, max_size=4))
    ]
    policy = draw(st.sampled_from(MergePolicy))
    allowed = EIGHTHS if policy is MergePolicy.WEIGHTED_SUM else EIGHTHS.filter(lambda weight: weight > 0)
    # All of them 0 are refused.
    listed = st.lists(allowed, min_size=len(vectors), max_size=len(vectors)).filter(any)
    weights = draw(st.just([]) | listed)
    top_k = draw(st.integers(1, 30) | st.just(ITEMS + 10))
    return vectors, weights, policy, top_k, draw(excluded_rows())


def excluded_rows() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, ITEMS - 1), max_size=40)


@st.composite
def item_queries(draw: st.DrawFn) -> tuple[list[tuple[int, float, int | None]], float, bool, int, list[int]]:
    """(row, weight, timestamp) of each item, half-life, whether they are kept, top_k, rows that are excluded.

    Rows from ITEMS on are items that no version holds.
    """
    item = st.tuples(st.integers(0, ITEMS + 9), EIGHTHS, st.none() | st.integers(-(2**40), 2**40) | st.integers(0, 9))
    items = draw(st.lists(item, min_size=1, max_size=8))
    half_life = draw(st.sampled_from([0.0, 0.5, 3.0, 86_400.0, 1e-300, 1e300]))
    return items, half_life, draw(st.booleans()), draw(st.integers(1, 30)), draw(excluded_rows())


def by_vectors(served: Served, drawn: Any, **effort: Any) -> Query:
    vectors, weights, policy, top_k, excluded = drawn
    raw = [vector.astype("<f4").tobytes() for vector in vectors]
    return asked(served, Query(QueryKind.VECTORS, raw, weights, top_k, policy, **effort), excluded)


def by_items(served: Served, drawn: Any, **effort: Any) -> Query:
    items, half_life, keep, top_k, excluded = drawn
    weighted = tuple(WeightedItem(id_of(served, row), weight, stamp) for row, weight, stamp in items)
    query = ItemQuery(weighted, half_life_seconds=half_life, keep_query_items=keep)
    return asked(served, Query(QueryKind.ITEMS, [], [], top_k, MergePolicy.MAX, query, **effort), excluded)


def asked(served: Served, query: Query, excluded: list[int]) -> Query:
    ids = [id_of(served, row) for row in excluded]
    query.arrived = time.monotonic()
    if served.loaded.schema.text_ids:
        query.exclude_text_ids = ids
    else:
        query.exclude_ids = ids
    return query


def id_of(served: Served, row: int) -> Any:
    if row < ITEMS:
        return served.made.ids[row]
    return f"nobody-{row}" if served.loaded.schema.text_ids else -row


def left_out(query: Query) -> list[Any]:
    return query.exclude_text_ids or query.exclude_ids


@PROPERTY
@given(drawn=vector_queries())
def test_vectors_are_answered_as_the_lists_of_numpy_merged_by_hand(served: Served, drawn: Any) -> None:
    vectors, weights, policy, top_k, _ = drawn
    query = by_vectors(served, drawn, exact=True)
    lists = [ranked(served.made, vector.astype(np.float64), top_k, left_out(query)) for vector in vectors]
    expected = merged(lists, weights or [1.0] * len(vectors), policy, top_k, far=served.far)

    found = served.ask(query)

    assert isinstance(found, Answer)
    check_ranking(served, found, expected.ids, expected.scores)
    assert found.shortfall == top_k - len(expected.ids)
    if len(vectors) == 1:
        assert found.found_by is None
    else:
        assert found.found_by is not None
        for each, by, wanted, wanted_by in zip(
            served.loaded.ids_of(found.rows), found.found_by, expected.ids, expected.found_by, strict=True
        ):
            assert each != wanted or by == wanted_by


@PROPERTY
@given(drawn=item_queries())
def test_items_are_answered_as_their_weighted_mean_of_numpy(served: Served, drawn: Any) -> None:
    *_, keep, top_k, _ = drawn
    query = by_items(served, drawn, exact=True)
    mean = item_mean(served.made, query.items)
    assume(mean is None or mean.rest == 0 or mean.rest > REST_MIN)

    found = served.ask(query)

    if mean is None or mean.rest == 0:
        assert isinstance(found, InvalidQuery)
        assert (found.field, found.reason) == ("items.items", "WEIGHTS_CANCEL" if mean else "NO_ITEM_KNOWN")
        return
    assert isinstance(found, Answer)
    own = [] if keep else [item.key for item in query.items.items]
    expected = ranked(served.made, mean.vector, top_k, [*left_out(query), *own])
    check_ranking(served, found, list(expected), list(expected.values()), tolerance=1e-6 / mean.rest)
    assert found.coverage is not None
    known = [item.key in served.made.ids for item in query.items.items]
    keys = [item.key for item in query.items.items]
    assert found.coverage.used == [key for key, there in zip(keys, known, strict=True) if there]
    assert found.coverage.missing == [key for key, there in zip(keys, known, strict=True) if not there]
    assert found.coverage.weight_covered == pytest.approx(mean.covered)


def check_ranking(served: Served, found: Answer, ids: list[Any], scores: list[float], tolerance: float = 0.0) -> None:
    """The same scores in the same order, each beside an item that has it: where scores are equal, any will do."""
    close = {"rtol": 1e-4 + tolerance, "atol": 1e-4 + tolerance}
    assert found.rows.size == len(ids)
    np.testing.assert_allclose(found.scores, scores, **close)
    given = dict(zip(served.loaded.ids_of(found.rows), found.scores, strict=True))
    assert len(given) == len(ids)
    strangers = set(given) - set(ids)
    # What is not among the best of the plain computation is as good as its last one.
    np.testing.assert_allclose([given[each] for each in strangers], [scores[-1]] * len(strangers), **close)
    for each, score in zip(ids, scores, strict=True):
        if each in given:
            np.testing.assert_allclose(given[each], score, **close)


@pytest.mark.parametrize("kind", ["vectors", "items"])
def test_ordinary_effort_finds_nearly_all_of_it(served: Served, kind: str) -> None:
    rng = np.random.default_rng(5)
    hits = wanted = 0
    for number in range(60):
        drawn: Any = ([rng.normal(size=DIMENSION).astype(np.float32)], [], MergePolicy.MAX, 10, [])
        if kind == "items":
            drawn = ([(int(row), 1.0, None) for row in rng.integers(0, ITEMS, 4)], 0.0, number % 2 == 0, 10, [])
        make = by_vectors if kind == "vectors" else by_items
        exact, quick = served.ask(make(served, drawn, exact=True)), served.ask(make(served, drawn, ef=40))
        assert isinstance(exact, Answer)
        assert isinstance(quick, Answer)
        assert quick.rows.size == 10
        hits += np.intersect1d(exact.rows, quick.rows).size
        wanted += 10
    assert hits / wanted >= RECALL_MIN
