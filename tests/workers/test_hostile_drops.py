"""Small files that would decode to hundreds of megabytes: the import's own process refuses them within its cap."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.conf import settings

from bundles.drop import open_drop
from bundles.places import Source
from catalog.models import Service
from tests.factories import make_service
from tests.support.history import asked, refreshed
from tests.workers.conftest import finish
from versions.models import Build
from workers.steps import import_items

MIB = 1 << 20
# What an import may hold, and what the tests' bombs decode to.
CAP_BYTES = 320 * MIB
DECODED_BYTES = 320 * MIB
BOMB_FILE_BYTES_MAX = 2 * MIB
SCHEMA: dict[str, Any] = {"id_type": "int64", "dimension": 4, "metric": "ip"}
WIDE = 4_096
SECONDS_MAX = 300
# The import as a build runs it, and after it the most memory that it held; the system's own account of a process that
# has ended would count what its parent held when it was started.
PROGRAM = """
import re, sys
from pathlib import Path
from workers.children.importing import work
from workers.children.program import run
code = run(work, sys.argv[1:])
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(int(peak[1]) * 1024, flush=True)
sys.exit(code)
"""
PACKED: dict[str, Any] = {"compression": "zstd", "write_statistics": False, "data_page_size": 1 << 30}


def vector(rows: int = 1) -> pa.Array:
    return pa.array([[1.0, 2.0, 3.0, 4.0]] * rows, pa.list_(pa.float32()))


def one_long_text(folder: Path) -> None:
    text = pa.array(["x" * DECODED_BYTES], pa.large_string())
    table = pa.table({"id": [1], "vector": vector(), "title": text})
    pq.write_table(table, folder / "items-0.parquet", use_dictionary=False, **PACKED)


def one_long_word_of_a_dictionary(folder: Path) -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int32()), pa.array(["x" * DECODED_BYTES]))
    table = pa.table({"id": [1, 2], "vector": vector(2), "title": words})
    pq.write_table(table, folder / "items-0.parquet", dictionary_pagesize_limit=1 << 30, **PACKED)


def one_page_of_vectors(folder: Path) -> None:
    rows = DECODED_BYTES // 4 // WIDE
    wide = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(rows * WIDE, np.float32)), WIDE)
    options = {"use_dictionary": False, "max_rows_per_page": rows, **PACKED}
    pq.write_table(pa.table({"id": range(rows), "vector": wide}), folder / "items-0.parquet", **options)


def one_list_of_many_texts(folder: Path) -> None:
    rows, words = 200_000, DECODED_BYTES // 10
    offsets = pa.array([*range(rows), rows - 1 + words], pa.int64())
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows - 1 + words, np.int32)), pa.array(["x"]))
    lists = pa.LargeListArray.from_arrays(offsets, texts)
    ids = pa.array(range(rows))
    ones = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(4 * rows, np.float32)), 4)
    table = pa.table({"id": ids, "vector": ones, "genre": lists})
    pq.write_table(table, folder / "items-0.parquet", **PACKED)


BOMBS: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "text": (one_long_text, {"attributes": [{"name": "title", "type": "string"}]}),
    "dictionary": (one_long_word_of_a_dictionary, {"attributes": [{"name": "title", "type": "string"}]}),
    "vectors": (one_page_of_vectors, {"dimension": WIDE}),
    "list": (one_list_of_many_texts, {"attributes": [{"name": "genre", "type": "list<string>"}]}),
}


def endless_line(extension: str, start: str, middle: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with (folder / f"items-0{extension}").open("w") as file:
            file.write(start)
            for _ in range(DECODED_BYTES // MIB):
                file.write(middle * (MIB // len(middle)))

    return make


ENDLESS = {
    "jsonl": (
        endless_line(".jsonl", '{"id": 1, "vector": [1, 2, 3, 4]}\n{"id": 2, "vector": [', "1,"),
        [1, "bad_line"],
    ),
    "txt": (endless_line(".txt", "1 1 2 3 4\n2 ", "1 "), [1, "bad_line"]),
    "csv": (endless_line(".csv", "id,v0,v1,v2,v3\n1,1,2,3,4\n2,", "1"), "drop.unreadable"),
    "csv header": (endless_line(".csv", "", "id,"), "drop.unreadable"),
}


def imported(folder: Path, make: Callable[[Path], None], schema: dict[str, Any]) -> tuple[dict[str, Any], int, int]:
    """The child's last word about one drop, the most memory that it held, and the size of the drop's files."""
    drop, out = folder / "source" / "1", folder / "out"
    drop.mkdir(parents=True)
    out.mkdir()
    make(drop)
    opened = open_drop(drop.parent, "1", files=["items-*"], allow_unmarked=True)
    order = {
        "source": Source("file:source/", "films", str(folder), "").to_dict(),
        "spool": str(folder / "spool"),
        "previous_spool": "",
        "drop": "1",
        "fingerprint": opened.fingerprint,
        "files": ["items-*"],
        "allow_unmarked": True,
        "schema": {**SCHEMA, **schema},
        "columns": {},
        "partitions": 1,
        "out_dir": str(out),
        "nice": 0,
        "cpus": 1,
        "memory_bytes_max": CAP_BYTES,
        "parent_pid": os.getpid(),
    }
    (folder / "order.json").write_text(json.dumps(order))
    command = [sys.executable, "-c", PROGRAM, str(folder / "order.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    shutil.rmtree(out)
    shutil.rmtree(drop)
    lines = done.stdout.splitlines()
    assert len(lines) >= 2, done.stderr
    return json.loads(lines[-2]), int(lines[-1]), opened.bytes


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_within_the_cap_and_its_file_is_named(tmp_path, kind):
    make, schema = BOMBS[kind]
    said, peak_bytes, size = imported(tmp_path, make, schema)
    assert size < BOMB_FILE_BYTES_MAX
    assert peak_bytes < CAP_BYTES, said
    error = said["error"]
    assert (error["reason"], error["owner"]) == ("drop.too_large", "user"), error
    assert "items-0.parquet" in error["message"]


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_line_without_an_end_costs_no_memory(tmp_path, kind):
    make, expected = ENDLESS[kind]
    said, peak_bytes, size = imported(tmp_path, make, {})
    assert size >= DECODED_BYTES - MIB
    assert peak_bytes < CAP_BYTES, said
    if isinstance(expected, str):
        assert said["error"]["reason"] == expected, said
        assert "items-0.csv" in said["error"]["message"]
    else:
        assert [said["report"]["items"], *said["report"]["reasons"]] == expected


def good(folder: Path) -> None:
    """Sixty items with a title."""
    ids = pa.array(range(60))
    vectors = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 4)
    table = pa.table({"id": ids, "vector": column, "title": [f"film {each}" for each in range(60)]})
    pq.write_table(table, folder / "items-0.parquet")


def empty(folder: Path) -> None:
    (folder / "items-0.parquet").write_bytes(b"")


def cut_short(folder: Path) -> None:
    good(folder)
    whole = (folder / "items-0.parquet").read_bytes()
    (folder / "items-0.parquet").write_bytes(whole[:-20])


def text_ids(folder: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "vector": vector(), "title": [""]}), folder / "items-0.parquet")


def another_type_later(folder: Path) -> None:
    good(folder)
    pq.write_table(pa.table({"id": [99], "vector": ["[1,2,3,4]"], "title": [""]}), folder / "items-1.parquet")


def ragged(folder: Path) -> None:
    rows = [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0], [], [1.0] * 5]
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "vector": rows, "title": [""] * 4}), folder / "items-0.parquet")


def every_item_twice(folder: Path) -> None:
    good(folder)
    shutil.copy(folder / "items-0.parquet", folder / "items-1.parquet")


HURT: tuple[tuple[Callable[[Path], None], str, str], ...] = (
    (one_long_text, "drop.too_large", "items-0.parquet"),
    (empty, "drop.unreadable", "items-0.parquet"),
    (cut_short, "drop.unreadable", "items-0.parquet"),
    (text_ids, "drop.bad_id_type", "items-0.parquet"),
    (another_type_later, "drop.bad_column_type", "items-1.parquet"),
    (ragged, "guard.max_bad_row_percent", "3 wrong_dimension"),
    (every_item_twice, "guard.max_bad_row_percent", "60 duplicate_id"),
)


@pytest.fixture
def movies(films, folders) -> Service:
    schema = {**SCHEMA, "attributes": [{"name": "title", "type": "string"}]}
    return make_service(films, schema=schema, guards={"max_drop_percent": None})


def delivered(service: Service, name: str, make: Callable[[Path], None]) -> Path:
    folder = Path(settings.RECALL_DROPS) / service.tenant.name / service.name / name
    folder.mkdir(parents=True)
    make(folder)
    (folder / "_SUCCESS").touch()
    return folder


@pytest.mark.django_db(transaction=True)
@pytest.mark.servers
def test_no_bad_drop_touches_what_is_live(movies, node, monkeypatch):
    monkeypatch.setattr(settings, "BUILD_MEMORY_BYTES_MAX", CAP_BYTES)
    delivered(movies, "0", good)
    assert finish(asked(movies)).state == "SUCCEEDED"
    live = (refreshed(movies).live_version, refreshed(movies).live_generation, list(node.placed))
    for number, (make, reason, named) in enumerate(HURT, start=1):
        delivered(movies, str(number), make)
        build = finish(asked(movies))
        expected = "HELD" if reason.startswith("guard.") else "FAILED"
        assert (build.state, build.error_reason, build.error_owner) == (expected, reason, "user"), make.__name__
        assert named in build.error_message
        assert (refreshed(movies).live_version, refreshed(movies).live_generation, list(node.placed)) == live
    held = Build.objects.get(service=movies, state="HELD")
    assert held.report["import"]["bad"][0] == {"file": "items-1.parquet", "row": 1, "reason": "duplicate_id", "id": 0}


@pytest.mark.django_db(transaction=True)
def test_a_drop_that_disappears_before_its_import_fails_its_build(movies, valkey, monkeypatch):
    folder = delivered(movies, "1", good)
    begin = import_items._import
    monkeypatch.setattr(import_items, "_import", lambda ctx: shutil.rmtree(folder) or begin(ctx))
    build = finish(asked(movies))
    assert (build.state, build.error_reason, build.error_owner) == ("FAILED", "drop.not_found", "user")
    assert "`1`" in build.error_message
    assert not any(Path(settings.RECALL_ARTIFACTS).rglob("*"))
