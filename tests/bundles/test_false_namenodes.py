"""A name node that sends its readers elsewhere, or answers with faults: nobody follows, and the fault has a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bundles import sources
from bundles.errors import SourceError
from bundles.places import Source
from bundles.stores import base
from tests.support.false_namenode import FalseNamenode, link, running_false_namenode
from tests.support.sources_file import write_sources

METADATA = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"


@pytest.fixture
def namenode() -> Iterator[FalseNamenode]:
    with running_false_namenode() as namenode:
        yield namenode


@pytest.fixture
def elsewhere() -> Iterator[FalseNamenode]:
    """A server that answers whoever comes; nobody may."""
    with running_false_namenode() as server:
        yield server


@pytest.fixture
def find(namenode: FalseNamenode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setattr(base, "PAUSE_SECONDS_MIN", 0.01)

    def ask(**place: Any) -> Any:
        named = {"namenode": namenode.address, "prefixes": ["/films/"], "delegation_token": "hunter2", **place}
        file = write_sources(tmp_path / "sources.toml", {"films": {"webhdfs": [named]}})
        source = Source(f"webhdfs://{namenode.address}/films/", "films", str(tmp_path), str(file))
        return sources.find_here(source, "", ["items.csv"])

    return ask


def refused(ask: Callable[[], Any]) -> SourceError:
    with pytest.raises(SourceError) as caught:
        ask()
    assert "hunter2" not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


def test_a_name_node_that_serves_files_itself_is_read(find, namenode) -> None:
    found = find()
    assert (found.name, found.marker, found.files) == ("films", "manifest.json", 1)


@pytest.mark.parametrize(
    "target", [METADATA, "http://127.0.0.1:1/x", "https://example.org/", "file:///etc/passwd", "ftp://127.0.0.1/x"]
)
def test_a_reader_is_not_sent_to_another_host(find, namenode, target: str) -> None:
    namenode.send_to = target
    error = refused(find)
    assert error.owner == "platform"
    assert error.reason in ("source.redirect_refused", "source.failed")
    if target.startswith("http"):
        assert error.reason == "source.redirect_refused"
    assert "169.254" not in error.message


def test_the_other_host_hears_nothing(find, namenode, elsewhere) -> None:
    namenode.send_to = f"http://{elsewhere.address}/webhdfs/v1/films/manifest.json?op=OPEN"
    assert refused(find).reason == "source.redirect_refused"
    assert elsewhere.asked == []


def test_a_configured_data_node_is_followed_but_not_to_a_third_host(find, namenode, elsewhere) -> None:
    namenode.send_to = f"http://{elsewhere.address}/webhdfs/v1/films/manifest.json?op=OPEN"
    assert find(datanodes=[elsewhere.address]).name == "films"
    assert len(elsewhere.asked) == 1
    with running_false_namenode() as third:
        elsewhere.redirect_everything, elsewhere.send_to = True, f"http://{third.address}/"
        assert refused(lambda: find(datanodes=[elsewhere.address])).reason == "source.redirect_refused"
        assert third.asked == []


def test_a_listing_that_is_redirected_is_not_followed_even_to_itself(find, namenode) -> None:
    namenode.redirect_everything, namenode.send_to = True, f"http://{namenode.address}/elsewhere"
    assert refused(find).reason == "source.redirect_refused"
    assert [path for path in namenode.asked if path.startswith("/elsewhere")] == []


def test_a_data_node_s_error_is_not_taken_for_a_file(find, namenode, elsewhere) -> None:
    namenode.send_to = f"http://{elsewhere.address}/x?op=OPEN"
    elsewhere.status = 404
    assert refused(lambda: find(datanodes=[elsewhere.address])).reason == "source.not_found"


def test_links_are_not_followed(find, namenode) -> None:
    namenode.statuses = [namenode.statuses[0], link("items.csv")]
    with pytest.raises(Exception, match=r"items\.csv is named in manifest\.json and is not in the drop"):
        find()


@pytest.mark.parametrize(
    ("status", "reason", "owner", "attempts"),
    [
        (401, "source.forbidden", "platform", 1),
        (403, "source.forbidden", "platform", 1),
        (404, "source.not_found", "user", 1),
        (418, "source.failed", "platform", 1),
        (500, "source.busy", "platform", base.ATTEMPTS_MAX),
        (503, "source.busy", "platform", base.ATTEMPTS_MAX),
    ],
)
def test_each_fault_has_a_reason_and_temporary_ones_are_asked_again(
    find, namenode, status: int, reason: str, owner: str, attempts: int
) -> None:
    namenode.status = status
    error = refused(find)
    assert (error.reason, error.owner) == (reason, owner)
    assert len(namenode.asked) == attempts
    assert error.details["remedy"]


def test_what_is_no_answer_is_told_as_a_fault(find, namenode) -> None:
    namenode.statuses = [{"pathSuffix": "x"}]
    assert refused(find).reason == "source.failed"


def test_a_server_that_does_not_answer_in_time_is_told(find, namenode, monkeypatch) -> None:
    monkeypatch.setattr(base, "READ_SECONDS_MAX", 0.2)
    namenode.answering.clear()
    assert refused(find).reason == "source.timeout"
