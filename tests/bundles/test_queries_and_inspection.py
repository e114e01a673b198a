"""Queries for a version, what an inspection shows, and the demo's own drop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles.batches import BatchLimits
from bundles.catalogue import Catalogue
from bundles.drop import inspect
from bundles.errors import DropError
from bundles.queries import load_queries
from bundles.schema import ImportSchema
from tests.bundles.making import COSINE, INT64, NAN, TEXT, complete, imported, opened, vectors, write_csv, write_parquet

DEMO = Path(__file__).parents[2] / "demo" / "fashion-mnist-64.parquet"


def queries_file(drop: Path, rows: Any, name: str = "queries.parquet") -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    listed = [None if row is None else list(row) for row in rows]
    pq.write_table(pa.table({"vector": pa.array(listed, pa.list_(pa.float32()))}), drop / name)


def test_recorded_queries_are_read_in_order(drop: Path) -> None:
    queries_file(drop, vectors(20))
    found, source = load_queries(opened(drop), INT64, vectors(3))
    assert source == "recorded"
    np.testing.assert_array_equal(found, vectors(20))


def test_the_manifest_can_name_the_queries(drop: Path) -> None:
    queries_file(drop, vectors(20), "asked.parquet")
    complete(drop, items=["items-0.parquet"], queries="asked.parquet")
    assert len(load_queries(opened(drop), INT64, vectors(3))[0]) == 20


def test_queries_that_the_manifest_names_must_be_there(drop: Path) -> None:
    queries_file(drop, vectors(20))
    complete(drop, items=["items-0.parquet"], queries="asked.parquet")
    with pytest.raises(DropError) as caught:
        opened(drop)
    assert caught.value.reason == "drop.incomplete"
    assert caught.value.message == "asked.parquet is named in manifest.json and is not in the drop."


@pytest.mark.parametrize(
    ("own", "named", "kept"),
    [
        ("mind-7", ["mind-7", "mind-6", None, "mind-7"], [0, 2, 3]),
        ("", ["mind-6", None, "", ""], [1, 2, 3]),
    ],
)
def test_vectors_of_another_model_than_the_drop_s_do_not_count(
    drop: Path, own: str, named: list[str | None], kept: list[int]
) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    listed = pa.array([list(row) for row in vectors(4)], pa.list_(pa.float32()))
    pq.write_table(pa.table({"vector": listed, "model_version": named}), drop / "queries.parquet")
    complete(drop, items=["items-0.parquet"], model_version=own)
    found, source = load_queries(opened(drop), INT64, vectors(3))
    assert source == "recorded"
    np.testing.assert_array_equal(found, vectors(4)[kept])


def test_when_all_recorded_vectors_are_of_another_model_items_are_asked_instead(drop: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    listed = pa.array([list(row) for row in vectors(2)], pa.list_(pa.float32()))
    pq.write_table(pa.table({"vector": listed, "model_version": ["mind-6"] * 2}), drop / "queries.parquet")
    complete(drop, items=["items-0.parquet"], model_version="mind-7")
    assert load_queries(opened(drop), INT64, vectors(3))[1] == "items"


def test_no_more_queries_than_the_limit_are_read(drop: Path) -> None:
    queries_file(drop, vectors(20))
    np.testing.assert_array_equal(load_queries(opened(drop), INT64, vectors(3), queries_max=7)[0], vectors(20)[:7])


def test_bad_queries_are_left_out_and_the_others_normalised(drop: Path) -> None:
    queries_file(drop, [[3.0, 4, 0, 0], [NAN, 1, 1, 1], None, [0.0] * 4, [0, 0, 0, 2]])
    found, _ = load_queries(opened(drop), COSINE, vectors(3))
    np.testing.assert_allclose(found, [[0.6, 0.8, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("rows", "reason"),
    [([[1.0, 2.0]], "drop.dimension_mismatch"), ([[NAN] * 4], "drop.empty"), ([], "drop.empty")],
)
def test_queries_that_are_of_no_use_are_an_error(drop: Path, rows: Any, reason: str) -> None:
    queries_file(drop, rows)
    with pytest.raises(DropError) as caught:
        load_queries(opened(drop), INT64, vectors(3))
    assert caught.value.reason == reason
    assert "queries.parquet" in caught.value.message


def test_a_queries_file_that_is_not_parquet_is_an_error(drop: Path) -> None:
    queries_file(drop, vectors(1))
    (drop / "queries.parquet").write_text("who asked")
    with pytest.raises(DropError) as caught:
        load_queries(opened(drop), INT64, vectors(3))
    assert caught.value.reason == "drop.unreadable"


@pytest.mark.parametrize("recorded", ["nothing", "other columns"])
def test_without_recorded_vectors_items_are_sampled_alike_each_time(drop: Path, recorded: str) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    if recorded == "other columns":
        pq.write_table(pa.table({"items": [[1, 2]]}), drop / "queries.parquet")
    items = vectors(500)
    found, source = load_queries(opened(drop), INT64, items, sampled=50)
    again, _ = load_queries(opened(drop), INT64, items, sampled=50)
    assert source == "items"
    np.testing.assert_array_equal(found, again)
    assert len(np.unique(found, axis=0)) == 50
    assert {tuple(row) for row in found.tolist()} <= {tuple(row) for row in items.tolist()}
    assert len(load_queries(opened(drop), INT64, items[:7], sampled=50)[0]) == 7


CATALOGUE = [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 0]]


def asked_by_items(
    drop: Path, out: Path, lists: Any, schema: ImportSchema = INT64, ids: Sequence[Any] = (1, 2, 3, 4), **options: Any
) -> tuple[Any, str]:
    """What a drop of four items, three of them searchable, gives whose queries are these lists of ids."""
    write_parquet(drop / "items-0.parquet", list(ids), CATALOGUE, searchable=[True, True, True, False])
    pq.write_table(pa.table({"items": lists}), drop / "queries.parquet")
    imported(drop, out, schema)
    found = Catalogue.of(out)
    return load_queries(opened(drop), schema, found.vectors[:3], catalogue=found, **options)


def test_recorded_lists_of_items_become_the_mean_of_those_that_are_known(drop: Path, out: Path) -> None:
    lists = pa.array([[1], [2, 3], [99, 3], [1, None], [4]], pa.list_(pa.int32()))
    found, source = asked_by_items(drop, out, lists)
    assert source == "item_ids"
    np.testing.assert_array_equal(found, [[1, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 1, 0], [1, 0, 0, 0], [-1, 0, 0, 0]])


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.dictionary(pa.int8(), pa.string()))])
def test_recorded_lists_of_texts_too(drop: Path, out: Path, kind: pa.DataType) -> None:
    lists = pa.array([["b", "é"], ["zz"]], pa.list_(pa.string())).cast(kind)
    found, source = asked_by_items(drop, out, lists, TEXT, ids=["a", "b", "é", "d"])
    assert source == "item_ids"
    np.testing.assert_array_equal(found, [[0, 0.5, 0.5, 0]])


def test_lists_that_a_replica_would_not_answer_do_not_count(drop: Path, out: Path) -> None:
    lists = pa.array([[], None, [99], [1, 4], [2] * 1_001, [2] * 1_000, [2**63 - 1, 3]], pa.list_(pa.int64()))
    found, _ = asked_by_items(drop, out, lists, COSINE)
    np.testing.assert_array_equal(found, [[0, 1, 0, 0], [0, 0, 1, 0]])


@pytest.mark.parametrize(
    ("lists", "reason", "said"),
    [
        (pa.array([[98], [99]]), "drop.empty", "(column `items`) names an item of the drop"),
        (pa.array([["1"]]), "drop.bad_column_type", "expected a list of ids (int64)"),
        (pa.array([1, 2]), "drop.bad_column_type", "Column `items` of queries.parquet is int64"),
        (pa.array([[0.5]]), "drop.bad_column_type", "expected a list of ids (int64)"),
    ],
)
def test_lists_that_are_of_no_use_are_an_error(drop: Path, out: Path, lists: Any, reason: str, said: str) -> None:
    with pytest.raises(DropError) as caught:
        asked_by_items(drop, out, lists)
    assert caught.value.reason == reason
    assert said in caught.value.message


def test_recorded_vectors_go_before_lists_of_items_unless_they_are_of_another_model(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    listed = pa.array([list(row) for row in vectors(2)], pa.list_(pa.float32()))
    table = pa.table({"vector": listed, "items": [[1], [1]], "model_version": ["mind-6", "mind-6"]})
    pq.write_table(table, drop / "queries.parquet")
    complete(drop, items=["items-0.parquet"], model_version="mind-6")
    imported(drop, out)
    found = Catalogue.of(out)
    assert load_queries(opened(drop), INT64, found.vectors, catalogue=found)[1] == "recorded"
    complete(drop, items=["items-0.parquet"], model_version="mind-7")
    assert load_queries(opened(drop), INT64, found.vectors, catalogue=found)[1] == "item_ids"


def test_a_feature_that_is_called_items_is_no_list_of_ids(drop: Path, out: Path) -> None:
    assert asked_by_items(drop, out, pa.array([["horror"]]), features=["items"])[1] == "items"


def test_a_recorded_vector_that_is_too_long_to_be_searched_by_does_not_count(drop: Path) -> None:
    queries_file(drop, [[1e30, 0, 0, 0], [1.0, 0, 0, 0]])
    np.testing.assert_array_equal(load_queries(opened(drop), INT64, vectors(3))[0], [[1, 0, 0, 0]])


def test_an_inspection_suggests_a_schema_that_imports(drop: Path, out: Path) -> None:
    write_parquet(
        drop / "items-0.parquet",
        [5, 6, 7],
        vectors(3),
        title=["a", "b", "c"],
        year=pa.array([1, 2, None], pa.int32()),
        score=[0.5, 1.5, 2.5],
        genre=[["x"], [], None],
        free=[True, False, True],
        searchable=[True, True, True],
        released=pa.array([0, 1, 2], pa.date32()),
    )
    complete(drop)
    found = inspect(drop.parent, 2)
    assert (found.drop, found.complete, found.format, found.rows) == ("2026-11-21", True, "parquet", 3)
    assert (found.missing, found.source_files) == ("", ["items-*.parquet"])
    assert [row["title"] for row in found.sample] == ["a", "b"]
    assert found.columns == {"id": "id", "vector": "vector"}
    schema = found.suggested_schema
    assert (schema["id_type"], schema["dimension"], schema["metric"]) == ("int64", 4, "cosine")
    types = {"title": "string", "year": "int64", "score": "float64", "genre": "list<string>", "free": "bool"}
    assert {each["name"]: each["type"] for each in schema["attributes"]} == types
    assert len(found.notes) == 1
    assert "`released`" in found.notes[0]
    assert imported(drop, out, ImportSchema.from_spec(schema, found.columns)).report.items == 3


def test_an_inspection_finds_columns_with_other_names(drop: Path) -> None:
    pq.write_table(pa.table({"genre": ["x"], "item_id": ["a"], "embedding": [[1.0, 2.0]]}), drop / "items-0.parquet")
    found = inspect(drop.parent)
    assert (found.complete, found.columns) == (False, {"id": "item_id", "vector": "embedding"})
    assert found.suggested_schema["id_type"] == "string"
    assert found.missing.startswith("no manifest.json or _SUCCESS;")


@pytest.mark.parametrize(
    ("lengths", "metric", "why"),
    [
        ([1.0, 0.995, 1.005, NAN, 0.0], "ip", "The 3 vectors that were looked at are of length 1, so ip and cosine"),
        ([7.0, 7.0], "ip", "The 2 vectors that were looked at are all of length 7, so ip and cosine rank alike."),
        ([0.5, 2.0], "cosine", "are not of one length (0.5 to 2), and cosine leaves lengths out. Write ip if"),
        ([1.0, 1.02], "cosine", "are not of one length (1 to 1.02)"),
        ([NAN, 0.0], "ip", "The first rows hold no good vector"),
    ],
)
def test_the_lengths_of_vectors_suggest_the_metric(drop: Path, lengths: list[float], metric: str, why: str) -> None:
    rows = [[0.6 * length, 0.8 * length] for length in lengths]
    write_parquet(drop / "items-0.parquet", range(len(rows) + 2), [*rows, None, [1.0]])
    found = inspect(drop.parent, 1)
    assert (found.suggested_schema["metric"], len(found.sample)) == (metric, 1)
    assert why in found.why


def test_an_inspection_suggests_the_patterns_that_a_build_needs(drop: Path) -> None:
    write_csv(drop / "items.csv", ["id", "v0", "v1"], "1,0.6,0.8")
    assert inspect(drop.parent).source_files == ["items.csv"]
    complete(drop, items=["it*.csv"])
    assert inspect(drop.parent).source_files == ["it*.csv"]


def test_an_inspection_of_npy_and_csv(drop: Path, source: Path) -> None:
    np.save(drop / "items.npy", vectors(5))
    np.save(drop / "ids.npy", np.arange(5))
    found = inspect(source)
    assert (found.format, found.rows, found.suggested_schema["dimension"]) == ("npy", 5, 4)
    (source / "2026-11-22").mkdir()
    write_csv(source / "2026-11-22" / "items.csv", ["id", "v0", "v1", "year"], "a,1,2,1979", "b,3,4,1985")
    found = inspect(source)
    assert (found.drop, found.format, found.rows) == ("2026-11-22", "csv", None)
    assert found.sample == [
        {"id": "a", "year": 1979, "vector": [1.0, 2.0]},
        {"id": "b", "year": 1985, "vector": [3.0, 4.0]},
    ]
    assert found.suggested_schema["attributes"] == [{"name": "year", "type": "int64"}]
    assert json.dumps(found.to_dict())


def test_an_inspection_of_csv_finds_the_vectors_that_a_build_finds(drop: Path, out: Path) -> None:
    write_csv(
        drop / "items.csv",
        ["id", "title", "embedding", "year"],
        '1,[REC],"[0.1, 0.2, 3, 4]",2007',
        '2,Alien," [1,2,3,4]",1979',
        "3,1408,,2007",
        '4,[4],"[1,nan,3,4]",',
    )
    found = inspect(drop.parent)
    assert found.found == {"id": "int64", "title": "string", "embedding": "list<item: double>", "year": "int64"}
    assert found.sample[0]["embedding"] == [0.1, 0.2, 3.0, 4.0]
    assert found.columns == {"id": "id", "vector": "embedding"}
    assert found.suggested_schema["dimension"] == 4
    attributes = [{"name": "title", "type": "string"}, {"name": "year", "type": "int64"}]
    assert found.suggested_schema["attributes"] == attributes
    assert imported(drop, out, ImportSchema.from_spec(found.suggested_schema, found.columns)).ids == [1, 2]


@pytest.mark.parametrize("cell", ["0.1 0.2", "[0.1 0.2]", "x", ""])
def test_an_inspection_of_csv_says_what_vectors_look_like_there(drop: Path, cell: str) -> None:
    write_csv(drop / "items.csv", ["id", "vector"], f'1,"{cell}"')
    with pytest.raises(DropError, match=r"No column of items\.csv can be a vector \(one column with a list") as caught:
        inspect(drop.parent)
    assert caught.value.reason == "drop.missing_column"


def test_an_inspection_and_a_build_say_the_same_of_vectors_without_quotes(drop: Path, out: Path) -> None:
    write_csv(drop / "items.csv", ["id", "vector"], "1,[1,2,3,4]", "2,[1,2,3,4]")
    with pytest.raises(DropError) as inspected:
        inspect(drop.parent)
    with pytest.raises(DropError) as built:
        imported(drop, out)
    assert inspected.value.message == built.value.message
    assert 'quote vectors: "[0.1,0.2]"' in built.value.message


def test_a_complete_drop_is_inspected_before_a_newer_one_that_is_not(drop: Path, source: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    complete(drop)
    (source / "2026-11-22").mkdir()
    found = inspect(source)
    assert found.drop == "2026-11-21"
    assert found.skipped == ("2026-11-22 is newer but has no manifest.json or _SUCCESS",)


@pytest.mark.parametrize("kept", [["id"], ["vector"]])
def test_an_inspection_without_ids_or_vectors_says_so(drop: Path, kept: list[str]) -> None:
    pq.write_table(pa.table({"id": [1], "vector": [[1.0]]}).select(kept), drop / "items-0.parquet")
    with pytest.raises(DropError) as caught:
        inspect(drop.parent)
    assert caught.value.reason == "drop.missing_column"


def test_the_demo_s_data_imports_without_a_bad_row(drop: Path, out: Path) -> None:
    (drop / "items.parquet").write_bytes(DEMO.read_bytes())
    schema = ImportSchema("int64", 64, "cosine", attributes=(("category", "string"),))
    found = imported(drop, out, schema, limits=BatchLimits())
    assert (found.report.items, found.report.bad_rows) == (10_000, 0)
    assert found.ids == list(range(10_000))
    assert {found.attributes["category"].count(name) for name in set(found.attributes["category"])} == {1_000}
    # Of an item's nearest neighbours most are of its own category, else these are not the images.
    scores = found.vectors[:200] @ found.vectors.T
    nearest = np.argsort(-scores, axis=1)[:, 1:11]
    categories = np.array(found.attributes["category"])
    assert (categories[nearest] == categories[:200, np.newaxis]).mean() > 0.7
