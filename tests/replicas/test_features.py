"""Queries by features: what the version's own model and its index answer together, over every merge and metric."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.rpc import code_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import querymodel.model
from querymodel.session import Session
from querymodel.spec import Feature
from recallpb.v1 import recall_pb2
from replicas import orders
from replicas.answer import answer
from replicas.checks import QueryLimits
from replicas.errors import DeadlinePassed, InvalidQuery, LoadError, ReplicaError
from replicas.inference import feature_field
from replicas.loaded import LoadedVersion, load
from replicas.queries import Answer, MergePolicy, Query, QueryKind
from replicas.wire import error_message, read_query
from tests.support.artifacts import MadeArtifact, make_artifact
from tests.support.query_models import Tower

LIMITS = QueryLimits()
RECORDED = [([place, place + 1], place / 10) for place in range(30)]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeArtifact, LoadedVersion]:
    tower = Tower.of(1, vectors=3)
    made = make_artifact(tmp_path_factory.mktemp("films"), tower=tower, recorded=RECORDED, items=400)
    return made, load(made.path, made.manifest_sha256, search_threads=1)


@pytest.fixture
def loaded(films: tuple[MadeArtifact, LoadedVersion]) -> LoadedVersion:
    return films[1]


def by_features(history: list[int], age: float = 1.0, **fields: Any) -> Query:
    features = {"history": Feature("ints", history), "age": Feature("floats", [age])}
    given = {"top_k": 10, "merge": MergePolicy.MAX, "arrived": time.monotonic(), "features": features, **fields}
    return Query(QueryKind.FEATURES, [], [], **given)


def by_vectors(vectors: np.ndarray, **fields: Any) -> Query:
    raw = [np.asarray(vector, "<f4").tobytes() for vector in vectors]
    return Query(
        QueryKind.VECTORS, raw, [], **{"top_k": 10, "merge": MergePolicy.MAX, "arrived": time.monotonic(), **fields}
    )


def answered(loaded: LoadedVersion, *queries: Query) -> list[Answer]:
    outcomes = answer(loaded, queries, LIMITS)
    assert all(isinstance(outcome, Answer) for outcome in outcomes), outcomes
    return outcomes  # type: ignore[return-value]


def refusal(loaded: LoadedVersion, query: Query) -> ReplicaError:
    outcome = answer(loaded, [query], LIMITS)[0]
    assert isinstance(outcome, ReplicaError), outcome
    return outcome


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
@pytest.mark.parametrize("vectors", [1, 4])
@pytest.mark.parametrize("merge", list(MergePolicy))
def test_features_answer_what_the_model_s_vectors_answer(
    tmp_path: Path, metric: str, vectors: int, merge: MergePolicy
) -> None:
    tower = Tower.of(3, vectors=vectors)
    made = make_artifact(tmp_path, tower=tower, metric=metric, items=300)
    loaded = load(made.path, made.manifest_sha256, search_threads=1)
    random = np.random.default_rng(5)
    users = [(random.integers(0, 50, random.integers(0, 9)).tolist(), float(random.normal())) for _ in range(20)]

    asked = [by_features(*user, merge=merge) for user in users]
    assert loaded.query_model is not None
    encoded = loaded.query_model.encode([query.features for query in asked])

    features = answered(loaded, *asked)
    given = answered(loaded, *(by_vectors(found, merge=merge) for found in encoded))  # type: ignore[arg-type]

    for user, found, one, other in zip(users, encoded, features, given, strict=True):
        np.testing.assert_allclose(found, tower.vectors_of(*user), rtol=1e-4, atol=1e-4)
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tolist() == other.scores.tolist()
        assert (one.found_by is None) == (vectors == 1)
        if one.found_by is not None and other.found_by is not None:
            assert one.found_by.tolist() == other.found_by.tolist()
    loaded.close()


def test_a_batch_of_kinds_gives_each_what_it_would_get_alone(loaded: LoadedVersion) -> None:
    vectors = np.random.default_rng(1).normal(size=(2, 16))
    batch = [by_features([1, 2]), by_vectors(vectors), by_features([999]), by_features([3], exclude_ids=[1_000, 1_003])]
    batch.append(by_features([3], age=float("nan")))

    together = answer(loaded, batch, LIMITS)

    for place in (0, 1, 3):
        alone, found = answered(loaded, batch[place])[0], together[place]
        assert isinstance(found, Answer)
        assert found.rows.tolist() == alone.rows.tolist()
    refused = [together[place] for place in (2, 4)]
    assert [each.field for each in refused if isinstance(each, InvalidQuery)] == [
        "features",
        'features.features["age"]',
    ]


def test_trace_tells_what_the_model_took(loaded: LoadedVersion) -> None:
    timing = answered(loaded, by_features([1], trace=True))[0].timing
    assert timing is not None
    assert 0 < timing.model_us <= timing.total_us
    given = answered(loaded, by_vectors(np.ones((1, 16)), trace=True))[0].timing
    assert given is not None
    assert given.model_us == 0


@pytest.mark.parametrize(
    ("features", "field", "reason"),
    [
        ({"history": Feature("ints", [1])}, 'features.features["age"]', "FEATURE_MISSING"),
        ({"age": Feature("strings", ["x"])}, 'features.features["history"]', "FEATURE_MISSING"),
        ({"a\n\"'b": Feature("ints", [1])}, 'features.features["a\\n\\"\'b"]', "FEATURE_UNKNOWN"),
    ],
)
def test_the_feature_is_named_as_the_request_writes_it(
    loaded: LoadedVersion, features: dict[str, Feature], field: str, reason: str
) -> None:
    error = refusal(loaded, by_features([], features=features))
    assert (error.field, error.reason) == (field, reason)
    assert isinstance(error, InvalidQuery)


def test_a_long_name_is_cut_in_the_field() -> None:
    assert len(feature_field("x" * 10_000)) < 120


def test_a_version_without_a_model_says_so(tmp_path: Path) -> None:
    made = make_artifact(tmp_path, items=50)
    loaded = load(made.path, made.manifest_sha256, search_threads=1)
    error = refusal(loaded, by_features([1]))
    assert (error.field, error.reason) == ("features", "NO_QUERY_MODEL")


def test_a_run_of_the_model_may_take_as_long_as_its_replica_was_told(
    films: tuple[MadeArtifact, LoadedVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: list[float] = []

    class Told(Session):
        def __init__(self, payload: bytes, seconds_max: float) -> None:
            budgets.append(seconds_max)
            super().__init__(payload, seconds_max)

    monkeypatch.setattr(querymodel.model, "Session", Told)
    for limits in ({}, {"model_ms_max": 40}):
        load(films[0].path, films[0].manifest_sha256, search_threads=1, **limits).close()
    assert budgets == [0.25, 0.04]


def test_a_vector_of_zeros_has_no_direction(tmp_path: Path) -> None:
    tower = Tower(np.zeros((5, 8), np.float32), np.ones((9, 16), np.float32))
    made = make_artifact(tmp_path, tower=tower, metric="cosine", items=50)
    loaded = load(made.path, made.manifest_sha256, search_threads=1)
    error = refusal(loaded, by_features([1], age=0.0))
    assert (error.field, error.reason) == ("features", "VECTOR_ZERO")
    loaded.close()


def test_a_query_that_nobody_waits_for_is_not_computed(loaded: LoadedVersion) -> None:
    late = by_features([1], arrived=time.monotonic() - 1, deadline_ms=10)
    assert isinstance(refusal(loaded, late), DeadlinePassed)


def test_it_warms_up_by_the_recorded_features_and_checks_its_model(loaded: LoadedVersion) -> None:
    warmed = orders.warm(loaded, LIMITS)
    assert (warmed.ok, warmed.queries % len(RECORDED)) == (True, 0)
    checked = orders.check(loaded)
    assert (checked.ok, checked.error) == (True, "")


def test_the_check_finds_a_model_that_gives_something_else(
    loaded: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loaded.query_model is not None
    encode = loaded.query_model.encode
    monkeypatch.setattr(loaded.query_model, "encode", lambda asked: [found * 1.1 for found in encode(asked)])
    checked = orders.check(loaded)
    assert not checked.ok
    assert "other vectors" in checked.error


def test_an_artifact_whose_model_does_not_load_is_not_served(tmp_path: Path) -> None:
    """Its checksums are right: what was published was never tried."""
    tower = Tower.of(1)
    made = make_artifact(tmp_path, tower=tower, items=50, history={})
    manifest = made.path / "manifest.json"
    other = manifest.read_text().replace('"max_length": 5', '"max_length": 6')
    manifest.write_text(other)
    with pytest.raises(LoadError) as error:
        load(made.path, hashlib.sha256(other.encode()).hexdigest(), search_threads=1)
    assert error.value.reason == "artifact.bad_model"


FEATURES = st.dictionaries(
    st.one_of(st.sampled_from(["history", "age", "history_length"]), st.text(max_size=5)),
    st.one_of(
        st.just(recall_pb2.Feature()),
        st.lists(st.integers(-(2**63), 2**63 - 1), max_size=8).map(
            lambda values: recall_pb2.Feature(ints=recall_pb2.Int64List(values=values))
        ),
        st.lists(st.integers(0, 60), max_size=8).map(
            lambda values: recall_pb2.Feature(ints=recall_pb2.Int64List(values=values))
        ),
        st.lists(st.floats(width=32), max_size=3).map(
            lambda values: recall_pb2.Feature(floats=recall_pb2.FloatList(values=values))
        ),
        st.lists(st.text(max_size=4), max_size=3).map(
            lambda values: recall_pb2.Feature(strings=recall_pb2.StringList(values=values))
        ),
    ),
    max_size=4,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FEATURES, min_size=1, max_size=5))
def test_whatever_features_are_sent_each_query_has_an_answer_or_its_own_error(
    loaded: LoadedVersion, sent: list[dict[str, recall_pb2.Feature]]
) -> None:
    requests = [recall_pb2.RecallRequest(top_k=3, features=recall_pb2.FeatureQuery(features=each)) for each in sent]
    queries = [read_query(each.SerializeToString(), arrived=0.0, deadline_ms=0, queued_us=0) for each in requests]

    outcomes = answer(loaded, queries, LIMITS)

    for query, outcome in zip(queries, outcomes, strict=True):
        assert isinstance(outcome, Answer | InvalidQuery), outcome
        if isinstance(outcome, InvalidQuery):
            assert outcome.field.startswith("features")
            assert error_message(outcome).code == code_pb2.INVALID_ARGUMENT
        else:
            alone = answer(loaded, [query], LIMITS)[0]
            assert isinstance(alone, Answer)
            np.testing.assert_allclose(alone.scores, outcome.scores, rtol=1e-3, atol=1e-3)
