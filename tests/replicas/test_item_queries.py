"""Queries by items, one rule at a time, on vectors that can be worked out by head. Real artifacts and engines."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles.catalogue import Catalogue
from bundles.drop import open_drop
from bundles.queries import load_queries
from bundles.schema import ImportSchema
from engines.base import SearchEffort
from recallpb.v1 import recall_pb2
from replicas import encoding
from replicas.answer import answer
from replicas.checks import QueryLimits
from replicas.errors import DeadlinePassed, InternalError, InvalidQuery
from replicas.loaded import LoadedVersion, load
from replicas.queries import Answer, ItemQuery, MergePolicy, OnMissing, Query, QueryKind, WeightedItem
from replicas.wire import ResponseWriter, read_query
from tests.support.artifacts import MadeArtifact, exact_ids, make_artifact

ITEMS, HIDDEN, DIMENSION = 300, 10, 8
LIMITS = QueryLimits(query_items_max=5)
UNKNOWN = 999_999_999
DAY = 86_400


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeArtifact, LoadedVersion]:
    made = make_artifact(tmp_path_factory.mktemp("films"), items=ITEMS, hidden=HIDDEN, dimension=DIMENSION, version=7)
    return made, load(made.path, made.manifest_sha256, search_threads=1)


@pytest.fixture
def made(films: tuple[MadeArtifact, LoadedVersion]) -> MadeArtifact:
    return films[0]


@pytest.fixture
def loaded(films: tuple[MadeArtifact, LoadedVersion]) -> LoadedVersion:
    return films[1]


def by(*items: Any, top_k: int = 10, **fields: Any) -> Query:
    """A query by items: ids, or WeightedItems; fields of ItemQuery and of Query."""
    weighted = tuple(item if isinstance(item, WeightedItem) else WeightedItem(item) for item in items)
    own = {name: fields.pop(name) for name in ItemQuery.__dataclass_fields__ if name in fields}
    arrived = time.monotonic()
    return Query(QueryKind.ITEMS, [], [], top_k, MergePolicy.MAX, ItemQuery(weighted, **own), arrived=arrived, **fields)


def one(loaded: LoadedVersion, query: Query) -> Answer:
    [outcome] = answer(loaded, [query], LIMITS)
    assert isinstance(outcome, Answer), outcome
    return outcome


def refusal(loaded: LoadedVersion, query: Query) -> InvalidQuery:
    [outcome] = answer(loaded, [query], LIMITS)
    assert isinstance(outcome, InvalidQuery), outcome
    return outcome


def best(made: MadeArtifact, vector: np.ndarray, *own: int, top_k: int = 10) -> list[Any]:
    """What plain numpy finds for the vector; `own` are rows that are left out."""
    return exact_ids(made, vector.astype(np.float32), top_k, exclude=[made.ids[row] for row in own])[0]


def test_one_item_asks_by_its_own_vector_and_is_not_in_the_answer(made: MadeArtifact, loaded: LoadedVersion) -> None:
    found = one(loaded, by(made.ids[3]))

    assert loaded.ids_of(found.rows) == best(made, made.vectors[3], 3)
    assert found.shortfall == 0
    assert found.found_by is None


def test_query_items_are_kept_when_the_caller_says_so(made: MadeArtifact, loaded: LoadedVersion) -> None:
    found = one(loaded, by(made.ids[3], keep_query_items=True))

    assert loaded.ids_of(found.rows) == best(made, made.vectors[3])
    assert made.ids[3] in loaded.ids_of(found.rows)


def test_weights_count_and_negative_ones_push_away(made: MadeArtifact, loaded: LoadedVersion) -> None:
    first, second, third = made.vectors[:3].astype(np.float64)
    items = [WeightedItem(made.ids[0], 2.0), WeightedItem(made.ids[1]), WeightedItem(made.ids[2], -0.5)]

    found = one(loaded, by(*items))

    mean = (2 * first + second - 0.5 * third) / 3.5
    assert loaded.ids_of(found.rows) == best(made, mean, 0, 1, 2)
    np.testing.assert_allclose(found.scores, made.vectors[found.rows] @ mean, rtol=1e-4, atol=1e-5)


def test_an_item_that_is_named_twice_counts_twice(made: MadeArtifact, loaded: LoadedVersion) -> None:
    found = one(loaded, by(made.ids[0], made.ids[1], made.ids[0]))

    assert loaded.ids_of(found.rows) == best(made, 2 * made.vectors[0] + made.vectors[1], 0, 1)
    assert found.coverage is not None
    assert found.coverage.used == [made.ids[0], made.ids[1], made.ids[0]]


def test_weights_halve_with_each_half_life_before_the_newest_item(made: MadeArtifact, loaded: LoadedVersion) -> None:
    newest = 1_700_000_000
    items = [
        WeightedItem(made.ids[0], timestamp_seconds=newest),
        WeightedItem(made.ids[1], timestamp_seconds=newest - 2 * DAY),
        WeightedItem(made.ids[2]),
        WeightedItem(UNKNOWN, timestamp_seconds=newest - DAY),
    ]

    found = one(loaded, by(*items, half_life_seconds=float(DAY), keep_query_items=True))

    mean = (made.vectors[0] + made.vectors[1] / 4 + made.vectors[2]) / 2.25
    assert loaded.ids_of(found.rows) == best(made, mean)
    assert found.coverage is not None
    assert found.coverage.weight_covered == pytest.approx(2.25 / 2.75)


def test_an_old_history_asks_as_it_did_on_its_last_day(made: MadeArtifact, loaded: LoadedVersion) -> None:
    """Nothing is measured from the present, so that the same query has the same answer tomorrow."""

    def seen(last_day: int) -> Query:
        items = [WeightedItem(made.ids[row], timestamp_seconds=(last_day - row) * DAY) for row in range(4)]
        return by(*items, half_life_seconds=DAY / 8)

    now, long_ago = one(loaded, seen(20_000)), one(loaded, seen(-20_000))
    assert now.rows.tolist() == long_ago.rows.tolist()
    assert now.scores.tolist() == long_ago.scores.tolist()


def test_without_a_half_life_timestamps_say_nothing(made: MadeArtifact, loaded: LoadedVersion) -> None:
    stamped = [WeightedItem(made.ids[row], timestamp_seconds=10**row) for row in range(4)]

    assert one(loaded, by(*stamped)).rows.tolist() == one(loaded, by(*made.ids[:4])).rows.tolist()


@pytest.mark.parametrize("half_life", [5e-324, 1e308])
def test_timestamps_as_far_apart_as_they_can_be_are_no_trouble(
    made: MadeArtifact, loaded: LoadedVersion, half_life: float
) -> None:
    stamps = (2**63 - 1, -(2**63))
    items = [WeightedItem(each, timestamp_seconds=stamp) for each, stamp in zip(made.ids, stamps, strict=False)]

    found = one(loaded, by(*items, half_life_seconds=half_life))

    mean = made.vectors[0] if half_life < 1 else made.vectors[0] + made.vectors[1]
    assert loaded.ids_of(found.rows) == best(made, mean, 0, 1)


def test_what_is_off_the_shelf_asks_and_is_never_an_answer(made: MadeArtifact, loaded: LoadedVersion) -> None:
    hidden = made.ids[-1]

    found = one(loaded, by(hidden, keep_query_items=True, top_k=ITEMS))

    assert found.coverage is not None
    assert found.coverage.used == [hidden]
    assert found.rows.max() < ITEMS - HIDDEN
    assert loaded.ids_of(found.rows)[:10] == best(made, made.vectors[-1])


def test_unknown_items_are_skipped_and_told(made: MadeArtifact, loaded: LoadedVersion) -> None:
    found = one(loaded, by(WeightedItem(UNKNOWN, -3.0), made.ids[1], UNKNOWN + 1))

    assert loaded.ids_of(found.rows) == best(made, made.vectors[1], 1)
    assert found.coverage is not None
    assert (found.coverage.used, found.coverage.missing) == ([made.ids[1]], [UNKNOWN, UNKNOWN + 1])
    assert found.coverage.weight_covered == pytest.approx(1 / 5)


def test_a_query_may_insist_on_all_of_its_items(made: MadeArtifact, loaded: LoadedVersion) -> None:
    error = refusal(loaded, by(made.ids[0], made.ids[1], UNKNOWN, UNKNOWN + 1, on_missing=OnMissing.FAIL))

    assert (error.field, error.reason) == ("items.items[2].id", "ITEM_UNKNOWN")
    assert error.message == "2 of the 4 query items are not in version 7; this is one"
    assert one(loaded, by(*made.ids[:2], on_missing=OnMissing.FAIL)).rows.size == 10


def test_coverage_is_measured_by_absolute_weight(made: MadeArtifact, loaded: LoadedVersion) -> None:
    items = [WeightedItem(made.ids[0], 2.0), WeightedItem(made.ids[1], -2.0), WeightedItem(UNKNOWN, 1.0)]
    limit = float(np.float32(0.8))  # What 0.8 becomes in the request, a little more than it.

    enough = one(loaded, by(*items, on_missing=OnMissing.MIN_COVERAGE, min_coverage=limit))
    error = refusal(loaded, by(*items, on_missing=OnMissing.MIN_COVERAGE, min_coverage=0.81))

    assert enough.coverage is not None
    assert enough.coverage.weight_covered == pytest.approx(0.8)
    assert (error.field, error.reason) == ("items.min_coverage", "COVERAGE_TOO_LOW")
    assert error.message == "the query items in version 7 have 0.8 of the absolute weight; at least 0.81 is asked for"
    hardly = float(np.float32(0.80001))
    error = refusal(loaded, by(*items, on_missing=OnMissing.MIN_COVERAGE, min_coverage=hardly))
    assert error.message.endswith("have 0.8 of the absolute weight; at least 0.80001 is asked for")


@pytest.mark.parametrize("on_missing", list(OnMissing))
def test_a_query_of_which_nothing_is_known_has_no_vector(loaded: LoadedVersion, on_missing: OnMissing) -> None:
    error = refusal(loaded, by(UNKNOWN, UNKNOWN + 1, on_missing=on_missing))

    assert (error.field, error.reason) == ("items.items", "NO_ITEM_KNOWN")
    assert error.message == "none of the 2 query items is in version 7"


@pytest.mark.parametrize(
    ("metric", "normalize"), [("ip", False), ("ip", True), ("cosine", False), ("l2", True), ("l2", False)]
)
@pytest.mark.parametrize("weights", [(0.1, 0.2, -0.3), (0.0, 0.0, 0.0)])
def test_weights_that_cancel_out_are_refused(
    tmp_path: Path, metric: str, normalize: bool, weights: tuple[float, ...]
) -> None:
    made = make_artifact(tmp_path, metric=metric, normalize=normalize, items=20)
    served = load(made.path, made.manifest_sha256, search_threads=1)

    error = refusal(served, by(*(WeightedItem(made.ids[0], float(np.float32(weight))) for weight in weights)))

    assert (error.field, error.reason) == ("items.items", "WEIGHTS_CANCEL")


def test_under_l2_the_mean_is_a_place_and_the_origin_plays_no_part(tmp_path: Path) -> None:
    """Two items on both sides of the origin have it as their mean; moving everything moves the mean along."""
    made = make_artifact(tmp_path, metric="l2", items=200)
    served = load(made.path, made.manifest_sha256, search_threads=1)
    liked, disliked = made.vectors[:2].astype(np.float64)

    found = one(served, by(made.ids[0], WeightedItem(made.ids[1], -0.5)))

    assert served.ids_of(found.rows) == best(made, liked + (liked - disliked), 0, 1)
    error = refusal(served, by(made.ids[0], WeightedItem(made.ids[1], -1.5)))
    assert (error.field, error.reason) == ("items.items", "WEIGHTS_CANCEL")
    assert "add up to -0.5; under l2 it must be above 0" in error.message


def test_dislikes_alone_are_a_direction_too(made: MadeArtifact, loaded: LoadedVersion) -> None:
    found = one(loaded, by(WeightedItem(made.ids[0], -1.0)))

    assert loaded.ids_of(found.rows) == best(made, -made.vectors[0], 0)


@pytest.mark.parametrize(("metric", "normalize"), [("cosine", False), ("ip", True), ("l2", True)])
def test_the_mean_is_normalised_where_vectors_are(tmp_path: Path, metric: str, normalize: bool) -> None:
    made = make_artifact(tmp_path, metric=metric, normalize=normalize, items=200)
    served = load(made.path, made.manifest_sha256, search_threads=1)
    directions = made.vectors / np.linalg.norm(made.vectors, axis=1, keepdims=True)
    mean = directions[0] + 3 * directions[1]
    mean /= np.linalg.norm(mean)
    scores = ((directions - mean) ** 2).sum(axis=1) if metric == "l2" else directions @ mean
    order = [row for row in np.argsort(scores if metric == "l2" else -scores) if row > 1][:10]

    found = one(served, by(made.ids[0], WeightedItem(made.ids[1], 3.0)))

    assert found.rows.tolist() == order
    np.testing.assert_allclose(found.scores, scores[order], rtol=1e-4, atol=1e-5)


def test_text_ids_ask_and_are_told(tmp_path: Path) -> None:
    made = make_artifact(tmp_path, text_ids=True, items=60, dimension=DIMENSION)
    served = load(made.path, made.manifest_sha256, search_threads=1)

    found = one(served, by(made.ids[4], "film-ö", exclude_text_ids=[made.ids[5]]))

    assert served.ids_of(found.rows) == best(made, made.vectors[4], 4, 5)
    assert found.coverage is not None
    assert (found.coverage.used, found.coverage.missing) == ([made.ids[4]], ["film-ö"])
    error = refusal(served, by(made.ids[4], 17))
    assert (error.field, error.reason) == ("items.items[1].id", "ID_TYPE_WRONG")


def test_excluding_the_query_items_widens_the_search_by_what_could_be_answered_and_no_more(
    made: MadeArtifact, loaded: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []
    search = loaded.searcher.search

    def noted(queries: np.ndarray, top_k: int, effort: SearchEffort) -> Any:
        widths.append(top_k)
        return search(queries, top_k, effort)

    monkeypatch.setattr(loaded.searcher, "search", noted)
    asked = [made.ids[0], made.ids[1], made.ids[0], made.ids[-1], UNKNOWN]

    found = one(loaded, by(*asked, exclude_ids=made.ids[1:3]))
    one(loaded, by(*asked, keep_query_items=True))

    assert found.rows.size == 10
    assert widths == [10 + 3, 10]


@pytest.mark.parametrize(
    ("query", "field", "reason"),
    [
        (by(), "items.items", "ITEM_COUNT_OUT_OF_RANGE"),
        (by(*[1] * 6), "items.items", "ITEM_COUNT_OUT_OF_RANGE"),
        (by(1, WeightedItem(None)), "items.items[1].id", "ITEM_ID_MISSING"),
        (by(1, 2, 3, "film-4"), "items.items[3].text_id", "ID_TYPE_WRONG"),
        (by(1, WeightedItem(2, float("nan"))), "items.items[1].weight", "WEIGHT_NOT_FINITE"),
        (by(WeightedItem(2, float("-inf"))), "items.items[0].weight", "WEIGHT_NOT_FINITE"),
        (by(1, half_life_seconds=-1.0), "items.half_life_seconds", "HALF_LIFE_OUT_OF_RANGE"),
        (by(1, half_life_seconds=float("nan")), "items.half_life_seconds", "HALF_LIFE_OUT_OF_RANGE"),
        (by(1, half_life_seconds=float("inf")), "items.half_life_seconds", "HALF_LIFE_OUT_OF_RANGE"),
        (by(1, min_coverage=1.1), "items.min_coverage", "MIN_COVERAGE_OUT_OF_RANGE"),
        (by(1, min_coverage=-0.1), "items.min_coverage", "MIN_COVERAGE_OUT_OF_RANGE"),
        (by(1, min_coverage=float("nan")), "items.min_coverage", "MIN_COVERAGE_OUT_OF_RANGE"),
        (by(1, min_coverage=0.5), "items.min_coverage", "MIN_COVERAGE_IDLE"),
        (by(1, min_coverage=0.5, on_missing=OnMissing.FAIL), "items.min_coverage", "MIN_COVERAGE_IDLE"),
        (by(1, top_k=0), "top_k", "TOP_K_OUT_OF_RANGE"),
    ],
)
def test_it_refuses_bad_input_and_names_the_field(loaded: LoadedVersion, query: Query, field: str, reason: str) -> None:
    error = refusal(loaded, query)

    assert (error.field, error.reason) == (field, reason)
    assert error.message


def test_an_id_as_large_as_can_be_is_just_unknown(made: MadeArtifact, loaded: LoadedVersion) -> None:
    found = one(loaded, by(2**63 - 1, -(2**63), made.ids[0]))

    assert found.coverage is not None
    assert found.coverage.missing == [2**63 - 1, -(2**63)]


def vector_query(vector: np.ndarray, **fields: Any) -> Query:
    raw = [vector.astype("<f4").tobytes()]
    return Query(QueryKind.VECTORS, raw, [], 10, MergePolicy.MAX, arrived=time.monotonic(), **fields)


def test_in_a_batch_of_all_kinds_each_gets_what_it_would_get_alone(made: MadeArtifact, loaded: LoadedVersion) -> None:
    late = by(made.ids[3], deadline_ms=5)
    late.arrived -= 0.1
    batch = [
        by(made.ids[0]),
        vector_query(made.queries[0]),
        by(UNKNOWN),
        late,
        by(made.ids[1], made.ids[2], exclude_ids=made.ids[4:20], exact=True),
        vector_query(np.full(DIMENSION, np.nan)),
        vector_query(made.queries[1], return_vectors=True),
        by(made.ids[0], require_version=7, return_vectors=True),
    ]

    together = answer(loaded, batch, LIMITS)

    kinds = [Answer, Answer, InvalidQuery, DeadlinePassed, Answer, InvalidQuery, Answer, Answer]
    assert [type(outcome) for outcome in together] == kinds
    for query, outcome in zip(batch, together, strict=True):
        if isinstance(outcome, Answer):
            alone = one(loaded, query)
            assert outcome.rows.tolist() == alone.rows.tolist()
            assert outcome.scores.tolist() == alone.scores.tolist()
            assert outcome.coverage == alone.coverage


def test_a_query_that_breaks_its_encoder_breaks_no_other(
    made: MadeArtifact, loaded: LoadedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoders = dict(encoding.ENCODERS)

    def fragile(loaded: LoadedVersion, queries: Any) -> Any:
        if any(query.items.items[0].key == made.ids[1] for query in queries):
            raise RuntimeError("out of luck")
        return encoders[QueryKind.ITEMS](loaded, queries)

    monkeypatch.setattr(encoding, "ENCODERS", {**encoders, QueryKind.ITEMS: fragile})

    outcomes = answer(loaded, [by(made.ids[0]), by(made.ids[1]), vector_query(made.queries[0])], LIMITS)

    assert [type(outcome) for outcome in outcomes] == [Answer, InternalError, Answer]


def test_what_the_request_says_is_what_is_asked_and_coverage_is_in_the_response(
    made: MadeArtifact, loaded: LoadedVersion
) -> None:
    items = [
        recall_pb2.WeightedItem(id=made.ids[0], weight=0.0, timestamp_seconds=0),
        recall_pb2.WeightedItem(id=made.ids[1], weight=-0.5),
        recall_pb2.WeightedItem(id=0, timestamp_seconds=5),
        recall_pb2.WeightedItem(),
        recall_pb2.WeightedItem(text_id=""),
    ]
    message = recall_pb2.ItemQuery(
        items=items, half_life_seconds=2.5, on_missing=recall_pb2.MIN_COVERAGE, min_coverage=0.25, keep_query_items=True
    )
    request = recall_pb2.RecallRequest(items=message, top_k=3)

    query = read_query(request.SerializeToString(), arrived=1.0, deadline_ms=0, queued_us=0)

    assert query.kind is QueryKind.ITEMS
    assert query.items == ItemQuery(
        (
            WeightedItem(made.ids[0], 0.0, 0),
            WeightedItem(made.ids[1], -0.5, None),
            WeightedItem(0, 1.0, 5),
            WeightedItem(None, 1.0, None),
            WeightedItem("", 1.0, None),
        ),
        half_life_seconds=2.5,
        on_missing=OnMissing.MIN_COVERAGE,
        min_coverage=0.25,
        keep_query_items=True,
    )

    [raw] = ResponseWriter(loaded, "r1").write([one(loaded, by(made.ids[0], UNKNOWN))])
    assert isinstance(raw, bytes)
    coverage = recall_pb2.RecallResponse.FromString(raw).coverage
    assert (list(coverage.used.ids), list(coverage.missing.ids)) == ([made.ids[0]], [UNKNOWN])
    assert coverage.weight_covered == pytest.approx(0.5)


def test_a_way_to_treat_missing_items_that_nobody_knows_is_refused() -> None:
    request = recall_pb2.RecallRequest(items=recall_pb2.ItemQuery(on_missing=9))
    with pytest.raises(InvalidQuery) as refused:
        read_query(request.SerializeToString(), arrived=1.0, deadline_ms=0, queued_us=0)
    assert (refused.value.field, refused.value.reason) == ("items.on_missing", "ON_MISSING_UNKNOWN")
    assert refused.value.message == "9 is no way to treat ids; there are SKIP (0), FAIL (1), MIN_COVERAGE (2)"


def test_a_build_asks_by_recorded_items_as_a_replica_does(made: MadeArtifact, loaded: LoadedVersion) -> None:
    """Both go by `bundles.query_vectors`; this holds them to it."""
    lists = [made.ids[:3], [made.ids[7], UNKNOWN], made.ids[-2:]]
    folder = made.path.parent / "source-7" / "d1"
    pq.write_table(pa.table({"items": lists}), folder / "queries.parquet")
    drop = open_drop(folder.parent, "d1", allow_unmarked=True)
    found, source = load_queries(
        drop, ImportSchema.from_spec(made.manifest["schema"]), loaded.vectors, catalogue=Catalogue.of(made.path)
    )
    assert source == "item_ids"
    encoded = encoding.encode(loaded, [by(*ids) for ids in lists])
    np.testing.assert_array_equal(found, np.concatenate([each.vectors for each in encoded]))
