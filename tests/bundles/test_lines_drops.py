"""Drops in jsonl and word2vec text give what the same rows in Parquet would give, and a bad line costs its row."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bundles.batches import BatchLimits
from bundles.drop import count_rows, inspect
from bundles.errors import DropError
from bundles.formats import lines
from bundles.schema import ImportSchema
from tests.bundles.making import COSINE, INT64, SMALL, TEXT, complete, imported, opened, vectors, with_attributes

GOOD = [1.0, 2.0, 3.0, 4.0]


def fails(drop: Path, out: Path, schema: ImportSchema = INT64) -> DropError:
    with pytest.raises(DropError) as caught:
        imported(drop, out, schema)
    return caught.value


def write_jsonl(path: Path, *rows: Any) -> None:
    """Texts are lines as they are."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def item(item_id: Any, vector: Any = GOOD, **more: Any) -> dict[str, Any]:
    return {"id": item_id, "vector": vector, **more}


def bad(drop: Path, out: Path, schema: ImportSchema = INT64) -> list[tuple[int, str, Any]]:
    return [(row, reason, shown) for _, row, reason, shown in imported(drop, out, schema).reasons()]


def test_jsonl_in_many_batches(drop: Path, out: Path) -> None:
    rows = vectors(30)
    written = [item(index, row.tolist(), year=1900 + index, other=None) for index, row in enumerate(rows)]
    write_jsonl(drop / "items.jsonl", *written)
    found = imported(drop, out, with_attributes(("year", "int64")), limits=BatchLimits(rows=4))
    assert found.ids == list(range(30))
    np.testing.assert_array_equal(found.vectors, rows)
    assert found.attributes["year"] == list(range(1900, 1930))


def test_jsonl_with_other_names_text_ids_and_unsearchable_items(drop: Path, out: Path) -> None:
    write_jsonl(
        drop / "items.jsonl",
        {"sku": "a", "emb": GOOD, "searchable": False},
        {"sku": "b", "emb": GOOD, "searchable": True},
        {"sku": "ç", "emb": [1, 2, 3, 4], "searchable": None},
    )
    schema = ImportSchema("string", 4, "ip", columns={"id": "sku", "vector": "emb"})
    found = imported(drop, out, schema)
    assert (found.ids, found.report.searchable_items) == (["b", "ç", "a"], 2)


def test_a_bad_line_of_jsonl_costs_its_row(drop: Path, out: Path) -> None:
    attributes = (("year", "int64"), ("score", "float64"), ("free", "bool"), ("genre", "list<string>"), ("t", "string"))
    write_jsonl(
        drop / "items.jsonl",
        item(1, year=1979, score=1, free=True, genre=["sf"], t="Alien", searchable=None),
        "{not json",
        "",
        "[1, 2]",
        '{"id": 2, "vector": [1, 2, 3, NaN]}',
        item(3, [1, 2, "3", 4]),
        item(4, [1, 2, True, 4]),
        item(5, [1, 2, 3]),
        item(6, None),
        item(7, "[1,2,3,4]"),
        item("8"),
        item(True),
        item(8.0),
        item(2**63),
        item(None),
        item(9, year=1.5),
        item(10, year="1979"),
        item(11, free=1),
        item(12, genre=["sf", None]),
        item(13, genre="sf"),
        item(14, t=7),
        '{"id": 15, "vector": [1, 2, 3, 4], "t": "\\ud800"}',
        item(16, score="1"),
        item(17, searchable="no"),
        item(18, [10**400, 2, 3, 4]),
        item(19, year=7.0),
        item(1),
        "[" * 100_000,
    )
    found = imported(drop, out, with_attributes(*attributes))
    assert found.ids == [1, 19]
    first = {
        "year": [1979, 7],
        "score": [1.0, None],
        "free": [True, None],
        "genre": [["sf"], None],
        "t": ["Alien", None],
    }
    assert found.attributes == first
    assert [(row, reason) for _, row, reason, _ in found.reasons()] == [
        *((2, "bad_line"), (3, "bad_line"), (4, "nan"), (5, "nan"), (6, "nan"), (7, "wrong_dimension")),
        *((8, "null_vector"), (9, "wrong_dimension"), (10, "bad_id"), (11, "bad_id"), (12, "bad_id"), (13, "bad_id")),
        *((14, "bad_id"), (15, "bad_attribute"), (16, "bad_attribute"), (17, "bad_attribute"), (18, "bad_attribute")),
        *((19, "bad_attribute"), (20, "bad_attribute"), (21, "bad_attribute"), (22, "bad_attribute")),
        *((23, "bad_attribute"), (24, "nan"), (26, "duplicate_id"), (27, "bad_line")),
    ]


def test_the_report_shows_ids_as_they_are_in_the_file(drop: Path, out: Path) -> None:
    write_jsonl(drop / "items.jsonl", item(1), item(2, [1.0]), item("x"), item({"a": 1}))
    assert bad(drop, out) == [(2, "wrong_dimension", "2"), (3, "bad_id", "x"), (4, "bad_id", '{"a": 1}')]
    write_jsonl(drop / "items.jsonl", item(1), item(2, [1.0]))
    assert bad(drop, out) == [(2, "wrong_dimension", 2)]


@pytest.mark.parametrize(
    ("row", "reason", "said"),
    [
        ({"key": 1, "vector": GOOD}, "drop.missing_column", "no column `id` in any of its first 2 lines"),
        ({"id": 1, "embedding": GOOD}, "drop.missing_column", "it has id, embedding"),
        (
            item("7"),
            "drop.bad_id_type",
            'are like "7"; the schema says int64. If the ids are right, write `id_type: string`',
        ),
        (item(1, "[1,2,3,4]"), "drop.bad_column_type", "expected a list of numbers"),
        (item(1, [1.0, 2.0]), "drop.dimension_mismatch", "have 2 dimensions; the schema says 4"),
        ("[" + json.dumps(item(1)) + "]", "drop.unreadable", "expected one object a line"),
    ],
)
def test_what_is_wrong_with_every_line_of_jsonl_fails_the_drop(
    drop: Path, out: Path, row: Any, reason: str, said: str
) -> None:
    write_jsonl(drop / "items.jsonl", row, row)
    error = fails(drop, out)
    assert (error.reason, error.details["file"]) == (reason, "items.jsonl")
    assert said in error.message


def test_text_ids_cannot_be_numbers_in_jsonl(drop: Path, out: Path) -> None:
    write_jsonl(drop / "items.jsonl", item(1), item(2))
    assert fails(drop, out, TEXT).reason == "drop.bad_id_type"
    write_jsonl(drop / "items.jsonl", item("1"), item(2))
    assert bad(drop, out, TEXT) == [(2, "bad_id", "2")]


def test_an_attribute_that_no_line_has_is_missing_and_one_that_a_line_lacks_is_null(drop: Path, out: Path) -> None:
    schema = with_attributes(("genre", "string"))
    write_jsonl(drop / "items.jsonl", item(1, gendre="sf"), item(2))
    assert "no column `genre`" in fails(drop, out, schema).message
    write_jsonl(drop / "items.jsonl", item(1, genre=None), item(2))
    assert imported(drop, out, schema).attributes == {"genre": [None, None]}


def test_a_file_without_lines_is_no_fault_beside_one_with_items(drop: Path, out: Path) -> None:
    (drop / "items-0.jsonl").touch()
    write_jsonl(drop / "items-1.jsonl", item(1))
    (drop / "items-2.txt").touch()
    assert imported(drop, out).ids == [1]
    (drop / "items-1.jsonl").write_text("\n \n")
    assert fails(drop, out).reason == "drop.empty"


def test_a_line_of_any_length_costs_its_row_and_no_memory(
    drop: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES_MAX", 200)
    write_jsonl(drop / "items-0.jsonl", item(1), item(2, note="x" * 1_000), item(3), item(4, note="x" * 190))
    write_jsonl(drop / "items-1.txt", "5 1 2 3 4", "6 1 2 3 " + "4" * 1_000, "7 1 2 3 4")
    found = imported(drop, out)
    assert found.ids == [1, 3, 5, 7]
    assert [(file, row, reason) for file, row, reason, _ in found.reasons()] == [
        *(("items-0.jsonl", 2, "bad_line"), ("items-0.jsonl", 4, "bad_line"), ("items-1.txt", 2, "bad_line")),
    ]


def test_batches_of_lines_keep_to_their_bytes() -> None:
    found = list(lines.batches([b"x" * 10] * 10, BatchLimits(rows=100, bytes=4 * 35), 1))
    assert [len(batch) for batch in found] == [3, 3, 3, 1]
    assert [len(batch) for batch in lines.batches([b"x"] * 5, BatchLimits(rows=100, bytes=32), 16)] == [2, 2, 1]


@pytest.mark.parametrize("header", ["30 4\n", ""])
def test_word2vec_text_with_and_without_a_header(drop: Path, out: Path, header: str) -> None:
    rows = vectors(30)
    body = "".join(f"{index} {' '.join(map(str, row.tolist()))} \n" for index, row in enumerate(rows))
    (drop / "items.txt").write_text(header + body)
    found = imported(drop, out, limits=BatchLimits(rows=7))
    assert found.ids == list(range(30))
    np.testing.assert_array_equal(found.vectors, rows)
    assert count_rows(opened(drop)) == (30 if header else None)


def test_word2vec_text_with_text_ids_blanks_and_a_byte_order_mark(drop: Path, out: Path) -> None:
    (drop / "items.txt").write_bytes("\ufeffKöln\t1 2  3 4\r\n\n12 1 2 3 4\na\u00a0b 1 2 3 4".encode())
    assert imported(drop, out, TEXT).ids == ["Köln", "12", "a\u00a0b"]


def test_a_bad_line_of_word2vec_text_costs_its_row(drop: Path, out: Path) -> None:
    body = [
        "1 1 2 3 4",
        "two 1 2 3 4",
        "3 1 2 3",
        "4 1 2 3 4 5",
        "5 1 2 x 4",
        "6 1 2 inf 4",
        "7 1_0 2 3 4",
        "8",
        "1 4 3 2 1",
    ]
    (drop / "items.txt").write_bytes("\n".join(body).encode() + b"\n\xff 1 2 3 4\n9 0 0 0 0\n")
    assert bad(drop, out) == [
        *((2, "bad_id", "two"), (3, "wrong_dimension", "3"), (4, "wrong_dimension", "4"), (5, "nan", "5")),
        *((6, "nan", "6"), (7, "nan", "7"), (8, "wrong_dimension", "8"), (9, "duplicate_id", 1), (10, "bad_id", None)),
    ]
    assert bad(drop, out, COSINE)[-1] == (11, "zero_norm", "9")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2 5\n1 1 2 3 4 5\n2 1 2 3 4 5\n", "drop.dimension_mismatch"),
        ("1 1 2 3\n2 1 2 3\n", "drop.dimension_mismatch"),
        ("3 4\n1 1 2 3 4\n2 1 2 3 4\n", "drop.count_mismatch"),
        ("1 4\n1 1 2 3 4\n2 1 2 3 4\n", "drop.count_mismatch"),
        ("999999999999999999 4\n1 1 2 3 4\n", "drop.too_large"),
        ("2 4\n", "drop.count_mismatch"),
        ("", "drop.empty"),
    ],
)
def test_word2vec_text_that_is_not_what_it_says_is_refused(drop: Path, out: Path, text: str, reason: str) -> None:
    (drop / "items.txt").write_text(text)
    assert fails(drop, out).reason == reason


def test_word2vec_text_carries_no_attributes(drop: Path, out: Path) -> None:
    (drop / "items.txt").write_text("1 1 2 3 4\n")
    error = fails(drop, out, with_attributes(("genre", "string")))
    assert error.reason == "drop.missing_column"
    assert "carries no attributes" in error.message


def test_an_inspection_of_jsonl_suggests_a_schema_that_imports(drop: Path, out: Path) -> None:
    write_jsonl(
        drop / "part-0.jsonl",
        {"item_id": 5, "emb": [1, 0, 0, 0], "genre": ["sf"], "year": 1979, "odd": 1},
        {"item_id": 6, "emb": [0, 1.0, 0, 0], "genre": [], "year": None, "odd": "x"},
    )
    found = inspect(drop.parent, 1)
    assert (found.format, found.rows, found.columns) == ("jsonl", None, {"id": "item_id", "vector": "emb"})
    assert found.source_files == ["part-*.jsonl"]
    assert [row["genre"] for row in found.sample] == [["sf"]]
    schema = found.suggested_schema
    assert (schema["id_type"], schema["dimension"], schema["metric"]) == ("int64", 4, "ip")
    types = {each["name"]: each["type"] for each in schema["attributes"]}
    assert types == {"genre": "list<string>", "year": "int64", "odd": "string"}
    schema["attributes"] = [each for each in schema["attributes"] if each["name"] != "odd"]
    assert imported(drop, out, ImportSchema.from_spec(schema, found.columns)).ids == [5, 6]


@pytest.mark.parametrize(
    ("text", "id_type", "rows"), [("2 2\n7 1 0\n8 0 1\n", "int64", 2), ("a 1 0\n", "string", None)]
)
def test_an_inspection_of_word2vec_text(drop: Path, text: str, id_type: str, rows: int | None) -> None:
    (drop / "items.txt").write_text(text)
    complete(drop)
    found = inspect(drop.parent)
    assert (found.complete, found.format, found.rows, found.source_files) == (True, "txt", rows, ["items.txt"])
    assert (found.suggested_schema["id_type"], found.suggested_schema["dimension"]) == (id_type, 2)
    assert found.sample[0]["vector"] == [1.0, 0.0]


@pytest.mark.parametrize("name", ["items.jsonl", "items.txt"])
def test_an_inspection_of_lines_without_items_says_so(drop: Path, name: str) -> None:
    (drop / name).write_text("\n")
    with pytest.raises(DropError) as caught:
        inspect(drop.parent)
    assert caught.value.details["file"] == name


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
json_rows = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(0, 5) | json_values,
        "vector": st.just(GOOD) | st.lists(json_values, min_size=4, max_size=4) | json_values,
        **dict.fromkeys(("year", "score", "free", "genre", "t", "searchable"), json_values),
    },
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(json_rows | st.text(max_size=10), max_size=9), header=st.sampled_from(["", "3 4\n"]))
@example(rows=[{"id": 1, "vector": GOOD, "t": "\x00"}], header="")
def test_any_lines_are_imported_or_refused_but_never_worse(rows: list[Any], header: str) -> None:
    attributes = (("year", "int64"), ("score", "float64"), ("free", "bool"), ("genre", "list<string>"), ("t", "string"))
    everything = {"year": None, "score": None, "free": None, "genre": None, "t": None}
    with tempfile.TemporaryDirectory() as folder:
        drop = Path(folder) / "films" / "1"
        drop.mkdir(parents=True)
        write_jsonl(drop / "items-0.jsonl", item(7, **everything), *rows)
        assert 7 in imported(drop, Path(folder) / "out", with_attributes(*attributes), limits=SMALL).ids
        (drop / "items-0.jsonl").unlink()
        (drop / "items-0.txt").write_text(header + "7 1 2 3 4\n" + "\n".join(map(str, rows)), "utf-8")
        try:
            assert 7 in imported(drop, Path(folder) / "out").ids
        except DropError as error:
            assert error.reason == "drop.count_mismatch"  # noqa: PT017 - most random lines are not what a header says
