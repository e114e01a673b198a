"""Filters and exclusions in answers, over all engines, beside plain numpy and a real SQL database."""

from __future__ import annotations

import random
import time
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines import registry
from replicas import subsets
from replicas.answer import answer
from replicas.checks import QueryLimits
from replicas.errors import InvalidQuery
from replicas.loaded import LoadedVersion, load
from replicas.queries import Answer, MergePolicy, Query, QueryKind
from tests.support.artifacts import MadeArtifact, exact_scores, make_artifact
from tests.support.filtering import LITERALS, MADE, TEXTS, TYPES, Items, selected, text_of

ITEMS, HIDDEN, DIMENSION = 500, 30, 8
LIMITS = QueryLimits()
EF = 60
RECALL_TARGET = 0.98


class Films(NamedTuple):
    made: MadeArtifact
    loaded: LoadedVersion
    columns: Items


def _columns() -> Items:
    """Attributes drawn from few values, a fifth of them null."""
    rng = np.random.default_rng(4)

    def drawn(values: list[Any]) -> list[Any]:
        return [None if rng.random() < 0.2 else values[rng.integers(len(values))] for _ in range(ITEMS)]

    genres = [[TEXTS[at] for at in rng.integers(len(TEXTS), size=rng.integers(4))] for _ in range(50)]
    return {name: drawn(genres if name == "genre" else list(LITERALS[name])) for name in TYPES}


@pytest.fixture(scope="module", params=registry.names())
def films(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Films:
    columns = _columns()
    made = make_artifact(
        tmp_path_factory.mktemp(request.param),
        engine=request.param,
        items=ITEMS,
        hidden=HIDDEN,
        dimension=DIMENSION,
        search_params={"ef": EF},
        attributes={name: (TYPES[name], values) for name, values in columns.items()},
    )
    return Films(made, load(made.path, made.manifest_sha256, search_threads=1), columns)


def ask(*vectors: np.ndarray, top_k: int = 10, merge: MergePolicy = MergePolicy.MAX, **fields: Any) -> Query:
    raw = [np.asarray(vector, dtype="<f4").tobytes() for vector in vectors]
    return Query(QueryKind.VECTORS, raw, [], top_k, merge, arrived=time.monotonic(), **fields)


def one(loaded: LoadedVersion, query: Query) -> Answer:
    outcome = answer(loaded, [query], LIMITS)[0]
    assert isinstance(outcome, Answer), outcome
    return outcome


def best_of(made: MadeArtifact, vectors: np.ndarray, rows: np.ndarray, top_k: int, policy: MergePolicy) -> list[int]:
    """The true answer among `rows`, by plain sorting of scores as an answer can hold them."""
    scores = [exact_scores(made, vector).astype(np.float32) for vector in vectors]
    lists = [rows[np.argsort(-each[rows], kind="stable")][:top_k] for each in scores]
    if policy is MergePolicy.ROUND_ROBIN:
        return _taking_turns([found.tolist() for found in lists], top_k)
    best = np.max(scores, axis=0)
    union = np.unique(np.concatenate(lists))
    return union[np.argsort(-best[union], kind="stable")][:top_k].tolist()


def _taking_turns(lists: list[list[int]], top_k: int) -> list[int]:
    """Each list in its turn gives its best item that is not yet taken; one with none left passes its turn on."""
    taken: list[int] = []
    while len(taken) < top_k and any(lists):
        for found in lists:
            while found and found[0] in taken:
                found.pop(0)
            if found and len(taken) < top_k:
                taken.append(found.pop(0))
    return taken


@given(data=st.data(), made_filter=MADE, seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_exact_answer_is_that_of_numpy_among_what_sql_selects(
    films: Films, data: st.DataObject, made_filter: tuple, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = films.made.queries[rng.integers(len(films.made.queries), size=data.draw(st.integers(1, 3)))]
    top_k = data.draw(st.sampled_from([1, 7, 100, ITEMS]))
    policy = data.draw(st.sampled_from([MergePolicy.MAX, MergePolicy.ROUND_ROBIN]))
    filter_text = data.draw(st.sampled_from(["", text_of(made_filter, random.Random(seed))]))
    excluded = rng.choice(ITEMS, data.draw(st.sampled_from([0, 3, 200])), replace=False)
    unknown = [1, 2, 3][: data.draw(st.integers(0, 3))]
    rows = np.array(selected(made_filter, films.columns) if filter_text else range(ITEMS), dtype=np.int64)
    rows = rows[(rows < ITEMS - HIDDEN) & ~np.isin(rows, excluded)]

    outcome = one(
        films.loaded,
        ask(
            *vectors,
            top_k=top_k,
            merge=policy,
            exact=True,
            filter=filter_text,
            exclude_ids=[*(films.made.ids[row] for row in excluded), *unknown],
        ),
    )

    assert outcome.rows.tolist() == best_of(films.made, vectors, rows, top_k, policy)
    assert outcome.shortfall == top_k - len(outcome.rows)


@pytest.mark.parametrize("rows_per_candidate", [0.0, 1.0, subsets.EXACT_ROWS_PER_CANDIDATE])
@given(data=st.data(), made_filter=MADE, seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_with_any_effort_the_answer_is_full_and_nothing_else_is_in_it(
    films: Films, rows_per_candidate: float, data: st.DataObject, made_filter: tuple, seed: int
) -> None:
    """Also where the graph is asked for what an exact look would find sooner."""
    rng = np.random.default_rng(seed)
    vector = films.made.queries[rng.integers(len(films.made.queries))]
    top_k, ef = data.draw(st.sampled_from([1, 20, 300])), data.draw(st.sampled_from([None, 1, 30]))
    excluded = rng.choice(ITEMS, data.draw(st.sampled_from([0, 20, 400])), replace=False)
    rows = set(selected(made_filter, films.columns)) - set(excluded.tolist())
    rows = {row for row in rows if row < ITEMS - HIDDEN}
    query = ask(
        vector,
        top_k=top_k,
        ef=ef,
        filter=text_of(made_filter, random.Random(seed)),
        exclude_ids=[films.made.ids[row] for row in excluded],
    )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subsets, "EXACT_ROWS_PER_CANDIDATE", rows_per_candidate)
        outcome = one(films.loaded, query)

    assert len(set(outcome.rows.tolist())) == len(outcome.rows) == min(top_k, len(rows))
    assert set(outcome.rows.tolist()) <= rows
    assert outcome.shortfall == top_k - len(outcome.rows)
    truth = exact_scores(films.made, vector)[outcome.rows]
    np.testing.assert_allclose(outcome.scores, truth, rtol=1e-4, atol=1e-4)
    assert (np.diff(outcome.scores) <= 0).all()


def test_queries_of_a_batch_keep_to_their_own_filters_and_exclusions(films: Films) -> None:
    texts = ["", "year > 0", "new == true or new is null", "genre contains 'a'", "year > 0"]
    batch = [
        ask(
            films.made.queries[number],
            top_k=5 + number % 7,
            exact=True,
            filter=texts[number % 5],
            exclude_ids=films.made.ids[: 40 * (number % 3)],
        )
        for number in range(30)
    ]

    together = answer(films.loaded, batch, LIMITS)

    for query, outcome in zip(batch, together, strict=True):
        alone = one(films.loaded, query)
        assert isinstance(outcome, Answer)
        assert outcome.rows.tolist() == alone.rows.tolist()
        assert outcome.scores.tolist() == alone.scores.tolist()


def test_a_filter_that_is_wrong_is_its_query_s_own_trouble(films: Films) -> None:
    good, bad = ask(films.made.queries[0], filter="year > 0"), ask(films.made.queries[0], filter="year > ")
    outcomes = answer(films.loaded, [good, bad, good], LIMITS)
    assert [isinstance(outcome, Answer) for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1], InvalidQuery)


def test_nothing_that_matches_is_an_empty_answer_that_says_how_short_it_is(films: Films) -> None:
    outcome = one(films.loaded, ask(films.made.queries[0], top_k=12, filter="year is null and year is not null"))
    assert (outcome.rows.size, outcome.shortfall) == (0, 12)
    everything = ask(films.made.queries[0], top_k=12, exclude_ids=films.made.ids)
    assert (one(films.loaded, everything).rows.size, one(films.loaded, everything).shortfall) == (0, 12)


MANY, MANY_DIMENSION, MANY_TOP_K = 20_000, 16, 50


@pytest.fixture(scope="module", params=registry.names())
def many(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[MadeArtifact, LoadedVersion]:
    """`bucket` says nothing of the vectors, `side` is the first number of each."""
    rng = np.random.default_rng(7)
    side = rng.normal(size=(MANY, MANY_DIMENSION)).astype(np.float32)[:, 0]
    made = make_artifact(
        tmp_path_factory.mktemp(f"many-{request.param}"),
        engine=request.param,
        items=MANY,
        dimension=MANY_DIMENSION,
        search_params={"ef": 200},
        attributes={
            "bucket": ("int64", np.random.default_rng(1).permutation(MANY).tolist()),
            "side": ("float64", side.astype(np.float64).tolist()),
        },
    )
    assert (made.vectors[:, 0] == side).all()
    return made, load(made.path, made.manifest_sha256, search_threads=1)


def recall_among(
    made: MadeArtifact, loaded: LoadedVersion, allowed: np.ndarray, queries: np.ndarray, **asks: Any
) -> float:
    """Mean recall of answers among `allowed`; each is checked to be full and to hold nothing else."""
    hits = expected = 0
    for query in queries:
        outcome = one(loaded, ask(query, top_k=MANY_TOP_K, **asks))
        scores = exact_scores(made, query)
        truth = allowed[np.argsort(-scores[allowed], kind="stable")][:MANY_TOP_K]
        assert outcome.rows.size == len(truth)
        assert np.isin(outcome.rows, allowed).all()
        hits += np.intersect1d(outcome.rows, truth).size
        expected += len(truth)
    return hits / expected


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_whatever_share_matches_the_answer_is_full_and_good(
    many: tuple[MadeArtifact, LoadedVersion], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, loaded = many
    bucket = np.array(loaded.attributes.column("bucket").to_pylist())  # type: ignore[union-attr]
    limit = int(share * MANY)
    allowed = np.flatnonzero(bucket < limit)
    assert recall_among(made, loaded, allowed, made.queries[:40], filter=f"bucket < {limit}") >= RECALL_TARGET
    monkeypatch.setattr(subsets, "EXACT_ROWS_PER_CANDIDATE", 0.5)
    assert recall_among(made, loaded, allowed, made.queries[:40], filter=f"bucket < {limit}") >= RECALL_TARGET


@pytest.mark.parametrize("rows_per_candidate", [0.5, subsets.EXACT_ROWS_PER_CANDIDATE])
def test_what_matches_may_lie_far_from_the_query(
    many: tuple[MadeArtifact, LoadedVersion], rows_per_candidate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The share near the query is far below the share among all items: what is met on the way is not the nearest."""
    made, loaded = many
    monkeypatch.setattr(subsets, "EXACT_ROWS_PER_CANDIDATE", rows_per_candidate)
    allowed = np.flatnonzero(made.vectors[:, 0] > 1)
    queries = made.queries[:30].copy()
    queries[:, 0] = -3
    assert recall_among(made, loaded, allowed, queries, filter="side > 1.0") >= RECALL_TARGET


@pytest.mark.parametrize("filter_text", ["", "bucket < 12000"])
def test_ten_thousand_excluded_items_that_all_are_near(
    many: tuple[MadeArtifact, LoadedVersion], filter_text: str
) -> None:
    made, loaded = many
    query = made.queries[0]
    nearest = np.argsort(-exact_scores(made, query), kind="stable")
    bucket = np.array(loaded.attributes.column("bucket").to_pylist())  # type: ignore[union-attr]
    allowed = np.setdiff1d(np.flatnonzero(bucket < 12_000) if filter_text else np.arange(MANY), nearest[:10_000])
    excluded = [made.ids[row] for row in nearest[:10_000]]
    found = recall_among(made, loaded, allowed, query[None], filter=filter_text, exclude_ids=excluded)
    assert found >= RECALL_TARGET
