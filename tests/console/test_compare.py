"""Two versions side by side in the console, and what the confirmations of a switch say."""

from __future__ import annotations

import re

from django.contrib.auth.models import User
from django.utils import timezone

from catalog.models import Service
from tenants.models import Tenant
from tests.console.test_home import text_of
from tests.console.test_pages import signed_in
from tests.support.history import activated, made_version, refreshed
from tests.versions.test_comparisons import ON_NODE, RESULT, built_beside, done
from versions import actions
from versions.models import Build, Version, VersionComparison

PAGE = "/t/films/s/movies/versions/2/compare/1/"
POINTS = [{"ef": 10, "recall": 0.9, "ms": 0.1}, {"ef": 20, "recall": 0.99, "ms": 0.2}]
TUNE = {"effort": "ef", "at": 100, "search_params": {"ef": 20}, "curve": POINTS}


def test_a_viewer_reads_what_is_known_at_once(victor: User, films_service: Service) -> None:
    built_beside(films_service, {"tune": TUNE})
    page = signed_in(victor).get(PAGE).content.decode()
    text = text_of(page.encode())
    assert "added 30 7 9 removed 10 1 kept 90 2" in text
    assert "Overlap 80.0 %" in text
    assert "beside 2, -25 %" in text
    assert "Items 120 100 +20" in text
    assert 'data-effort="10" data-name="ef" data-recall="0.9" data-ms="0.1"' in page
    assert "recall compare films/movies 2 --to 1" in text
    assert "hx-trigger" not in page.split('id="compared"')[1]
    assert not VersionComparison.objects.exists()


def test_what_is_not_known_is_asked_for_until_it_is(victor: User, films_service: Service) -> None:
    for _ in range(2):
        made_version(films_service)
    client = signed_in(victor)
    assert "Waiting for a worker" in client.get(PAGE).content.decode()
    part = client.get(PAGE, headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith('<div id="compared"')
    assert 'hx-trigger="every 1s"' in part
    done(VersionComparison.objects.get(), RESULT)
    part = client.get(PAGE, headers={"HX-Request": "true"}).content.decode()
    assert "hx-trigger" not in part
    assert "Answers that are new items 25.0 %" in text_of(part.encode())
    assert "added 4 removed 5" in text_of(client.get("/t/films/s/movies/versions/1/compare/2/").content)


def test_a_failure_is_told_with_when_it_is_tried_again(victor: User, films_service: Service) -> None:
    older, newer = made_version(films_service), made_version(films_service)
    row = actions.comparison_ask(version=newer, other=older)
    assert row is not None
    taken = actions.comparison_take(row.pk)
    assert taken is not None
    actions.comparison_failed(comparison=taken, reason="platform.io", message="No <space> left.")
    page = signed_in(victor).get(PAGE).content.decode()
    assert "No &lt;space&gt; left." in page
    assert "and it is tried again" in page
    assert "hx-trigger" not in page.split('id="compared"')[1]


def test_a_version_whose_files_are_gone_says_so(victor: User, films_service: Service) -> None:
    for _ in range(2):
        made_version(films_service)
    Version.objects.filter(number=1).update(files_deleted_at=timezone.now())
    page = signed_in(victor).get(PAGE).content.decode()
    assert "The files of version 1 were deleted at" in page
    assert "hx-trigger" not in page.split('id="compared"')[1]


def test_two_are_picked_in_the_table_of_versions(victor: User, films_service: Service) -> None:
    made_version(films_service)
    client = signed_in(victor)
    assert "Compare two" not in client.get("/t/films/s/movies/").content.decode()
    made_version(films_service)
    page = client.get("/t/films/s/movies/").content.decode()
    assert page.count('name="pick"') == 2
    response = client.get("/t/films/s/movies/versions/compare/?pick=1&pick=2")
    assert response["Location"] == PAGE
    for wrong in ("", "?pick=1", "?pick=1&pick=1", "?pick=1&pick=2&pick=3", "?pick=1&pick=-2", "?pick=1&pick=²"):
        response = client.get(f"/t/films/s/movies/versions/compare/{wrong}", follow=True)
        assert "Pick two versions to compare." in response.content.decode()
    assert client.get("/t/films/s/movies/versions/2/compare/9/").status_code == 404
    assert client.get("/t/films/s/movies/versions/2/compare/2/").status_code == 400


def test_a_version_s_page_leads_to_live_and_to_what_was_before_it(victor: User, films_service: Service) -> None:
    for _ in range(2):
        activated(made_version(films_service))
    made_version(films_service)
    client = signed_in(victor)
    of_third = client.get("/t/films/s/movies/versions/3/").content.decode()
    assert "/versions/3/compare/2/" in of_third
    assert "with previous" not in of_third, "the live one is the previous one"
    assert "Compare with previous (1)" in client.get("/t/films/s/movies/versions/2/").content.decode()
    assert "Compare with live (2)" in client.get("/t/films/s/movies/versions/1/").content.decode()


def test_confirmations_say_what_changes(bob: User, victor: User, films: Tenant, films_service: Service) -> None:
    _, newer = built_beside(films_service)
    client = signed_in(bob)
    assert "Answers 80 % are the same Built" in text_of(client.get("/t/films/s/movies/").content)
    told = {**ON_NODE, "overlap": 0.04}
    Build.objects.filter(pk=newer.build_id).update(report={"compare": {"live": 1, "results": {"local": told}}})
    assert "Answers 4 % are the same unlike" in text_of(client.get("/t/films/s/movies/").content)
    Version.objects.filter(pk=newer.pk).update(model_version="mind-8", recall=0.5)
    text = text_of(client.get("/t/films/s/movies/").content)
    assert "Version 2 answers from now on, instead of version 1." in text
    assert "Version 1, now Version 2, then Health" in text
    assert "Items 100 120 30 added, 10 removed Recall 1.000 0.500" in text
    assert re.search(r"Model – mind-8 another one Drop drop-0001 drop-0002 Built \d+ s ago \d+ s ago", text)
    assert "Schema the same" in text

    activated(version=newer)
    text = text_of(client.get("/t/films/s/movies/").content)
    assert "Version 1 answers from now on. Version 2 is marked bad" in text
    assert "Items 120 100 10 added, 30 removed" in text
    assert refreshed(films_service).live_version == 2
    assert "then Items" not in text_of(signed_in(victor).get("/t/films/s/movies/").content)
