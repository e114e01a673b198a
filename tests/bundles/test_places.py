"""The file of remote places: what may stand in it, who may read it, and that it tells nobody its secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundles import places
from bundles.errors import SourceError, UriError
from bundles.places import S3Location, Source, WebhdfsLocation
from tests.support.sources_file import write_sources

S3 = {"bucket": "recsys", "prefix": "films/", "access_key_id": "films", "secret_access_key": "hunter2"}
HDFS = {"namenode": "nn1:9870", "prefixes": ["/data/films/"], "datanodes": ["dn-*.example.com:9864"], "user": "films"}


def located(file: Path, uri: str, tenant: str = "films") -> Any:
    return places.locate(Source(uri, tenant, "/nowhere", str(file)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_sources(tmp_path / "sources.toml", {"films": {"s3": [S3], "webhdfs": [HDFS]}})


def test_a_source_finds_its_place(file: Path) -> None:
    found = located(file, "s3://recsys/films/daily")
    assert isinstance(found, S3Location)
    assert (found.prefix, found.name, found.place.secret()) == ("films/daily/", "daily", "hunter2")
    below = located(file, "webhdfs://NN1:9870/data/films/daily/")
    assert isinstance(below, WebhdfsLocation)
    assert (below.path, below.name, below.place.token()) == ("/data/films/daily/", "daily", None)


def test_the_narrowest_place_gives_the_credential(tmp_path: Path) -> None:
    narrow = {**S3, "prefix": "films/secret/", "access_key_id": "narrow"}
    whole = {**S3, "prefix": "", "access_key_id": "whole"}
    file = write_sources(tmp_path / "s.toml", {"films": {"s3": [whole, narrow, S3]}})
    keys = [
        located(file, f"s3://recsys/{path}").place.access_key_id
        for path in ("films/secret/x/", "films/x/", "", "other/")
    ]
    assert keys == ["narrow", "films", "whole", "whole"]


def test_a_file_that_is_not_there_configures_nothing(tmp_path: Path) -> None:
    with pytest.raises(UriError) as caught:
        located(tmp_path / "none.toml", "s3://recsys/films/")
    assert caught.value.reason == "uri.not_allowed"
    assert "Ask an administrator" in caught.value.remedy


def test_a_file_that_others_may_read_does_not_count(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.chmod(0o640)
    with pytest.raises(SourceError) as caught:
        located(file, "s3://recsys/films/")
    assert (caught.value.reason, caught.value.owner) == ("source.bad_settings", "platform")
    assert str(file) not in caught.value.message
    assert "0600" in caplog.text


def test_a_secret_may_lie_in_a_file_of_its_own(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("hunter3\n")
    place = {name: value for name, value in S3.items() if name != "secret_access_key"}
    file = write_sources(tmp_path / "s.toml", {"films": {"s3": [{**place, "secret_access_key_file": str(secret)}]}})
    assert located(file, "s3://recsys/films/").place.secret() == "hunter3"
    secret.unlink()
    with pytest.raises(SourceError) as caught:
        located(file, "s3://recsys/films/").place.secret()
    assert caught.value.reason == "source.bad_settings"


@pytest.mark.parametrize(
    ("protocol", "wrong"),
    [
        ("s3", {"bucket": "a/b"}),
        ("s3", {"bucket": "Upper"}),
        ("s3", {"prefix": "films"}),
        ("s3", {"prefix": "../"}),
        ("s3", {"prefix": "/films/"}),
        ("s3", {"endpoint_url": "file:///etc"}),
        ("s3", {"endpoint_url": "http://user:hunter2@minio:9000"}),
        ("s3", {"secret_access_key_file": "/x"}),
        ("s3", {"storage_options": "x"}),
        ("s3", {"access_key_id": ""}),
        ("webhdfs", {"namenode": "nn1"}),
        ("webhdfs", {"prefixes": []}),
        ("webhdfs", {"prefixes": ["data/"]}),
        ("webhdfs", {"prefixes": ["/data"]}),
        ("webhdfs", {"datanodes": ["*:9864"]}),
        ("webhdfs", {"datanodes": ["*.*:9864"]}),
        ("webhdfs", {"datanodes": ["dn1"]}),
        ("webhdfs", {"delegation_token": "hunter2"}),
    ],
)
def test_a_wrong_place_stops_all_and_the_log_says_where(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, protocol: str, wrong: dict[str, Any]
) -> None:
    place = {**(S3 if protocol == "s3" else HDFS), **wrong}
    file = write_sources(tmp_path / "s.toml", {"films": {protocol: [place]}})
    with pytest.raises(SourceError) as caught:
        located(file, "s3://recsys/films/")
    assert caught.value.reason == "source.bad_settings"
    assert f"tenants.films.{protocol}.0" in caplog.text
    assert "hunter2" not in caplog.text + caught.value.message


@pytest.mark.parametrize("text", ["[[", "\xff", "tenants = 3", "x" * (places.FILE_BYTES_MAX + 1)])
def test_what_is_no_such_file_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "s.toml"
    file.touch(mode=0o600)
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SourceError):
        located(file, "s3://recsys/films/")


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("dn-7.example.com:9864", True),
        ("dn-7.evil.example.com:9864", False),
        ("dn-7.example.com:22", False),
        ("dn-7.example.com.evil.org:9864", False),
        ("169.254.169.254:80", False),
    ],
)
def test_a_star_stands_for_a_part_of_one_name(file: Path, host: str, fits: bool) -> None:
    assert located(file, "webhdfs://nn1:9870/data/films/").place.has_datanode(host) is fits
