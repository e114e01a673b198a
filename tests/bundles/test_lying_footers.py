"""Parquet whose footer lies: each number in it in turn is another one, and nothing is believed that costs memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = 1_234
MIB = 1 << 20
GROWTH_BYTES_MAX = 300 * MIB
LIES = (0, ROWS - 1, ROWS + 1, 2**31, 2**62, -1)

# Imports each file of a folder with little memory and says what came of it.
PROGRAM = f"""
import json, resource, sys
from pathlib import Path
from bundles.drop import open_drop
from bundles.errors import DropError
from bundles.importing import import_items
from bundles.schema import ImportSchema
used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + {GROWTH_BYTES_MAX},) * 2)
source, out = Path(sys.argv[1]), Path(sys.argv[2])
for name in sorted(path.name for path in source.iterdir()):
    try:
        report = import_items(open_drop(source, name), ImportSchema("int64", 4, "ip"), out)
        said = [report.rows, report.items]
    except DropError as error:
        said = [error.reason, error.details.get("file", "")]
    print(json.dumps([name, said]), flush=True)
"""


def number(value: int) -> bytes:
    """As Thrift's compact protocol writes an i64."""
    zigzag = ((value << 1) ^ (value >> 63)) & (2**64 - 1)
    octets = b""
    while zigzag > 0x7F:
        octets += bytes([zigzag & 0x7F | 0x80])
        zigzag >>= 7
    return octets + bytes([zigzag])


def lying(whole: bytes, places: list[int], truth: int, lie: int) -> bytes:
    """The file with `lie` instead of `truth` at some of the places in its footer where that stands."""
    length = int.from_bytes(whole[-8:-4], "little")
    footer = whole[-8 - length : -8].split(number(truth))
    told = [number(lie if place in places else truth) for place in range(len(footer) - 1)] + [b""]
    patched = b"".join(part + octets for part, octets in zip(footer, told, strict=True))
    return whole[: -8 - length] + patched + len(patched).to_bytes(4, "little") + whole[-4:]


def truths(file: Path) -> dict[str, int]:
    group = pq.ParquetFile(file).metadata.row_group(0)
    vector = group.column(1)
    return {
        "rows": ROWS,
        "values": vector.num_values,
        "bytes": vector.total_compressed_size,
        "decoded": vector.total_uncompressed_size,
        "offset": vector.data_page_offset,
    }


@pytest.fixture
def lies(source: Path, tmp_path: Path) -> Path:
    """A folder of drops, each with one lie; the lie `all` is told wherever the number of rows stands."""
    file = tmp_path / "true.parquet"
    flat = pa.array(np.random.default_rng(1).standard_normal(4 * ROWS).astype(np.float32))
    vector = pa.FixedSizeListArray.from_arrays(flat, 4).cast(pa.list_(pa.float32()))
    options = {"use_dictionary": False, "write_statistics": False, "store_schema": False, "compression": "zstd"}
    pq.write_table(pa.table({"id": range(ROWS), "vector": vector}), file, **options)
    whole = file.read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")
    for name, truth in truths(file).items():
        count = whole[-8 - length : -8].count(number(truth))
        assert count, f"{name} does not stand in the footer"
        for lie in LIES:
            for place in range(count):
                write(source / f"{name} {place} {lie}", lying(whole, [place], truth, lie))
            if count > 1:
                write(source / f"{name} all {lie}", lying(whole, list(range(count)), truth, lie))
    write(source / "nothing", whole)
    return source


def write(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "items-0.parquet").write_bytes(content)
    (folder / "_SUCCESS").touch()


def test_a_footer_that_lies_is_found_out_or_harmless(lies: Path, out: Path) -> None:
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", PROGRAM, str(lies), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert (done.returncode, found["nothing"], len(found)) == (0, [ROWS, ROWS], len(list(lies.iterdir()))), done.stderr
    refused = {name: said for name, said in found.items() if isinstance(said[0], str)}
    assert len(refused) > len(found) / 3
    reasons = {"drop.unreadable", "drop.dimension_mismatch", "drop.too_large", "drop.empty"}
    assert {reason for reason, _ in refused.values()} <= reasons
    assert {file for reason, file in refused.values() if reason == "drop.unreadable"} == {"items-0.parquet"}
    # What was imported is the rows that are there; a footer that says throughout that there are fewer is believed.
    for name, said in found.items():
        if name not in refused:
            what, place, lie = name.split() if " " in name else (name, "", "0")
            assert said[0] in (ROWS, int(lie) if (what, place) == ("rows", "all") else ROWS), (name, said)
