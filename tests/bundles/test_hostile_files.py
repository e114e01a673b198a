"""Files that lie, crash readers or lead elsewhere: each is refused with its reason, and nothing is allocated for it."""

from __future__ import annotations

import io
import os
import pickle
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles.errors import DropError
from bundles.importing import import_items
from bundles.schema import ImportSchema
from tests.bundles.making import INT64, TEXT, complete, imported, opened, vectors, with_attributes, write_parquet

MIB = 1 << 20
IMPORT_GROWTH_BYTES_MAX = 300 * MIB


class Bomb:
    """Would leave a trace when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/recall-unpickled",)


def fails(drop: Path, out: Path, schema: ImportSchema = INT64) -> DropError:
    with pytest.raises(DropError) as caught:
        imported(drop, out, schema)
    return caught.value


def npy(header: str, payload: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header.encode() + payload


@pytest.mark.parametrize("name", ["items.npy", "ids.npy"])
def test_a_pickled_npy_is_never_loaded(drop: Path, out: Path, name: str) -> None:
    trace = Path("/tmp/recall-unpickled")
    trace.unlink(missing_ok=True)
    np.save(drop / "items.npy", vectors(2))
    np.save(drop / "ids.npy", np.arange(2))
    np.save(drop / name, np.array([Bomb(), Bomb()], dtype=object), allow_pickle=True)
    assert fails(drop, out).reason == "drop.unsafe_npy"
    (drop / name).write_bytes(pickle.dumps(Bomb()))
    assert fails(drop, out).reason == "drop.unsafe_npy"
    assert not trace.exists()


LYING = {
    "a shape of terabytes": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 4), }\n"),
    "a shape of too few rows": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }\n", b"\0" * 32),
    "a shape of too many rows": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9, 4), }\n", b"\0" * 32),
    "a negative shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -4), }\n", b"\0" * 32),
    "no shape": npy("{'descr': '<f4', 'fortran_order': False, }\n"),
    "a type of nonsense": npy("{'descr': 'zz', 'fortran_order': False, 'shape': (2, 4), }\n"),
    "code": npy("__import__('os').system('touch /tmp/recall-unpickled')\n"),
    "an endless header": npy("{'descr': '<f4'," + " " * 60_000),
    "a deep header": npy("(" * 9_000),
    "an open text": npy("{'descr': '''<f4\n"),
    "a header of no length": b"\x93NUMPY\x01\x00",
    "an unknown version": npy("{}", version=b"\x09\x00"),
    "text": b"id,v0\n",
    "nothing": b"",
}


@pytest.mark.parametrize("lie", LYING)
def test_a_lying_npy_header_is_refused(drop: Path, out: Path, lie: str) -> None:
    (drop / "items.npy").write_bytes(LYING[lie])
    np.save(drop / "ids.npy", np.arange(2))
    assert fails(drop, out).reason in {"drop.unreadable", "drop.bad_column_type"}
    assert not Path("/tmp/recall-unpickled").exists()


def test_an_npz_is_no_npy(drop: Path, out: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("items.npy", b"\0" * MIB)
    (drop / "items.npy").write_bytes(archive.getvalue())
    np.save(drop / "ids.npy", np.arange(2))
    assert fails(drop, out).reason == "drop.unreadable"


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_what_is_not_parquet_is_refused(drop: Path, out: Path, content: bytes) -> None:
    (drop / "items-0.parquet").write_bytes(content)
    error = fails(drop, out)
    assert (error.reason, error.details["file"]) == ("drop.unreadable", "items-0.parquet")


def test_a_parquet_file_that_was_cut_short_is_refused(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", list(range(100)), vectors(100))
    whole = (drop / "items-0.parquet").read_bytes()
    (drop / "items-0.parquet").write_bytes(whole[: len(whole) // 2])
    assert fails(drop, out).reason == "drop.unreadable"


def test_damaged_parquet_is_imported_or_refused_but_never_worse(drop: Path, out: Path) -> None:
    schema = with_attributes(("title", "string"), ("genre", "list<string>"))
    write_parquet(
        drop / "items-0.parquet",
        list(range(100)),
        vectors(100),
        title=[f"film {index}" for index in range(100)],
        genre=[["sf"]] * 100,
    )
    whole = (drop / "items-0.parquet").read_bytes()
    chance = random.Random(7)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        (drop / "items-0.parquet").write_bytes(damaged)
        try:
            outcomes.add(imported(drop, out, schema).report.rows)
        except DropError as error:
            outcomes.add(error.reason)
    assert "drop.unreadable" in outcomes
    assert outcomes <= {
        *(100, "drop.unreadable", "drop.dimension_mismatch", "drop.missing_column", "drop.empty"),
        *("drop.bad_column_type", "drop.bad_id_type", "drop.too_large"),
    }


def test_text_that_is_not_utf8_costs_its_row(drop: Path, out: Path) -> None:
    octets = pa.array([b"good", b"\xff\xfe", b"fine"])
    damaged = pa.Array.from_buffers(pa.string(), 3, octets.buffers())
    write_parquet(drop / "items-0.parquet", damaged, vectors(3))
    assert imported(drop, out, TEXT).report.reasons == {"bad_id": 1}
    write_parquet(drop / "items-0.parquet", [1, 2, 3], vectors(3), title=damaged)
    assert imported(drop, out, with_attributes(("title", "string"))).ids == [1, 3]


def test_lists_that_are_far_too_long_are_refused_by_the_footer(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1, 2], [[1.0] * 4, [0.0] * 100_000])
    assert fails(drop, out).reason == "drop.dimension_mismatch"
    write_parquet(drop / "items-0.parquet", [1], vectors(1), genre=[["sf"] * 2_000])
    assert fails(drop, out, with_attributes(("genre", "list<string>"))).reason == "drop.too_large"


def test_one_long_list_among_many_costs_its_row(drop: Path, out: Path) -> None:
    genres = [["sf"]] * 99 + [["sf"] * 2_000]
    write_parquet(drop / "items-0.parquet", list(range(100)), vectors(100), genre=genres)
    found = imported(drop, out, with_attributes(("genre", "list<string>")))
    assert found.report.reasons == {"bad_attribute": 1}


def limited_import(drop: Path, out: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` after an import's modules are loaded, with memory for a batch and little more."""
    program = f"""
import resource, sys
from pathlib import Path
from bundles.importing import import_items
from bundles.drop import open_drop
from bundles.errors import DropError
from bundles.schema import ImportSchema
used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + {IMPORT_GROWTH_BYTES_MAX},) * 2)
drop, out = open_drop(Path({str(drop.parent)!r}), {drop.name!r}), Path({str(out)!r})
{code}
"""
    # Arrow's own pool reserves a GiB of addresses at its first allocation, and the C library an arena per thread:
    # the limit would count both.
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_a_long_text_repeated_in_each_row_is_measured_before_it_is_expanded(drop: Path, out: Path) -> None:
    rows = 20_000
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * MIB]))
    flat = pa.array(np.ones(4 * rows, np.float32))
    table = pa.table({"id": range(rows), "vector": pa.FixedSizeListArray.from_arrays(flat, 4), "title": words})
    pq.write_table(table, drop / "items-0.parquet")
    assert (drop / "items-0.parquet").stat().st_size < 2 * MIB
    complete(drop)
    code = """
try:
    import_items(drop, ImportSchema("int64", 4, "ip", attributes=(("title", "string"),)), out)
except DropError as error:
    print(error.reason, error.details["report"]["reasons"])
"""
    done = limited_import(drop, out, code)
    assert done.stdout.strip() == "drop.empty {'bad_attribute': 20000}", done.stderr


def test_memory_does_not_grow_with_the_drop(drop: Path, out: Path) -> None:
    """317 MiB of vectors, imported with less memory than they take."""
    rows, dimension = 1_300_000, 64
    flat = pa.array(np.ones(100_000 * dimension, np.float32))
    column = pa.FixedSizeListArray.from_arrays(flat, dimension)
    schema = pa.schema([("id", pa.int64()), ("vector", column.type)])
    with pq.ParquetWriter(drop / "items-0.parquet", schema) as writer:
        for start in range(0, rows, 100_000):
            writer.write_table(pa.table([pa.array(range(start, start + 100_000)), column], schema=schema))
    complete(drop)
    code = f"""
report = import_items(drop, ImportSchema("int64", {dimension}, "ip"), out)
print(report.items)
"""
    done = limited_import(drop, out, code)
    assert done.stdout.strip() == str(rows), done.stderr
    assert (out / "vectors.npy").stat().st_size > IMPORT_GROWTH_BYTES_MAX
    (out / "vectors.npy").unlink()


def test_a_file_that_is_cut_short_while_it_is_read_does_not_kill_the_process(drop: Path, out: Path) -> None:
    np.save(drop / "items.npy", np.ones((300_000, 4), np.float32))
    np.save(drop / "ids.npy", np.arange(300_000))
    found = opened(drop)

    def cut(_done: int, _expected: int) -> None:
        os.truncate(drop / "items.npy", 4_096)

    with pytest.raises(DropError) as caught:
        import_items(found, INT64, out, progress=cut)
    assert caught.value.reason == "drop.changed_while_read"
