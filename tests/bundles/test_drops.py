"""Which drops a source holds, and what belongs to one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bundles.drop import count_rows, list_drops, newest_complete, open_drop
from bundles.errors import DropError
from bundles.files import DropFile
from bundles.manifest import MANIFEST_BYTES_MAX
from tests.bundles.making import complete, opened, vectors, write_parquet


def reason_of(caught: pytest.ExceptionInfo[DropError]) -> str:
    assert caught.value.owner == "user"
    return caught.value.reason


def test_the_newest_drop_is_the_one_with_the_greatest_name(source: Path) -> None:
    for name in ("2026-11-20", "2026-11-21", "2026-11-19"):
        (source / name).mkdir()
        complete(source / name)
    (source / "2026-11-22").mkdir()
    assert [drop.name for drop in list_drops(source)] == ["2026-11-22", "2026-11-21", "2026-11-20", "2026-11-19"]
    assert newest_complete(source).name == "2026-11-21"


def test_newer_drops_that_are_not_complete_are_told(source: Path) -> None:
    for name in ("20261120", "20261121"):
        (source / name).mkdir()
        complete(source / name)
    assert newest_complete(source).skipped == ()
    (source / "20261122-314").mkdir()
    found = newest_complete(source)
    assert found.name == "20261121"
    assert found.skipped == ("20261122-314 is newer but has no manifest.json or _SUCCESS",)
    for number in range(5):
        (source / f"20261123-{number}").mkdir()
    told = newest_complete(source).skipped
    assert [each.partition(" ")[0] for each in told] == ["20261123-4", "20261123-3", "20261123-2", "3"]
    assert told[-1] == "3 more are newer but have no marker"


def test_links_files_and_hidden_folders_are_no_drops(source: Path, drop: Path) -> None:
    complete(drop)
    (source / "zz-latest").symlink_to(drop)
    (source / "readme.txt").touch()
    for name in ("_temporary", ".staging"):
        (source / name).mkdir()
        complete(source / name)
    assert [each.name for each in list_drops(source)] == ["2026-11-21"]


def test_a_source_with_a_marker_of_its_own_is_one_drop(source: Path) -> None:
    write_parquet(source / "items-0.parquet", [1], vectors(1))
    complete(source)
    assert newest_complete(source).name == "films"
    assert open_drop(source, "films").item_files[0].name == "items-0.parquet"


def test_a_marker_that_is_a_link_or_a_folder_marks_nothing(source: Path, drop: Path) -> None:
    (drop / "_SUCCESS").symlink_to("/dev/null")
    (drop / "manifest.json").mkdir()
    with pytest.raises(DropError) as caught:
        newest_complete(source)
    assert reason_of(caught) == "drop.incomplete"


def test_it_says_when_there_is_no_folder_and_no_drop(source: Path) -> None:
    for path in (source / "nowhere", source):
        with pytest.raises(DropError) as caught:
            newest_complete(path)
        assert reason_of(caught) == "drop.not_found"


def test_an_unmarked_drop_is_read_only_when_asked_for_by_hand(drop: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    with pytest.raises(DropError) as caught:
        open_drop(drop.parent, drop.name)
    assert reason_of(caught) == "drop.incomplete"
    assert open_drop(drop.parent, drop.name, allow_unmarked=True).item_files[0].name == "items-0.parquet"


def test_a_plain_folder_of_files_can_be_read_by_hand(source: Path) -> None:
    write_parquet(source / "items-0.parquet", [1], vectors(1))
    assert open_drop(source, "films", allow_unmarked=True).path == source


@pytest.mark.parametrize("name", ["", ".", "..", "../films", "2026-11-21/", "nothing"])
def test_a_name_that_is_not_listed_is_not_found(drop: Path, name: str) -> None:
    complete(drop)
    with pytest.raises(DropError) as caught:
        open_drop(drop.parent, name)
    assert reason_of(caught) == "drop.not_found"


def test_the_manifest_says_which_files_hold_the_items(drop: Path) -> None:
    for name in ("a.parquet", "b.parquet", "items-0.parquet"):
        write_parquet(drop / name, [1], vectors(1))
    complete(drop, items=["b.parquet", "?.parquet"], count=2, model_version="mind-7")
    found = opened(drop)
    assert [item.name for item in found.item_files] == ["a.parquet", "b.parquet"]
    assert (found.count, found.model_version) == (2, "mind-7")


@pytest.mark.parametrize("absent", ["items-1.parquet", "more-*.parquet", "part=1/items-1.parquet"])
def test_a_file_that_the_manifest_names_must_be_there(drop: Path, absent: str) -> None:
    """Else a training job that lost a part of its output would replace all items by the other part."""
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    (drop / "items-1.parquet.tmp").touch()
    complete(drop, items=["items-0.parquet", absent])
    with pytest.raises(DropError) as caught:
        opened(drop)
    assert reason_of(caught) == "drop.incomplete"
    assert caught.value.message == f"{absent} is named in manifest.json and is not in the drop."
    assert caught.value.details["missing"] == [absent]


def test_a_folder_is_not_the_file_that_the_manifest_names(drop: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    (drop / "items-1.parquet").mkdir()
    complete(drop, items=["items-0.parquet", "items-1.parquet"])
    with pytest.raises(DropError, match=r"items-1\.parquet is named") as caught:
        opened(drop)
    assert reason_of(caught) == "drop.incomplete"


def test_of_many_missing_files_the_first_are_named_and_the_others_counted(drop: Path) -> None:
    complete(drop, items=[f"items-{number}.parquet" for number in range(8)])
    with pytest.raises(DropError, match=r"^items-0.* items-4\.parquet is named .* And 3 more\.$") as caught:
        opened(drop)
    assert len(caught.value.details["missing"]) == 8


def test_ids_that_the_manifest_names_must_be_there_too(drop: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    complete(drop, items=["items-0.parquet"], ids=["ids.npy"])
    with pytest.raises(DropError, match=r"ids\.npy is named in manifest\.json") as caught:
        opened(drop)
    assert reason_of(caught) == "drop.incomplete"


def test_the_patterns_of_a_source_stand_for_one_another(drop: Path) -> None:
    write_parquet(drop / "part-0.parquet", [1], vectors(1))
    assert len(opened(drop, files=["items-*.parquet", "part-*.parquet"]).item_files) == 1


def test_a_name_with_brackets_is_a_name_first(drop: Path) -> None:
    write_parquet(drop / "items[1].parquet", [1], vectors(1))
    complete(drop, items=["items[1].parquet"])
    assert [item.name for item in opened(drop).item_files] == ["items[1].parquet"]


def test_patterns_reach_into_folders_but_not_out_of_the_drop(drop: Path) -> None:
    (drop / "part=1").mkdir()
    write_parquet(drop / "part=1" / "x.parquet", [1], vectors(1))
    complete(drop, items=["part=*/*.parquet"])
    assert [item.name for item in opened(drop).item_files] == ["part=1/x.parquet"]


def test_spark_s_files_are_read_as_they_are(drop: Path) -> None:
    write_parquet(drop / "part-00000-7f.c000.snappy.parquet", [1], vectors(1))
    assert [item.name for item in opened(drop, files=["part-*.parquet"]).item_files] == [
        "part-00000-7f.c000.snappy.parquet"
    ]


def test_a_drop_without_items_says_what_it_looked_for(drop: Path) -> None:
    with pytest.raises(DropError, match="no file matches items-") as caught:
        opened(drop, files=["items-*.parquet"])
    assert reason_of(caught) == "drop.empty"


@pytest.mark.parametrize(
    "manifest",
    [
        {"count": 1},
        {"items": []},
        {"items": "items.parquet"},
        {"items": [1]},
        {"items": ["../../etc/passwd"]},
        {"items": ["/etc/passwd"]},
        {"items": ["a//b.parquet"]},
        {"items": ["x" * 1_000]},
        {"items": ["*.parquet"] * 101},
        {"items": ["*.parquet"], "count": -1},
        {"items": ["*.parquet"], "count": True},
        {"items": ["*.parquet"], "count": 1.5},
        {"items": ["*.parquet"], "model_version": 7},
        {"items": ["*.parquet"], "model_version": "v" * 300},
        {"items": ["*.parquet"], "queries": "../queries.parquet"},
        {"items": ["*.parquet"], "queries": ["queries.parquet"]},
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(drop: Path, manifest: dict[str, Any]) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    complete(drop, **manifest)
    with pytest.raises(DropError) as caught:
        opened(drop)
    assert reason_of(caught) == "drop.bad_manifest"


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"1" * (MANIFEST_BYTES_MAX + 1)])
def test_a_manifest_that_is_no_json_object_is_refused(drop: Path, payload: bytes) -> None:
    (drop / "manifest.json").write_bytes(payload)
    with pytest.raises(DropError) as caught:
        opened(drop)
    assert reason_of(caught) == "drop.bad_manifest"


def test_keys_of_later_versions_are_left_alone(drop: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    complete(drop, items=["items-0.parquet"], query_model="query_model.onnx", made_by="spark")
    assert opened(drop).count is None


def test_an_item_file_that_is_a_link_is_refused(drop: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "secret.parquet", [1], vectors(1))
    (drop / "items-0.parquet").symlink_to(tmp_path / "secret.parquet")
    with pytest.raises(DropError) as caught:
        opened(drop)
    assert reason_of(caught) == "drop.unsafe_path"


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(drop: Path) -> None:
    os.mkfifo(drop / "items-0.parquet")
    with pytest.raises(DropError) as caught:
        opened(drop)
    assert reason_of(caught) == "drop.unsafe_path"


def test_a_folder_that_became_a_link_after_the_listing_is_not_followed(drop: Path, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    for folder in (drop, tmp_path / "private"):
        (folder / "items-0.parquet").write_bytes(b"same size")
        os.utime(folder / "items-0.parquet", ns=(1, 1))
    file = DropFile.at(drop, "items-0.parquet")
    drop.rename(drop.with_name("aside"))
    drop.symlink_to(tmp_path / "private")
    with pytest.raises(DropError) as caught:
        file.open()
    assert reason_of(caught) == "drop.unsafe_path"


def test_the_fingerprint_is_the_same_for_the_same_drop(drop: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    complete(drop, items=["items-0.parquet"])
    (drop / "notes.txt").write_text("not a part of the drop")
    first = opened(drop).fingerprint
    (drop / "notes.txt").write_text("changed")
    assert opened(drop).fingerprint == first
    assert len(first) == 64


@pytest.mark.parametrize("change", ["content", "time", "another file", "manifest", "queries"])
def test_the_fingerprint_changes_with_the_drop(drop: Path, change: str) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1))
    complete(drop, items=["items-*.parquet"])
    first = opened(drop).fingerprint
    if change == "content":
        write_parquet(drop / "items-0.parquet", [1, 2], vectors(2))
    elif change == "time":
        os.utime(drop / "items-0.parquet", ns=(1, 1))
    elif change == "another file":
        write_parquet(drop / "items-1.parquet", [2], vectors(1))
    elif change == "manifest":
        (drop / "manifest.json").write_text(json.dumps({"items": ["items-*.parquet"], "count": 1}))
    else:
        write_parquet(drop / "queries.parquet", [1], vectors(1))
    assert opened(drop).fingerprint != first


def test_rows_are_counted_from_the_files_headers(drop: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1, 2], vectors(2))
    write_parquet(drop / "items-1.parquet", [3], vectors(1))
    assert count_rows(opened(drop)) == 3
    (drop / "items.csv").write_text("id,v0\n1,2\n")
    assert count_rows(opened(drop)) is None


def test_a_file_of_no_known_format_is_refused(drop: Path) -> None:
    (drop / "items.orc").touch()
    complete(drop, items=["items.orc"])
    with pytest.raises(DropError, match="no extension that is read here") as caught:
        opened(drop)
    assert reason_of(caught) == "drop.unreadable"
