"""Answers against plain numpy, and refusals that name their field. Real artifacts and engines."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import registry
from engines.base import SearchEffort
from replicas import answer as answering
from replicas import subsets
from replicas.answer import answer
from replicas.checks import QueryLimits
from replicas.errors import DeadlinePassed, InternalError, InvalidQuery, NotServed, ReplicaError
from replicas.loaded import LoadedVersion, load
from replicas.queries import Answer, MergePolicy, Query, QueryKind
from tests.support.artifacts import MadeArtifact, exact_ids, exact_scores, make_artifact

ITEMS, HIDDEN, DIMENSION = 600, 20, 16
LIMITS = QueryLimits(top_k_max=1_000, ef_max=2_000, vectors_max=4, exclude_ids_max=100)
GENRES = [["drama"], ["comedy", "crime"], []]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeArtifact, LoadedVersion]:
    attributes = {
        "title": ("string", [f"Film {row}" for row in range(ITEMS)]),
        "year": ("int64", [None if row % 7 == 0 else 1900 + row % 120 for row in range(ITEMS)]),
        "score": ("float64", [row / 8 for row in range(ITEMS)]),
        "new": ("bool", [row % 2 == 0 for row in range(ITEMS)]),
        "genre": ("list<string>", [GENRES[row % 3] for row in range(ITEMS)]),
    }
    made = make_artifact(
        tmp_path_factory.mktemp("films"), items=ITEMS, hidden=HIDDEN, dimension=DIMENSION, attributes=attributes
    )
    return made, load(made.path, made.manifest_sha256, search_threads=1)


@pytest.fixture
def made(films: tuple[MadeArtifact, LoadedVersion]) -> MadeArtifact:
    return films[0]


@pytest.fixture
def loaded(films: tuple[MadeArtifact, LoadedVersion]) -> LoadedVersion:
    return films[1]


def ask(*vectors: np.ndarray, top_k: int = 10, merge: MergePolicy = MergePolicy.MAX, **fields: Any) -> Query:
    raw = [np.asarray(vector, dtype="<f4").tobytes() for vector in vectors]
    return Query(QueryKind.VECTORS, raw, fields.pop("weights", []), top_k, merge, arrived=time.monotonic(), **fields)


def one(loaded: LoadedVersion, query: Query) -> Answer:
    outcome = answer(loaded, [query], LIMITS)[0]
    assert isinstance(outcome, Answer), outcome
    return outcome


def refusal(loaded: LoadedVersion, query: Query) -> ReplicaError:
    outcome = answer(loaded, [query], LIMITS)[0]
    assert isinstance(outcome, ReplicaError), outcome
    return outcome


@pytest.mark.parametrize("engine", registry.names())
@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
@pytest.mark.parametrize("text_ids", [False, True])
def test_it_answers_as_plain_numpy_does(tmp_path: Path, engine: str, metric: str, text_ids: bool) -> None:
    made = make_artifact(tmp_path, engine=engine, metric=metric, text_ids=text_ids, items=400, hidden=15, dimension=8)
    loaded = load(made.path, made.manifest_sha256, search_threads=2)
    queries = made.queries[:40]

    outcomes = answer(loaded, [ask(query, top_k=20, ef=400) for query in queries], LIMITS)

    for query, outcome in zip(queries, outcomes, strict=True):
        assert isinstance(outcome, Answer)
        ids, scores = exact_ids(made, query, 20)
        assert loaded.ids_of(outcome.rows) == ids
        np.testing.assert_allclose(outcome.scores, scores, rtol=1e-5, atol=1e-5)
        assert outcome.shortfall == 0
        assert outcome.found_by is None


def test_a_batch_of_different_queries_gives_each_what_it_would_get_alone(
    made: MadeArtifact, loaded: LoadedVersion
) -> None:
    rng = np.random.default_rng(3)
    batch = [
        ask(
            *rng.normal(size=(rng.integers(1, 4), DIMENSION)),
            top_k=int(rng.integers(1, 60)),
            merge=rng.choice(list(MergePolicy)),
            ef=int(rng.integers(1, 300)) if rng.random() < 0.5 else None,
            exact=bool(rng.random() < 0.3),
            exclude_ids=[made.ids[row] for row in rng.integers(0, ITEMS, rng.integers(0, 50))],
        )
        for _ in range(60)
    ]

    together = answer(loaded, batch, LIMITS)

    for query, outcome in zip(batch, together, strict=True):
        alone = one(loaded, query)
        assert isinstance(outcome, Answer)
        assert outcome.rows.tolist() == alone.rows.tolist()
        assert outcome.scores.tolist() == alone.scores.tolist()
        assert outcome.shortfall == alone.shortfall


def test_hidden_items_are_never_answers(made: MadeArtifact, loaded: LoadedVersion) -> None:
    hidden = made.vectors[-1]

    outcome = one(loaded, ask(hidden, top_k=ITEMS))

    assert outcome.rows.size == ITEMS - HIDDEN
    assert outcome.rows.max() < ITEMS - HIDDEN
    assert outcome.shortfall == HIDDEN


def test_several_vectors_find_each_item_once(made: MadeArtifact, loaded: LoadedVersion) -> None:
    first, second = made.queries[:2]

    outcome = one(loaded, ask(first, second, top_k=15))

    best = np.maximum(exact_scores(made, first), exact_scores(made, second))[: ITEMS - HIDDEN]
    assert outcome.rows.tolist() == np.argsort(-best, kind="stable")[:15].tolist()
    assert outcome.found_by is not None
    for row, score, number in zip(outcome.rows, outcome.scores, outcome.found_by, strict=True):
        assert score == pytest.approx(exact_scores(made, made.queries[number])[row], rel=1e-5)


def test_weights_scale_the_lists(made: MadeArtifact, loaded: LoadedVersion) -> None:
    first, second = made.queries[:2]

    tilted = one(loaded, ask(first, second, top_k=10, weights=[100.0, 0.01]))

    assert loaded.ids_of(tilted.rows) == exact_ids(made, first, 10)[0]
    assert tilted.found_by is not None
    assert tilted.found_by.tolist() == [0] * 10


def test_round_robin_alternates_between_the_vectors(made: MadeArtifact, loaded: LoadedVersion) -> None:
    outcome = one(loaded, ask(*made.queries[:2], top_k=6, merge=MergePolicy.ROUND_ROBIN))

    assert outcome.found_by is not None
    assert outcome.found_by.tolist() == [0, 1, 0, 1, 0, 1]


def test_excluded_items_leave_no_gap(made: MadeArtifact, loaded: LoadedVersion) -> None:
    query = made.queries[0]
    best, _ = exact_ids(made, query, 30)

    outcome = one(loaded, ask(query, top_k=10, exclude_ids=[*best[:20], 999_999_999, made.ids[-1]]))

    assert loaded.ids_of(outcome.rows) == best[20:30]
    assert outcome.shortfall == 0


def test_excluding_nearly_everything_states_the_shortfall(tmp_path: Path) -> None:
    made = make_artifact(tmp_path, items=50, text_ids=True)
    loaded = load(made.path, made.manifest_sha256, search_threads=1)

    outcome = one(loaded, ask(made.queries[0], top_k=10, exclude_text_ids=made.ids[:47]))

    assert sorted(loaded.ids_of(outcome.rows)) == sorted(made.ids[47:])
    assert outcome.shortfall == 7


def test_attributes_and_vectors_stand_beside_their_items(made: MadeArtifact, loaded: LoadedVersion) -> None:
    names = ["genre", "title", "year", "score", "new"]

    outcomes = answer(
        loaded,
        [
            ask(made.queries[number], top_k=25, return_attributes=names[: 5 - number % 2], return_vectors=True)
            for number in range(6)
        ],
        LIMITS,
    )

    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, Answer)
        assert [column.name for column in outcome.columns] == names[: 5 - number % 2]
        genre, title, year = outcome.columns[:3]
        rows = outcome.rows.tolist()
        assert genre.values == [GENRES[row % 3] for row in rows]
        assert title.values == [f"Film {row}" for row in rows]
        assert title.present == []
        assert year.values == [0 if row % 7 == 0 else 1900 + row % 120 for row in rows]
        assert year.present == ([row % 7 != 0 for row in rows] if any(row % 7 == 0 for row in rows) else [])
        assert outcome.vectors is not None
        assert outcome.vectors.tolist() == made.vectors[rows].tolist()


def test_it_says_where_the_time_went(made: MadeArtifact, loaded: LoadedVersion) -> None:
    query = ask(made.queries[0], trace=True, queued_us=1234)
    query.arrived -= 0.05
    timing = one(loaded, query).timing

    assert timing is not None
    assert 51_234 <= timing.queue_us < 1_000_000, "the gateway's queue, and until a thread was free"
    assert timing.total_us >= timing.queue_us + timing.search_us + timing.merge_us
    assert timing.search_us > 0


NAN, INF, ZERO = np.full(DIMENSION, np.nan), np.full(DIMENSION, np.inf), np.zeros(DIMENSION)
GOOD = np.ones(DIMENSION)


@pytest.mark.parametrize("policy", [MergePolicy.MAX, MergePolicy.WEIGHTED_SUM])
@pytest.mark.parametrize("weight", [3.4e38, 1e-45])
def test_scores_stay_numbers_however_great_vectors_and_weights_are(
    loaded: LoadedVersion, policy: MergePolicy, weight: float
) -> None:
    found = one(loaded, ask(GOOD * 1e17, -GOOD * 1e17, weights=[weight, weight], merge=policy))

    assert found.rows.size == 10
    assert np.isfinite(found.scores).all()
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize(
    ("query", "field", "reason"),
    [
        (ask(np.ones(DIMENSION - 1)), "vectors.vectors[0]", "DIMENSION_MISMATCH"),
        (ask(GOOD, np.ones(DIMENSION + 1)), "vectors.vectors[1]", "DIMENSION_MISMATCH"),
        (ask(GOOD, NAN), "vectors.vectors[1]", "VECTOR_NOT_FINITE"),
        (ask(INF), "vectors.vectors[0]", "VECTOR_NOT_FINITE"),
        (ask(GOOD, GOOD * 3e38), "vectors.vectors[1]", "VECTOR_TOO_LONG"),
        (ask(), "vectors", "VECTOR_COUNT_OUT_OF_RANGE"),
        (ask(*[GOOD] * 5), "vectors", "VECTOR_COUNT_OUT_OF_RANGE"),
        (ask(GOOD, weights=[1.0, 2.0]), "vectors.weights", "WEIGHTS_COUNT_MISMATCH"),
        (ask(GOOD, GOOD, weights=[1.0, float("nan")]), "vectors.weights[1]", "WEIGHT_NOT_FINITE"),
        (ask(GOOD, GOOD, weights=[1.0, -1.0]), "vectors.weights[1]", "WEIGHT_NOT_POSITIVE"),
        (ask(GOOD, weights=[0.0]), "vectors.weights[0]", "WEIGHT_NOT_POSITIVE"),
        (ask(GOOD, GOOD, weights=[0.0, -0.0], merge=MergePolicy.WEIGHTED_SUM), "vectors.weights", "WEIGHTS_CANCEL"),
        (ask(GOOD, top_k=0), "top_k", "TOP_K_OUT_OF_RANGE"),
        (ask(GOOD, top_k=-3), "top_k", "TOP_K_OUT_OF_RANGE"),
        (ask(GOOD, top_k=1_001), "top_k", "TOP_K_OUT_OF_RANGE"),
        (ask(GOOD, ef=0), "params.ef", "EF_OUT_OF_RANGE"),
        (ask(GOOD, ef=2_001), "params.ef", "EF_OUT_OF_RANGE"),
        (ask(GOOD, nprobe=0), "params.nprobe", "NPROBE_OUT_OF_RANGE"),
        (ask(GOOD, exclude_ids=list(range(101))), "exclude", "TOO_MANY_EXCLUDED"),
        (ask(GOOD, exclude_text_ids=["a"]), "exclude.text_ids", "ID_TYPE_WRONG"),
        (ask(GOOD, return_attributes=["nothing"]), "return_attributes", "ATTRIBUTE_UNKNOWN"),
        (ask(GOOD, return_attributes=["year", "year"]), "return_attributes", "ATTRIBUTE_TWICE"),
        (ask(GOOD, return_attributes=["year"] * 65), "return_attributes", "TOO_MANY_ATTRIBUTES"),
        (ask(GOOD, filter="year > "), "filter", "FILTER_SYNTAX"),
        (ask(GOOD, filter="colour == 'red'"), "filter", "FILTER_ATTRIBUTE_UNKNOWN"),
        (ask(GOOD, filter="x" * 10_000), "filter", "FILTER_TOO_LONG"),
        (ask(GOOD, min_token="t"), "min_token", "MIN_TOKEN_UNSUPPORTED"),
        (Query(QueryKind.ITEMS, [], [], 10, MergePolicy.MAX), "items.items", "ITEM_COUNT_OUT_OF_RANGE"),
        (Query(QueryKind.FEATURES, [], [], 10, MergePolicy.MAX), "features", "NO_QUERY_MODEL"),
        (Query(QueryKind.NOTHING, [], [], 10, MergePolicy.MAX), "query", "QUERY_MISSING"),
    ],
)
def test_it_refuses_bad_input_and_names_the_field(loaded: LoadedVersion, query: Query, field: str, reason: str) -> None:
    error = refusal(loaded, query)

    assert isinstance(error, InvalidQuery)
    assert (error.field, error.reason) == (field, reason)


def test_a_zero_vector_is_refused_only_where_direction_counts(tmp_path: Path, loaded: LoadedVersion) -> None:
    made = make_artifact(tmp_path, metric="cosine", dimension=DIMENSION)
    cosine = load(made.path, made.manifest_sha256, search_threads=1)

    error = refusal(cosine, ask(GOOD, ZERO))
    assert (error.field, error.reason) == ("vectors.vectors[1]", "VECTOR_ZERO")
    assert one(loaded, ask(ZERO)).rows.size == 10


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_normalising_survives_very_small_and_very_large_vectors(tmp_path: Path, scale: float) -> None:
    made = make_artifact(tmp_path, normalize=True)
    loaded = load(made.path, made.manifest_sha256, search_threads=1)

    outcome = one(loaded, ask(made.queries[0] * np.float32(scale)))

    assert loaded.ids_of(outcome.rows) == exact_ids(made, made.queries[0], 10)[0]


def test_another_version_or_model_is_a_precondition(loaded: LoadedVersion) -> None:
    assert one(loaded, ask(GOOD, require_version=1, model_version="mind-7")).rows.size == 10

    for query, field in (
        (ask(GOOD, require_version=2), "require_version"),
        (ask(GOOD, model_version="mind-8"), "model_version"),
    ):
        error = refusal(loaded, query)
        assert isinstance(error, NotServed)
        assert error.field == field


def test_a_late_query_is_dropped_and_its_neighbours_are_answered(made: MadeArtifact, loaded: LoadedVersion) -> None:
    late = ask(made.queries[0], deadline_ms=5)
    late.arrived -= 0.1
    in_time = ask(made.queries[1], deadline_ms=60_000)

    outcomes = answer(loaded, [in_time, late, ask(NAN), in_time], LIMITS)

    assert [type(outcome) for outcome in outcomes] == [Answer, DeadlinePassed, InvalidQuery, Answer]
    assert isinstance(outcomes[3], Answer)
    assert loaded.ids_of(outcomes[3].rows) == exact_ids(made, made.queries[1], 10)[0]


def test_a_query_that_breaks_the_search_breaks_no_other(
    made: MadeArtifact, loaded: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is made to give up on one vector, as hnswlib does on a torn graph."""
    poison = np.full(DIMENSION, 7.0, dtype=np.float32)
    search = loaded.searcher.search

    def fragile(queries: np.ndarray, *rest: Any) -> Any:
        if (queries == poison).all(axis=1).any():
            raise RuntimeError("cannot return the results")
        return search(queries, *rest)

    monkeypatch.setattr(loaded.searcher, "search", fragile)
    outcomes = answer(loaded, [ask(made.queries[0]), ask(poison), ask(made.queries[1])], LIMITS)

    assert [type(outcome) for outcome in outcomes] == [Answer, InternalError, Answer]


@pytest.mark.parametrize("partitions", [1, 2])
@pytest.mark.parametrize(
    ("deadlines_ms", "kept_ms"),
    [
        ([1_000], 950),
        # Of a short time a share is kept for the way back.
        ([100], 80),
        # Whoever waits longest decides, and without a deadline nobody does.
        ([1_000, 300, 2_000], 1_950),
        ([1_000, 0], None),
    ],
)
def test_the_engine_hears_until_when_its_answer_is_waited_for(
    tmp_path: Path, partitions: int, deadlines_ms: list[int], kept_ms: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a search of all items, and in each look of one among some."""
    attributes = {"some": ("bool", [row % 3 != 0 for row in range(ITEMS)])}
    made = make_artifact(
        tmp_path, engine="hnsw", items=ITEMS, dimension=DIMENSION, partitions=partitions, attributes=attributes
    )
    loaded = load(made.path, made.manifest_sha256, search_threads=1)
    heard: list[float | None] = []
    kind = type(getattr(loaded.searcher, "_searchers", [loaded.searcher])[0])
    search = kind.search

    def listening(searcher: Any, queries: Any, top_k: int, effort: SearchEffort, allowed: Any = None) -> Any:
        heard.append(effort.until)
        return search(searcher, queries, top_k, effort, allowed)

    monkeypatch.setattr(kind, "search", listening)
    monkeypatch.setattr(subsets, "EXACT_ROWS_PER_CANDIDATE", 0.01)
    for fields in ({}, {"filter": "some == true"}):
        heard.clear()
        queries = [ask(made.queries[0], deadline_ms=deadline_ms, **fields) for deadline_ms in deadlines_ms]
        for query in queries:
            query.arrived = queries[0].arrived
        answer(loaded, queries, LIMITS)
        assert len(heard) >= partitions
        assert set(heard) == {None if kept_ms is None else queries[0].arrived + kept_ms / 1_000}
    loaded.close()


def test_an_empty_batch_is_no_trouble(loaded: LoadedVersion) -> None:
    assert answer(loaded, [], LIMITS) == []


@pytest.mark.parametrize("part", ["_merge", "_excluded", "attach_columns"])
def test_a_query_that_breaks_a_part_leaves_the_others_of_its_batch_their_answers(
    made: MadeArtifact, loaded: LoadedVersion, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """No query is known that does; if one is found, it is one that fails."""
    works = getattr(answering, part)
    broken = 7

    def breaks(loaded: LoadedVersion, asked: Any) -> Any:
        widths = [query.top_k for query, _ in asked] if part == "attach_columns" else [asked.query.top_k]
        if broken in widths:
            raise ZeroDivisionError
        return works(loaded, asked)

    monkeypatch.setattr(answering, part, breaks)
    batch = [
        ask(made.vectors[row], top_k=top_k, return_attributes=["title"]) for row, top_k in enumerate((5, broken, 9))
    ]
    first, second, third = answer(loaded, batch, LIMITS)
    assert isinstance(first, Answer)
    assert isinstance(third, Answer)
    assert (len(first.columns[0].values), len(third.columns[0].values)) == (5, 9)
    assert isinstance(second, InternalError)
