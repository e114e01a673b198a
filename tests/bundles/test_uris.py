"""A source lies under its tenant's root and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundles.errors import UriError
from bundles.uris import URI_BYTES_MAX, check_syntax, parse_remote, resolve


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "drops" / "films" / "daily").mkdir(parents=True)
    (tmp_path / "drops" / "books").mkdir()
    return tmp_path / "drops" / "films"


def test_a_relative_uri_is_relative_to_the_root(root: Path) -> None:
    assert resolve("file:daily/", root) == root / "daily"


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "FILE:{}", "{}", "/{}"])
def test_an_absolute_path_inside_the_root_is_taken(root: Path, form: str) -> None:
    assert resolve(form.format(root / "daily"), root) == root / "daily"


def test_a_folder_that_does_not_exist_yet_can_be_registered(root: Path) -> None:
    assert resolve("file:weekly", root) == root / "weekly"


def test_a_root_that_is_itself_a_link_is_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert resolve("file:daily", tmp_path / "link") == root / "daily"
    assert resolve(f"{tmp_path}/link/daily", tmp_path / "link") == root / "daily"


def test_percent_signs_are_taken_literally(root: Path) -> None:
    assert resolve("file:%2e%2e/books", root) == root / "%2e%2e" / "books"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "uri.bad_syntax"),
        ("   ", "uri.bad_syntax"),
        ("file:", "uri.bad_syntax"),
        ("films/", "uri.bad_syntax"),
        ("file://films/", "uri.bad_syntax"),
        ("file:fi\0lms", "uri.bad_syntax"),
        ("file:films\n", "uri.bad_syntax"),
        ("file:" + "f" * URI_BYTES_MAX, "uri.bad_syntax"),
        ("simplecache::file:///etc/passwd", "uri.chained"),
        ("file::films", "uri.chained"),
        ("http://169.254.169.254/latest", "uri.bad_protocol"),
        ("s3a://bucket/films/", "uri.bad_protocol"),
        ("gs://bucket/films/", "uri.bad_protocol"),
        ("simplecache::s3://bucket/films/", "uri.chained"),
        ("s3:bucket/films/", "uri.bad_syntax"),
        ("s3:///films/", "uri.bad_syntax"),
        ("s3://Bucket/films/", "uri.bad_syntax"),
        ("s3://key:secret@bucket/films/", "uri.bad_syntax"),
        ("s3://bucket/films//daily/", "uri.bad_syntax"),
        ("s3://bucket/films/?versionId=1", "uri.bad_syntax"),
        ("s3://bucket/films/#x", "uri.bad_syntax"),
        ("s3://bucket/" + "f" * 256, "uri.bad_syntax"),
        ("s3://bucket/films/../books/", "uri.parent"),
        ("s3://bucket/..", "uri.parent"),
        ("webhdfs://nn1/films/", "uri.bad_syntax"),
        ("webhdfs://nn1:x/films/", "uri.bad_syntax"),
        ("webhdfs://user@nn1:9870/films/", "uri.bad_syntax"),
        ("webhdfs://nn1:9870/films/../books/", "uri.parent"),
        ("hdfs://nn1:8020/films/", "uri.bad_protocol"),
        ("local:films", "uri.bad_protocol"),
        ("memory://films", "uri.bad_protocol"),
        ("file:../books", "uri.parent"),
        ("file:daily/../../books", "uri.parent"),
        ("file:///..", "uri.parent"),
    ],
)
def test_it_refuses_what_is_no_plain_file_uri(uri: str, reason: str, root: Path) -> None:
    for check in (check_syntax, lambda text: resolve(text, root)):
        with pytest.raises(UriError) as caught:
            check(uri)
        assert caught.value.reason == reason
        assert caught.value.field == "source.uri"
        assert caught.value.remedy
        assert caught.value.owner == "user"


@pytest.mark.parametrize(
    ("uri", "host", "path"),
    [
        ("s3://bucket/films/", "bucket", "films/"),
        ("S3://bucket/films/daily", "bucket", "films/daily/"),
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/%2e%2e/", "bucket", "%2e%2e/"),
        ("webhdfs://NN1.example.com:9870/data/films/", "nn1.example.com:9870", "data/films/"),
    ],
)
def test_remote_uris_have_parts(uri: str, host: str, path: str, root: Path) -> None:
    check_syntax(uri)
    parsed = parse_remote(uri)
    assert parsed is not None
    assert (parsed.host, parsed.path) == (host, path)
    with pytest.raises(UriError, match="neither a `file:` URI"):
        resolve(uri, root)


def test_a_local_uri_is_no_remote_one(root: Path) -> None:
    assert parse_remote("file:daily/") is None
    assert parse_remote(str(root)) is None


def test_the_example_of_a_refusal_does_not_read_like_the_root_itself(root: Path) -> None:
    with pytest.raises(UriError) as caught:
        resolve("daily/", root)
    assert "`file:movies/`" in caught.value.remedy
    assert root.name not in caught.value.remedy


@pytest.mark.parametrize("uri", ["/etc/passwd", "file:///etc", "//etc/passwd", "file:////etc/passwd"])
def test_it_refuses_an_absolute_path_outside_the_root(uri: str, root: Path) -> None:
    check_syntax(uri)
    with pytest.raises(UriError, match="outside your tenant's drop folder") as caught:
        resolve(uri, root)
    assert caught.value.reason == "uri.outside_root"


def test_it_refuses_the_neighbour_whose_name_begins_like_the_root(root: Path) -> None:
    (root.parent / "films-private").mkdir()
    with pytest.raises(UriError, match="outside"):
        resolve(str(root.parent / "films-private"), root)


def test_it_refuses_a_link_that_leads_out_of_the_root(root: Path) -> None:
    (root / "theirs").symlink_to(root.parent / "books")
    (root / "chain").symlink_to("theirs")
    for uri in ("file:theirs", "file:chain", f"{root}/chain", "file:theirs/2026"):
        with pytest.raises(UriError) as caught:
            resolve(uri, root)
        assert caught.value.reason == "uri.outside_root"


def test_a_link_that_stays_inside_is_followed_to_its_end(root: Path) -> None:
    (root / "current").symlink_to("daily")
    assert resolve("file:current", root) == root / "daily"


def test_the_field_is_the_caller_s(root: Path) -> None:
    with pytest.raises(UriError) as caught:
        resolve("file:..", root, field="uri")
    assert caught.value.field == "uri"
    assert caught.value.details["field"] == "uri"


def test_it_does_not_tell_where_the_root_is(root: Path) -> None:
    with pytest.raises(UriError) as caught:
        resolve("/etc", root)
    assert os.fspath(root) not in caught.value.message + caught.value.remedy
