"""The page for the platform's administrators."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from catalog.models import Service
from tenants.models import Tenant
from tests.console.test_home import text_of
from tests.console.test_pages import signed_in
from tests.support.history import activated, asked, heard_of, made_version
from versions import operations
from versions.models import Node, Replica, Version


@pytest.fixture
def no_servers_but_two(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = "blue=http://us:secret@10.0.0.5:19530,green=http://10.0.0.6:19530"
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", addresses)


def test_an_administrator_sees_every_node_and_the_version_each_replica_serves(
    dana: User, films_service: Service, books_service: Service
) -> None:
    activated(made_version(films_service))
    Replica.objects.update(served_version=7, verdict="OK")
    heard_of("spare")
    Node.objects.filter(name="spare").update(seen_at=None)
    asked(books_service)
    text = text_of(signed_in(dana).get("/operations/").content)
    assert "films/movies 1 7 ready" in text
    assert "Node spare silent" in text
    assert "Nothing is loaded on it." in text
    assert "builds pending 1" in text
    assert "Redis is away" in text
    assert "books 1 1" in text


@pytest.mark.usefixtures("no_servers_but_two")
def test_an_administrator_sees_what_lies_at_which_index_server(
    dana: User, films_service: Service, books_service: Service
) -> None:
    """Where its server is away, callers of a version hear nothing; what is live there is what an administrator asks."""
    for service, places in ((films_service, ["blue"]), (films_service, ["green"]), (books_service, [])):
        activated(made_version(service, engine="milvus", report={"index": {"places": places}}))
    away = Replica.objects.filter(version__number=2)
    away.update(sick_reason="AWAY", sick_since=Now() - timedelta(seconds=40))
    text = text_of(signed_in(dana).get("/operations/").content)
    assert "Index server blue milvus · http://10.0.0.5:19530 · 100 items" in text
    assert "films/movies 1 ready 100 are answered" in text
    assert "Index server green milvus · http://10.0.0.6:19530 · 100 items" in text
    assert (
        "films/movies 2 Live 100 away it has answered nobody, because the server that its engine asks is away" in text
    )
    assert "secret" not in text
    assert "books/novels 1 Live" not in text, "an index that is files lies at none"


@pytest.mark.usefixtures("no_servers_but_two")
def test_versions_at_a_server_that_is_configured_no_more_are_not_hidden(dana: User, films_service: Service) -> None:
    activated(made_version(films_service, engine="milvus", report={"index": {"places": ["red"]}}))
    text = text_of(signed_in(dana).get("/operations/").content)
    assert "Index server red milvus · not configured and yet versions are there" in text
    assert "Index server blue milvus · http://10.0.0.5:19530 · 0 items No version is there." in text


@pytest.mark.usefixtures("no_servers_but_two")
def test_the_worst_is_a_live_version_that_is_loaded_nowhere(dana: User, films_service: Service) -> None:
    activated(made_version(films_service, engine="milvus", report={"index": {"places": ["blue"]}}))
    Replica.objects.all().delete()
    text = text_of(signed_in(dana).get("/operations/").content)
    assert "films/movies 1 Live 100 not loaded it answers nobody, because it is loaded on no node" in text


@pytest.mark.usefixtures("no_servers_but_two")
def test_a_version_lies_there_until_its_files_are_gone(films_service: Service) -> None:
    made_version(films_service, engine="milvus", report={"index": {"places": ["blue"]}})
    Version.objects.update(state="RETIRED")
    [there] = operations.index_servers()[0]["versions"]
    assert (there["number"], there["state"]) == (1, "RETIRED")
    Version.objects.update(files_deleted_at=Now())
    assert operations.index_servers()[0]["versions"] == []


@pytest.mark.usefixtures("no_servers_but_two")
def test_more_versions_than_are_shown_are_counted(
    dana: User, films_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        made_version(films_service, engine="milvus", report={"index": {"places": ["blue"]}})
    monkeypatch.setattr(operations, "VERSIONS_AT_A_SERVER_MAX", 2)
    [blue, _] = operations.index_servers()
    assert ([each["number"] for each in blue["versions"]], blue["items"], blue["left_out"]) == ([3, 2], 300, 1)
    assert "1 more version there" in text_of(signed_in(dana).get("/operations/").content)


def test_a_setting_that_cannot_be_read_any_more_is_told(dana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", "blue")
    text = text_of(signed_in(dana).get("/operations/").content)
    assert "Which index servers there are is not known: RECALL_MILVUS_INSTANCES: entry 1" in text


@pytest.mark.usefixtures("no_servers_but_two")
def test_how_often_the_database_is_asked_does_not_grow_with_what_lies_at_servers(films_service: Service) -> None:
    def asked_times() -> int:
        with CaptureQueriesContext(connection) as captured:
            operations.index_servers()
        return len(captured)

    made_version(films_service, engine="milvus", report={"index": {"places": ["blue"]}})
    for_one = asked_times()
    for _ in range(3):
        made_version(films_service, engine="milvus", report={"index": {"places": ["blue"]}})
    assert asked_times() == for_one


def test_nobody_else_does(alice: User, films_service: Service) -> None:
    response = signed_in(alice).get("/operations/")
    assert response.status_code == 403
    assert b"platform administrators" in response.content
    assert b"/operations/" not in signed_in(alice).get("/").content


def test_a_node_that_is_heard_is_said_to_be(dana: User) -> None:
    heard_of("local")
    Node.objects.update(seen_at=Now())
    assert re.search("Node local heard [0-9] s ago", text_of(signed_in(dana).get("/operations/").content))


def test_an_administrator_makes_a_team_and_takes_people_in_next(dana: User, alice: User) -> None:
    client = signed_in(dana)
    answer = client.post(
        "/operations/teams/create/", {"name": "lab", "title": "The lab", "owner": "alice"}, follow=True
    )
    assert answer.redirect_chain == [("/t/lab/members/", 302)]
    text = text_of(answer.content)
    assert "The team lab is there." in text
    assert "alice owner" in text


def test_what_is_wrong_with_a_team_stands_at_its_field(dana: User, films: Tenant) -> None:
    client = signed_in(dana)
    wrongs = {
        "name": [("films", "is taken"), ("Films!", "")],
        "owner": [("nobody", "There is no user nobody.")],
    }
    for field, cases in wrongs.items():
        for typed, says in cases:
            answer = client.post("/operations/teams/create/", {"name": "lab", field: typed})
            (fault,) = answer.context["form"].errors[field]
            assert says in fault
    assert set(Tenant.objects.values_list("name", flat=True)) == {"films"}


def test_nobody_else_makes_a_team(alice: User, films: Tenant) -> None:
    assert signed_in(alice).post("/operations/teams/create/", {"name": "lab"}).status_code == 403
    assert not Tenant.objects.filter(name="lab").exists()


def test_what_is_left_out_is_told(
    dana: User, films_service: Service, books_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in (books_service, films_service):
        activated(made_version(service))
    heard_of("zulu")
    for name in ("NODES", "REPLICAS", "TENANTS"):
        monkeypatch.setattr(operations, f"{name}_SHOWN_MAX", 1)
    text = text_of(signed_in(dana).get("/operations/").content)
    assert "1 more replica on it is not shown" in text
    assert "Nothing is loaded on it." not in text
    assert "1 more node, of names that come later, is not shown." in text
    assert "1 more, of names that come later: recall tenant list tells all." in text
