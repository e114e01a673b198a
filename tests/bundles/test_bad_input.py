"""Drops as careless jobs write them: each is imported as far as it is good, or refused with its file and row."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles.batches import BatchLimits, reading
from bundles.errors import DropError
from bundles.files import DropFile, ItemFile
from bundles.importing import import_items
from bundles.schema import ImportSchema
from tests.bundles.making import INT64, SMALL, TEXT, imported, opened, vectors, with_attributes, write_parquet

GOOD = [1.0, 2.0, 3.0, 4.0]


def fails(drop: Path, out: Path, schema: ImportSchema = INT64) -> DropError:
    with pytest.raises(DropError) as caught:
        imported(drop, out, schema)
    return caught.value


def write_items(folder: Path, extension: str, ids: list[int], number: int = 0) -> Path:
    """Good items in a file of any format."""
    path = folder / f"items-{number}{extension}"
    if extension == ".parquet":
        write_parquet(path, ids, [GOOD] * len(ids))
    elif extension == ".npy":
        np.save(path, np.array([GOOD] * len(ids), np.float32))
        np.save(folder / f"ids-{number}.npy", np.array(ids))
    elif extension == ".csv":
        path.write_text("id,v0,v1,v2,v3\n" + "".join(f"{each},1,2,3,4\n" for each in ids))
    elif extension == ".jsonl":
        path.write_text("".join(f'{{"id": {each}, "vector": {GOOD}}}\n' for each in ids))
    else:
        path.write_text("".join(f"{each} 1 2 3 4\n" for each in ids))
    return path


FORMATS = [".parquet", ".npy", ".csv", ".jsonl", ".txt"]


def test_duplicate_ids_across_files_and_formats_are_told_with_their_own_file_and_row(drop: Path, out: Path) -> None:
    """Files are read in the order of their names; the first row of an id counts."""
    for number, extension in enumerate(FORMATS):
        write_items(drop, extension, [7, 100 + number, 8], number)
    found = imported(drop, out)
    assert found.ids == [7, 100, 8, 101, 102, 103, 104]
    expected = [
        (f"items-{number}{extension}", row, "duplicate_id", item_id)
        for number, extension in enumerate(FORMATS)
        for row, item_id in ((1, 7), (3, 8))
        if number
    ]
    assert found.reasons() == expected


def test_vectors_of_several_widths_and_lists_may_stand_in_one_drop(drop: Path, out: Path) -> None:
    kinds = [
        pa.list_(pa.float32()),
        pa.large_list(pa.float64()),
        pa.list_(pa.float16(), 4),
        pa.list_(pa.float64(), 4),
    ]
    for number, kind in enumerate(kinds):
        rows = [np.array(GOOD, np.float16) if kind.value_type == pa.float16() else GOOD]
        write_parquet(drop / f"items-{number}.parquet", pa.array([number], pa.int32()), rows, kind)
    found = imported(drop, out)
    assert found.vectors.tolist() == [GOOD] * 4


@pytest.mark.parametrize(
    ("ids", "rows", "kind", "reason"),
    [
        (["9"], [GOOD], None, "drop.bad_id_type"),
        ([9.0], [GOOD], None, "drop.bad_id_type"),
        ([True], [GOOD], None, "drop.bad_id_type"),
        ([9], ["[1,2,3,4]"], pa.string(), "drop.bad_column_type"),
        ([9], [[1, 2, 3, 4]], pa.list_(pa.int64()), "drop.bad_column_type"),
        ([9], [[1.0, 2.0, 3.0]], pa.list_(pa.float32(), 3), "drop.dimension_mismatch"),
        ([9], [[1.0, 2.0, 3.0]], None, "drop.dimension_mismatch"),
    ],
)
def test_a_later_file_of_other_types_is_named(
    drop: Path, out: Path, ids: list[object], rows: list[object], kind: pa.DataType | None, reason: str
) -> None:
    write_items(drop, ".parquet", [1, 2, 3])
    if kind == pa.string():
        pq.write_table(pa.table({"id": ids, "vector": rows}), drop / "items-1.parquet")
    else:
        write_parquet(drop / "items-1.parquet", ids, rows, kind)
    error = fails(drop, out)
    assert (error.reason, error.details["file"]) == (reason, "items-1.parquet")
    assert "items-1.parquet" in error.message


def test_text_ids_and_whole_numbers_do_not_mix(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", ["a"], [GOOD])
    write_parquet(drop / "items-1.parquet", [1], [GOOD])
    error = fails(drop, out, TEXT)
    assert (error.reason, error.details["file"], error.details["found"]) == (
        "drop.bad_id_type",
        "items-1.parquet",
        "int64",
    )
    assert "are int64; the schema says string. If the ids are right, write `id_type: int64`" in error.message


def test_texts_for_whole_numbers_are_called_what_a_schema_calls_them(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", pa.array(["a"], pa.large_string()), [GOOD])
    told = "are string; the schema says int64. If the ids are right, write `id_type: string` in the service's schema."
    assert fails(drop, out).message.endswith(told)


def test_an_attribute_of_another_type_in_a_later_file_is_named(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], [GOOD], year=[1979])
    write_parquet(drop / "items-1.parquet", [2], [GOOD], year=pa.array([7.0], pa.float32()))
    assert imported(drop, out, with_attributes(("year", "int64"))).attributes == {"year": [1979, 7]}
    write_parquet(drop / "items-2.parquet", [3], [GOOD], year=["1979"])
    error = fails(drop, out, with_attributes(("year", "int64")))
    assert (error.reason, error.details["file"]) == ("drop.bad_column_type", "items-2.parquet")


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.float16()])
def test_ragged_vectors_are_told_by_file_and_row(drop: Path, out: Path, kind: pa.DataType) -> None:
    write_items(drop, ".parquet", [1])
    rows = [GOOD, GOOD[:3], [], None, [*GOOD, 5.0], GOOD]
    typed = [row if row is None else np.array(row, kind.to_pandas_dtype()) for row in rows]
    write_parquet(drop / "items-1.parquet", [2, 3, 4, 5, 6, 7], typed, pa.list_(kind))
    found = imported(drop, out)
    assert found.ids == [1, 2, 7]
    assert [(file, row, reason) for file, row, reason, _ in found.reasons()] == [
        ("items-1.parquet", 2, "wrong_dimension"),
        ("items-1.parquet", 3, "wrong_dimension"),
        ("items-1.parquet", 4, "null_vector"),
        ("items-1.parquet", 5, "wrong_dimension"),
    ]


@pytest.mark.parametrize("extension", FORMATS)
def test_a_file_of_no_bytes_is_refused_or_holds_no_items(drop: Path, out: Path, extension: str) -> None:
    write_items(drop, extension, [1])
    (drop / f"items-0{extension}").write_bytes(b"")
    error = fails(drop, out)
    if extension in (".jsonl", ".txt"):
        assert error.reason == "drop.empty"
    else:
        assert (error.reason, error.details["file"]) == ("drop.unreadable", f"items-0{extension}")


@pytest.mark.parametrize("extension", FORMATS)
def test_a_file_without_rows_is_no_fault_beside_one_with_items(drop: Path, out: Path, extension: str) -> None:
    if extension == ".npy":
        np.save(drop / "items-0.npy", np.empty((0, 4), np.float32))
        np.save(drop / "ids-0.npy", np.empty(0, np.int64))
    else:
        write_items(drop, extension, [])
    assert fails(drop, out).reason in ("drop.empty", "drop.bad_id_type")
    if extension == ".parquet":
        columns = {"id": pa.array([], pa.int64()), "vector": pa.array([], pa.list_(pa.float32()))}
        pq.write_table(pa.table(columns), drop / "items-0.parquet")
    write_items(drop, extension, [1, 2], number=1)
    assert imported(drop, out).ids == [1, 2]


def meddled(drop: Path, out: Path, meddle: Callable[[], object]) -> DropError:
    """Imports while somebody does something to the drop after its first batch."""
    found = opened(drop)
    done: list[object] = []

    def once(_done: int, _expected: int) -> None:
        if not done:
            done.append(meddle())

    with pytest.raises(DropError) as caught:
        import_items(found, INT64, out, progress=once, limits=SMALL)
    assert not (out / "import.tmp").exists()
    return caught.value


@pytest.mark.parametrize("extension", FORMATS)
def test_a_file_that_is_written_to_while_it_is_read_fails_the_import(drop: Path, out: Path, extension: str) -> None:
    path = write_items(drop, extension, list(range(100)))
    whole = path.read_bytes()
    error = meddled(drop, out, lambda: path.write_bytes(whole + whole))
    assert (error.reason, error.details["file"]) == ("drop.changed_while_read", path.name)


@pytest.mark.parametrize("extension", FORMATS)
def test_a_file_that_is_replaced_while_it_is_read_fails_the_import(drop: Path, out: Path, extension: str) -> None:
    """Same size, same time, other rows."""
    path = write_items(drop, extension, list(range(100)))
    status = path.stat()

    def replace() -> None:
        (drop / "new").write_bytes(path.read_bytes()[::-1])
        os.utime(drop / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
        os.replace(drop / "new", path)

    error = meddled(drop, out, replace)
    assert (error.reason, error.details["file"]) == ("drop.changed_while_read", path.name)


@pytest.mark.parametrize("extension", FORMATS)
def test_a_drop_that_disappears_while_it_is_read_fails_the_import(drop: Path, out: Path, extension: str) -> None:
    for number in range(2):
        write_items(drop, extension, list(range(100)), number)
    error = meddled(drop, out, lambda: shutil.rmtree(drop))
    assert error.reason == "drop.changed_while_read"
    assert f"items-0{extension} disappeared while the drop was read" in error.message


def test_a_manifest_that_disappears_while_the_drop_is_read_fails_the_import(drop: Path, out: Path) -> None:
    write_items(drop, ".parquet", list(range(100)))
    (drop / "manifest.json").write_text('{"items": ["items-0.parquet"]}')
    assert meddled(drop, out, (drop / "manifest.json").unlink).details["file"] == "manifest.json"


def test_what_a_reader_says_of_a_damaged_file_comes_with_how_far_it_came(drop: Path, out: Path) -> None:
    rows = 3_000
    write_parquet(drop / "items-0.parquet", list(range(rows)), vectors(rows), title=[f"film {n}" for n in range(rows)])
    pq.write_table(pq.read_table(drop / "items-0.parquet"), drop / "items-0.parquet", row_group_size=1_000)
    whole = bytearray((drop / "items-0.parquet").read_bytes())
    at = pq.ParquetFile(drop / "items-0.parquet").metadata.row_group(2).column(0).data_page_offset
    whole[at : at + 40] = b"\xff" * 40
    (drop / "items-0.parquet").write_bytes(whole)
    with pytest.raises(DropError) as caught:
        imported(drop, out, limits=BatchLimits(rows=1_000))
    assert caught.value.reason == "drop.unreadable"
    assert "items-0.parquet cannot be read as Parquet after row 2000" in caught.value.message
    assert caught.value.details == {"file": "items-0.parquet", "row": 2_001}


def test_memory_that_is_not_there_is_told_as_a_piece_that_is_too_large(drop: Path) -> None:
    item = ItemFile(DropFile.at(drop, write_items(drop, ".txt", [1]).name))

    def read() -> None:
        with reading(item, "text") as place:
            place.rows = 7
            raise MemoryError

    with pytest.raises(DropError, match=r"items-0\.txt after row 7 holds a piece") as caught:
        read()
    assert (caught.value.reason, caught.value.owner) == ("drop.too_large", "user")
