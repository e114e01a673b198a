"""An artifact is published whole, and opened only when every byte is the one that was published."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles.artifact import Published, open_artifact, publish
from bundles.errors import ArtifactError
from bundles.importing import import_items
from bundles.schema import ImportSchema
from tests.bundles.making import DIMENSION, opened, vectors, write_parquet

FLIPS = 400
ROWS = 30


@dataclass(frozen=True)
class Made:
    """A published artifact with text ids and attributes."""

    published: Published
    vectors: Any

    @property
    def path(self) -> Path:
        return self.published.path

    def reopen(self) -> None:
        open_artifact(self.path, self.published.manifest_sha256)

    def files(self) -> list[Path]:
        return sorted(path for path in self.path.rglob("*") if path.is_file())

    def refusal(self) -> str:
        with pytest.raises(ArtifactError) as caught:
            self.reopen()
        assert caught.value.owner == "platform"
        return caught.value.reason


def work_folder(drop: Path, out: Path, id_type: str = "string") -> dict[str, Any]:
    """Imports a small drop into `out`, adds what a build adds, and returns the manifest to publish it with."""
    ids: list[Any] = [f"film-{index}" if id_type == "string" else 10 * index for index in range(ROWS)]
    years = [1970 + index for index in range(ROWS)]
    searchable = [index % 5 != 0 for index in range(ROWS)]
    write_parquet(drop / "items-0.parquet", ids, vectors(ROWS), year=years, searchable=searchable)
    schema = ImportSchema(id_type, DIMENSION, "ip", attributes=(("year", "int64"),))
    report = import_items(opened(drop), schema, out)
    np.save(out / "queries.npy", vectors(5))
    np.save(out / "known_queries.npy", vectors(3))
    np.save(out / "known_rows.npy", np.zeros((3, 10), np.int64))
    (out / "index" / "deep").mkdir(parents=True)
    (out / "index" / "deep" / "graph.bin").write_bytes(b"graph" * 100)
    return {
        "items": report.items,
        "searchable_items": report.searchable_items,
        "dimension": DIMENSION,
        "metric": "ip",
        "queries_source": "items",
    }


@pytest.fixture
def made(drop: Path, out: Path, tmp_path: Path) -> Made:
    manifest = work_folder(drop, out)
    return Made(publish(out, tmp_path / "artifacts" / "films" / "v1", manifest), vectors(ROWS))


def test_publishing_moves_the_folder_and_lists_its_files(made: Made, out: Path) -> None:
    assert not out.exists()
    payload = (made.path / "manifest.json").read_bytes()
    manifest = json.loads(payload)
    assert manifest["format"] == 1
    assert made.published.manifest_sha256 == hashlib.sha256(payload).hexdigest()
    assert set(manifest["files"]) == {
        *("vectors.npy", "ids.arrow", "id_keys.npy", "id_rows.npy", "attributes.arrow", "queries.npy"),
        *("known_queries.npy", "known_rows.npy", "index/deep/graph.bin"),
    }
    assert made.published.bytes == sum(path.stat().st_size for path in made.files())


def test_an_opened_artifact_gives_back_what_was_imported(made: Made) -> None:
    artifact = open_artifact(made.path, made.published.manifest_sha256)
    rows = [index for index in range(ROWS) if index % 5] + list(range(0, ROWS, 5))
    assert (artifact.items, artifact.searchable_items, artifact.dimension) == (ROWS, 24, DIMENSION)
    assert (artifact.metric, artifact.id_type) == ("ip", "string")
    np.testing.assert_array_equal(artifact.vectors(), made.vectors[rows])
    assert artifact.ids.to_pylist() == [f"film-{index}" for index in rows]
    assert artifact.id_to_rows(["film-0", "nothing", "film-29"]).tolist() == [24, -1, 23]
    assert artifact.attributes is not None
    assert artifact.attributes.column("year").to_pylist() == [1970 + index for index in rows]
    queries, source = artifact.queries()
    assert (queries.shape, source) == ((5, DIMENSION), "items")
    known = artifact.known()
    assert known is not None
    assert (known[0].shape, known[1].shape) == ((3, DIMENSION), (3, 10))
    assert artifact.index_dir == made.path / "index"


def test_integer_ids_are_found_at_once(drop: Path, out: Path, tmp_path: Path) -> None:
    manifest = work_folder(drop, out, "int64")
    (out / "known_queries.npy").unlink()
    (out / "known_rows.npy").unlink()
    published = publish(out, tmp_path / "v1", manifest)
    artifact = open_artifact(published.path, published.manifest_sha256)
    assert artifact.id_to_rows(np.array([0, 5, 290, 10, -3])).tolist() == [24, -1, 23, 0, -1]
    assert artifact.ids[:3].tolist() == [10, 20, 30]
    assert artifact.known() is None


def test_one_flipped_bit_anywhere_is_refused(made: Made) -> None:
    chance = random.Random(11)
    files = made.files()
    sizes = [path.stat().st_size for path in files]
    for _ in range(FLIPS):
        path = chance.choices(files, sizes)[0] if chance.random() < 0.5 else chance.choice(files)
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        assert made.refusal() == "artifact.checksum_mismatch", path
        path.write_bytes(whole)
    made.reopen()


def test_a_file_that_is_cut_short_or_grew_is_refused(made: Made) -> None:
    for path in made.files():
        whole = path.read_bytes()
        for other in (whole[:-1], whole[: len(whole) // 2], b"", whole + b"\0"):
            path.write_bytes(other)
            expected = "artifact.checksum_mismatch" if path.name == "manifest.json" else "artifact.size_mismatch"
            assert made.refusal() == expected
        path.write_bytes(whole)
    made.reopen()


def test_two_files_that_changed_places_are_refused(made: Made) -> None:
    files = [path for path in made.files() if path.name != "manifest.json"]
    for index, first in enumerate(files):
        for second in files[index + 1 :]:
            swap(first, second)
            assert made.refusal() in {"artifact.size_mismatch", "artifact.checksum_mismatch"}
            swap(first, second)
    made.reopen()


def swap(first: Path, second: Path) -> None:
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def remove(path: Path) -> None:
    (path / "id_rows.npy").unlink()


def add(path: Path) -> None:
    (path / "index" / "extra.bin").touch()


def link(path: Path) -> None:
    shutil.copy(path / "vectors.npy", path.parent / "elsewhere.npy")
    (path / "vectors.npy").unlink()
    (path / "vectors.npy").symlink_to(path.parent / "elsewhere.npy")


def link_folder(path: Path) -> None:
    shutil.move(path / "index", path.parent / "index")
    (path / "index").symlink_to(path.parent / "index")


def pipe(path: Path) -> None:
    (path / "queries.npy").unlink()
    os.mkfifo(path / "queries.npy")


def link_manifest(path: Path) -> None:
    shutil.move(path / "manifest.json", path.parent / "manifest.json")
    (path / "manifest.json").symlink_to(path.parent / "manifest.json")


def remove_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (remove, "artifact.missing_file"),
        (add, "artifact.unlisted_file"),
        (link, "artifact.unsafe_path"),
        (link_folder, "artifact.unsafe_path"),
        (pipe, "artifact.unsafe_path"),
        (link_manifest, "artifact.unsafe_path"),
        (remove_manifest, "artifact.missing_file"),
        (shutil.rmtree, "artifact.not_found"),
    ],
)
def test_a_folder_that_is_not_what_was_published_is_refused(
    made: Made, harm: Callable[[Path], None], reason: str
) -> None:
    harm(made.path)
    assert made.refusal() == reason


def test_a_link_to_an_artifact_is_no_artifact(made: Made) -> None:
    (made.path.parent / "current").symlink_to(made.path)
    with pytest.raises(ArtifactError) as caught:
        open_artifact(made.path.parent / "current", made.published.manifest_sha256)
    assert caught.value.reason == "artifact.not_found"


def republished(made: Made, change: Callable[[dict[str, Any]], None]) -> str:
    """The reason for refusing a manifest that somebody wrote with its right checksum."""
    manifest = json.loads((made.path / "manifest.json").read_bytes())
    change(manifest)
    payload = json.dumps(manifest).encode()
    (made.path / "manifest.json").write_bytes(payload)
    with pytest.raises(ArtifactError) as caught:
        open_artifact(made.path, hashlib.sha256(payload).hexdigest())
    return caught.value.reason


@pytest.mark.parametrize("found", [0, 2, "1", None])
def test_a_format_that_is_not_known_is_refused(made: Made, found: Any) -> None:
    assert republished(made, lambda manifest: manifest.update(format=found)) == "artifact.unknown_format"


@pytest.mark.parametrize("key", ["items", "searchable_items", "dimension", "metric", "files"])
def test_a_manifest_without_a_key_is_refused(made: Made, key: str) -> None:
    def drop_key(manifest: dict[str, Any]) -> None:
        del manifest[key]

    assert republished(made, drop_key) == "artifact.bad_manifest"


@pytest.mark.parametrize("name", ["../v1/vectors.npy", "/etc/passwd", "index//graph.bin", ""])
def test_a_manifest_that_points_elsewhere_is_refused(made: Made, name: str) -> None:
    def point(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = manifest["files"]["vectors.npy"]

    assert republished(made, point) == "artifact.bad_manifest"


@pytest.mark.parametrize(
    "change", [{"items": ROWS + 1}, {"dimension": 5}, {"searchable_items": ROWS + 1}, {"items": ""}]
)
def test_a_manifest_whose_numbers_do_not_fit_is_refused(made: Made, change: dict[str, Any]) -> None:
    assert republished(made, lambda manifest: manifest.update(change)) == "artifact.inconsistent"


def test_it_never_publishes_over_something(drop: Path, out: Path, tmp_path: Path) -> None:
    manifest = work_folder(drop, out)
    (tmp_path / "v1").mkdir()
    with pytest.raises(ArtifactError) as caught:
        publish(out, tmp_path / "v1", manifest)
    assert caught.value.reason == "artifact.exists"
    assert (out / "vectors.npy").exists()
    assert list((tmp_path / "v1").iterdir()) == []


def test_publishing_can_be_done_again_after_a_crash_before_the_rename(drop: Path, out: Path, tmp_path: Path) -> None:
    manifest = work_folder(drop, out)
    (out / "manifest.json").write_text("half a manif")
    published = publish(out, tmp_path / "v1", manifest)
    assert open_artifact(published.path, published.manifest_sha256).items == ROWS


def test_a_link_in_the_work_folder_is_not_published(drop: Path, out: Path, tmp_path: Path) -> None:
    manifest = work_folder(drop, out)
    (out / "index" / "link").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError) as caught:
        publish(out, tmp_path / "v1", manifest)
    assert caught.value.reason == "artifact.unsafe_path"
    assert not (tmp_path / "v1").exists()


def test_a_manifest_that_nobody_could_open_is_not_published(drop: Path, out: Path, tmp_path: Path) -> None:
    manifest = work_folder(drop, out)
    del manifest["metric"]
    with pytest.raises(ArtifactError, match="metric") as caught:
        publish(out, tmp_path / "v1", manifest)
    assert caught.value.reason == "artifact.bad_manifest"


def test_a_work_folder_that_is_gone_cannot_be_published(out: Path, tmp_path: Path) -> None:
    manifest = {"items": 1, "searchable_items": 1, "dimension": 1, "metric": "ip"}
    with pytest.raises(ArtifactError) as caught:
        publish(out, tmp_path / "v1", manifest)
    assert (caught.value.reason, caught.value.details) == ("artifact.publish_failed", {"errno": "ENOENT"})
