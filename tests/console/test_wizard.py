"""The create wizard as Alice meets it: from what she wants to a service whose first build is asked for."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User
from django.test import Client

from catalog.models import Draft, Service
from catalog.states import DraftState
from tenants.actions import quota_update
from tenants.models import Tenant
from tests.console.series import write_series
from tests.console.test_pages import signed_in
from tests.factories import TESTER
from versions.models import Build
from workers import drafts

NEW = "/t/films/services/new/"
INTENT = {"name": "series", "uri": "file:series/", "matters": "balance"}
REVIEW = {"engine": "auto", "recall_target": "0.98", "qps": "1000", "replicas": "1", "notice": "marker"}


@pytest.fixture
def series(films: Tenant, tmp_path: Path, settings: Any) -> Path:
    """The folder of file:series/ with a drop of 60 rows, two of them bad."""
    settings.RECALL_DROPS = tmp_path
    return write_series(tmp_path)


def text_of(content: bytes) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", content.decode())))


def started(client: Client, **changes: str) -> str:
    """A draft's address, once Alice has said what she wants."""
    response = client.post(NEW, {**INTENT, **changes})
    assert response.status_code == 302, text_of(response.content)
    return str(response["Location"]).removesuffix("schema/")


def worker_looks() -> Draft:
    draft = Draft.objects.get(state=DraftState.ASKED)
    drafts.read(draft.pk)
    return Draft.objects.get(pk=draft.pk)


def kept(form: Any, **changes: str) -> dict[str, Any]:
    """What the browser sends when the proposed schema is left as it is."""
    sent = {"at": "schema"}
    for field in form:
        value = field.value()
        if value not in (False, None):
            sent[field.html_name] = "on" if value is True else value
    return {**sent, **changes}


def test_from_what_one_wants_to_the_build_that_runs(alice: User, series: Path) -> None:
    client = signed_in(alice)
    base = started(client)
    waiting = client.get(base + "schema/")
    assert b"Waiting for a worker" in waiting.content
    assert b'hx-trigger="every 1s"' in waiting.content
    worker_looks()

    page = client.get(base + "schema/")
    assert b'hx-trigger="every' not in page.content
    text = text_of(page.content)
    assert "20261121 complete" in text
    assert "of length 1" in text
    rows = {row.name: row.seen for row in page.context["form"].rows()}
    assert (rows["genre"]["distinct"], rows["year"]["distinct"]) == (2, 59)

    checking = client.post(base + "schema/", kept(page.context["form"]))
    assert checking["Location"] == base + "check/"
    check = text_of(client.get(base + "check/").content)
    assert "items-0.parquet 8 nan 7" in check
    assert "items-0.parquet 60 duplicate_id 3" in check
    assert "3.33 % of the rows in the sample are bad; guards.max_bad_row_percent is 1." in check
    assert "noir <b>" in check

    review = client.get(base + "review/")
    shown = text_of(review.content)
    assert "up to 320,000 items of dimension 8 an exact search takes under 1 ms" in shown
    assert "The build, at its peak" in shown
    made = client.post(base + "review/", {**REVIEW, "build_now": "on"})
    service = Service.objects.get(name="series")
    build = Build.objects.get(service=service)
    assert made["Location"] == f"/t/films/s/series/builds/{build.number}/"
    assert service.created_by == "alice"
    assert service.spec["schema"]["attributes"] == [
        {"name": "genre", "type": "string"},
        {"name": "year", "type": "int64"},
    ]
    assert client.get(base)["Location"] == "/t/films/s/series/"
    assert client.post(base + "review/", REVIEW)["Location"] == "/t/films/s/series/"
    assert Service.objects.count() == 1


def test_it_is_resumed_by_its_address_with_everything_that_was_typed(alice: User, dana: User, series: Path) -> None:
    client = signed_in(alice)
    base = started(client, items="250000", matters="speed")
    worker_looks()
    form = client.get(base + "schema/").context["form"]
    client.post(base + "schema/", kept(form, metric="l2", keep_1=""))
    worker_looks()
    again = signed_in(dana)
    assert client.get(base)["Location"] == base + "schema/"
    resumed = again.get(base + "schema/").context["form"]
    assert (resumed["metric"].value(), resumed["keep_0"].value(), resumed["keep_1"].value()) == ("l2", True, False)
    assert again.get(base + "intent/").context["form"]["items"].value() == 250_000
    assert again.get(base + "review/").context["form"]["recall_target"].value() == 0.95
    assert base in again.get(NEW).content.decode()


def test_the_part_that_asks_for_itself_stops_and_loads_the_page_when_there_is_an_answer(
    alice: User, series: Path
) -> None:
    client = signed_in(alice)
    base = started(client)
    asking = client.get(base + "reading/")
    assert b"hx-get" in asking.content
    assert "HX-Refresh" not in asking
    # Without JavaScript the page has a link that does the same.
    assert f'<a class="btn" href="{base}schema/">Look again</a>' in asking.content.decode()
    worker_looks()
    answered = client.get(base + "reading/")
    assert answered["HX-Refresh"] == "true"
    assert b"hx-get" not in answered.content


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "Series!"}, "name"),
        ({"uri": "file:../books/"}, "uri"),
        ({"uri": "http://example.org/"}, "uri"),
        ({"items": "-1"}, "items"),
        ({"dimension": "5000"}, "dimension"),
        ({"patterns": "../x"}, "patterns"),
        ({"matters": "beauty"}, "matters"),
    ],
)
def test_a_wrong_answer_comes_back_beside_its_field(alice: User, films: Tenant, wrong: Any, field: str) -> None:
    response = signed_in(alice).post(NEW, {**INTENT, **wrong})
    assert response.status_code == 200
    assert set(response.context["form"].errors) == {field}
    assert not Draft.objects.exists()


def test_a_wrong_schema_comes_back_beside_its_field_and_nothing_is_lost(alice: User, series: Path) -> None:
    client = signed_in(alice)
    base = started(client)
    worker_looks()
    form = client.get(base + "schema/").context["form"]
    response = client.post(base + "schema/", kept(form, vector_column="id"))
    assert "vector_column" in response.context["form"].errors
    assert response.context["form"]["vector_column"].value() == "id"


def test_a_schema_that_does_not_fit_the_drop_is_told_by_the_check(alice: User, series: Path) -> None:
    client = signed_in(alice)
    base = started(client)
    worker_looks()
    form = client.get(base + "schema/").context["form"]
    client.post(base + "schema/", kept(form, dimension="16"))
    assert b"Waiting for a worker" in client.get(base + "check/").content
    worker_looks()
    text = text_of(client.get(base + "check/").content)
    assert (
        "A build of this drop would fail: The vectors in items-0.parquet have 8 dimensions; the schema says 16" in text
    )


def test_without_a_drop_the_schema_is_typed_and_the_service_created_without_a_build(alice: User, series: Path) -> None:
    client = signed_in(alice)
    base = started(client, uri="file:later/", dimension="8")
    worker_looks()
    page = client.get(base + "schema/")
    assert "Deliver a drop there and look again" in text_of(page.content)
    form = page.context["form"]
    wrong = client.post(base + "schema/", kept(form, attributes="genre string"))
    assert "has no colon" in text_of(wrong.content)
    done = client.post(base + "schema/", kept(form, attributes="genre: string"))
    assert done["Location"] == base + "check/"
    assert client.get(base + "check/").status_code == 200
    review = client.get(base + "review/")
    assert review.context["form"]["build_now"].value() is False
    assert "How many items there will be nobody has said" in text_of(review.content)
    made = client.post(base + "review/", REVIEW)
    assert made["Location"] == "/t/films/s/series/"
    assert Service.objects.get().spec["schema"]["attributes"] == [{"name": "genre", "type": "string"}]


def test_a_drop_without_a_marker_is_built_by_its_name(alice: User, series: Path) -> None:
    (series / "_SUCCESS").unlink()
    client = signed_in(alice)
    base = started(client)
    worker_looks()
    assert "no manifest.json or _SUCCESS" in text_of(client.get(base + "schema/").content)
    assert "recall build films/series --drop 20261121 --wait" in text_of(client.get(base + "review/").content)
    client.post(base + "review/", {**REVIEW, "build_now": "on"})
    assert Build.objects.get().drop_name == "20261121"


def test_what_is_typed_changes_the_side_and_saves_nothing(alice: User, series: Path) -> None:
    client = signed_in(alice)
    base = started(client)
    worker_looks()
    before = Draft.objects.get().spec
    preview = {**REVIEW, "at": "review", "qps": "77", "recall_target": "0.9", "replicas": "2"}
    side = text_of(client.post(base + "preview/", preview).content)
    assert "limits: {qps: 77}" in side
    assert "guards.min_recall" in side, "the fault that this makes, and no estimate"
    assert "recall build" not in side
    fine = text_of(client.post(base + "preview/", {**preview, "recall_target": "0.97", "build_now": "on"}).content)
    assert "2 replicas each" in fine
    assert "recall build films/series --wait" in fine
    form = client.get(base + "schema/").context["form"]
    assert "metric: l2" in text_of(client.post(base + "preview/", kept(form, metric="l2")).content)
    assert "Dimension: Enter a whole number" in text_of(
        client.post(base + "preview/", kept(form, dimension="x")).content
    )
    assert Draft.objects.get().spec == before


def test_the_yaml_that_is_shown_is_the_spec_that_is_created(alice: User, series: Path) -> None:
    client = signed_in(alice)
    base = started(client, matters="recall")
    worker_looks()
    same = client.get(base + "review/").context["same"]
    assert list(yaml.safe_load(same.yaml)) == ["name", "schema", "source", "search"]
    api = Client()
    api.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    body = json.loads(same.rest.split("<<'EOF'\n")[1].split("\nEOF")[0])
    assert body == yaml.safe_load(same.yaml)
    client.post(base + "review/", {**REVIEW, "recall_target": "0.99"})
    created = Service.objects.get().spec
    assert created["search"]["recall_target"] == 0.99
    assert created["schema"]["dimension"] == body["schema"]["dimension"] == 8


def test_what_does_not_fit_the_quota_says_so_before_it_is_refused(
    alice: User, films: Tenant, films_service: Service, series: Path
) -> None:
    quota_update(actor=TESTER, tenant=films, services_max=1)
    client = signed_in(alice)
    base = started(client)
    worker_looks()
    assert "It does not fit. Ask a platform administrator for more" in text_of(client.get(base + "review/").content)
    refused = client.post(base + "review/", REVIEW)
    assert refused.status_code == 200
    assert "films has 1 of the 1 services" in text_of(refused.content)
    assert Draft.objects.get().service == ""


def test_a_name_that_is_taken_is_told_with_its_field(alice: User, films_service: Service, series: Path) -> None:
    client = signed_in(alice)
    base = started(client, name="movies")
    worker_looks()
    assert "name films has a service movies already" in text_of(client.post(base + "review/", REVIEW).content)


def test_a_draft_is_discarded(alice: User, series: Path) -> None:
    client = signed_in(alice)
    base = started(client)
    response = client.post(base + "discard/", follow=True)
    assert "The draft of series is gone." in response.content.decode()
    assert client.get(base).status_code == 404


def test_a_viewer_may_not_and_another_tenants_person_finds_nothing(
    alice: User, victor: User, charlie: User, books: Tenant, series: Path
) -> None:
    base = started(signed_in(alice))
    assert signed_in(victor).get(base + "schema/").status_code == 403
    assert signed_in(victor).post(NEW, INTENT).status_code == 403
    assert signed_in(charlie).get(base + "schema/").status_code == 404
    assert signed_in(charlie).get(base.replace("/films/", "/books/") + "schema/").status_code == 404


def test_pages_of_the_wizard_hold_no_inline_script_or_style(alice: User, series: Path) -> None:
    client = signed_in(alice)
    base = started(client)
    pages = [NEW, base + "schema/"]
    contents = [client.get(page).content.decode() for page in pages]
    worker_looks()
    contents += [client.get(base + page).content.decode() for page in ("intent/", "schema/", "check/", "review/")]
    for content in contents:
        assert re.findall(r"<script(?![^>]*\bsrc=)", content) == []
        assert re.findall(r"\s(?:style|on[a-z]+)=", content) == []
