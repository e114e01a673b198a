"""Which engine serves a version, and why, where people look."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from catalog.models import Service
from tests.support.history import activated, made_version
from versions.models import Version
from versions.selectors import version_view

REASON = (
    "over 40,000 items of dimension 64 an exact search takes more than 1 ms, and items with attributes may be filtered"
)


@pytest.fixture
def chosen(films_service: Service) -> Version:
    """A version whose engine the platform chose."""
    return activated(made_version(films_service, engine="faiss", report={"index": {"reason": REASON}}))


def test_the_pages_say_that_it_was_chosen_and_why(alice: User, chosen: Version) -> None:
    client = Client()
    client.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    service = client.get("/t/films/s/movies/").content.decode()
    assert "chosen by auto" in service
    assert REASON in service
    version = client.get(f"/t/films/s/movies/versions/{chosen.number}/").content.decode()
    assert f"auto chose faiss: {REASON}." in version


@pytest.fixture
def placed(films_service: Service) -> Version:
    """A version whose index is at a server."""
    return activated(made_version(films_service, engine="faiss", report={"index": {"places": ["green"]}}))


def test_the_pages_say_at_which_server_an_index_is(alice: User, placed: Version) -> None:
    page = f"/t/films/s/movies/versions/{placed.number}/"
    tile = re.compile(r"Place\s*</div>\s*<div[^>]*>\s*green")
    client = Client()
    client.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    assert tile.search(client.get(page).content.decode())
    files = made_version(placed.service)
    assert "Place" not in client.get(f"/t/films/s/movies/versions/{files.number}/").content.decode()
    # Who is about to switch from one to the other sees both.
    assert '<th scope="row">Place</th><td>green</td><td>–</td>' in client.get("/t/films/s/movies/").content.decode()


def test_json_says_at_which_server_an_index_is(placed: Version) -> None:
    assert version_view(placed)["places"] == ["green"]
    assert version_view(made_version(placed.service))["places"] == []


def test_json_says_why_it_was_chosen(chosen: Version) -> None:
    assert version_view(chosen)["engine"]["reason"] == REASON


@pytest.mark.parametrize("report", [{}, {"index": {"reason": ""}}])
def test_an_engine_that_the_spec_names_has_no_reason(films_service: Service, report: dict[str, Any]) -> None:
    version = activated(made_version(films_service, engine="hnsw", report=report))
    assert version_view(version)["engine"]["reason"] == ""
