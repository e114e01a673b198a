"""A quota is seen coming: on its page, on home and in the wizard."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.contrib.auth.models import User

from catalog.models import Service
from tenants.actions import quota_update
from tenants.models import Quota, Tenant
from tests.console.test_pages import signed_in
from tests.factories import TESTER, make_service
from tests.support.history import activated, claimed, made_version
from tests.support.history import asked as build_asked
from tests.support.traffic import asked, calls
from versions.models import Replica
from versions.quotas import Use, quota_uses

PAGE = "/t/films/quota/"


def text_of(content: bytes) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", content.decode())))


def used(tenant: Tenant, **options: int) -> dict[str, tuple[int, int, str]]:
    return {use.name: (use.used, use.limit, use.level) for use in quota_uses([tenant], **options)[tenant.pk]}


def services(tenant: Tenant, count: int) -> None:
    for number in range(count):
        make_service(tenant, f"service-{number}")


@pytest.mark.parametrize(
    ("amount", "limit", "percent", "level"),
    [(0, 20, 0, "ok"), (15, 20, 75, "ok"), (16, 20, 80, "near"), (799_999, 1_000_000, 79, "ok"),
     (19_999_999, 20_000_000, 99, "near"), (20, 20, 100, "full"), (3, 2, 150, "full"), (0, 0, 100, "full")],
)  # fmt: skip
def test_amber_from_eighty_percent_and_red_at_a_hundred(amount: int, limit: int, percent: int, level: str) -> None:
    use = Use("services_max", "services", amount, limit, "")
    assert (use.percent, use.level) == (percent, level)


def test_everything_of_the_team_is_counted_and_nothing_of_another(
    films: Tenant, films_service: Service, books: Tenant, books_service: Service
) -> None:
    activated(made_version(films_service, items=1_250_000))
    activated(made_version(books_service, items=7))
    Replica.objects.filter(version__service=films_service).update(rss_bytes=900_000_000)
    asked(films_service, calls(9_000), spans_ago=100)
    asked(films_service, calls(601))
    asked(books_service, calls(50_000))
    claimed(build_asked(make_service(films, "shows")))
    assert used(films) == {
        "services_max": (2, 20, "ok"),
        "items_max": (1_250_000, 20_000_000, "ok"),
        "memory_bytes_max": (900_000_000, 16 * 1024**3, "ok"),
        "qps_max": (61, 10_000, "ok"),
        "builds_at_once_max": (1, 2, "ok"),
    }
    assert used(films, peak_seconds=3600)["qps_max"] == (900, 10_000, "ok")
    assert used(books)["items_max"][0] == 7


def test_a_replica_that_has_not_told_its_memory_counts_as_predicted(films: Tenant, films_service: Service) -> None:
    activated(made_version(films_service, items=1_000_000))
    Replica.objects.update(rss_bytes=0)
    assert used(films)["memory_bytes_max"][0] > 1_000_000 * 4 * 4


def test_the_page_says_used_of_allowed_and_what_to_do(victor: User, films: Tenant) -> None:
    services(films, 4)
    quota_update(actor=TESTER, tenant=films, services_max=5)
    content = signed_in(victor).get(PAGE).content
    text = text_of(content)
    assert "services services_max 4 5 80 % nearly full A further service is refused. Delete one" in text
    assert b'class="tone-amber" max="100" value="80" aria-label="services: 80 % used"' in content
    assert "Change the quota" not in text
    assert "A platform administrator changes these limits" in text


def test_home_warns_before_a_limit_bites_and_is_silent_otherwise(alice: User, films: Tenant, books: Tenant) -> None:
    services(films, 4)
    client = signed_in(alice)
    assert "of the quota" not in text_of(client.get("/").content)
    quota_update(actor=TESTER, tenant=films, services_max=5)
    assert "services: 80 % of the quota" in text_of(client.get("/").content)
    assert b'<a class="badge tone-amber" href="/t/films/quota/">' in client.get("/").content
    quota_update(actor=TESTER, tenant=films, services_max=4)
    assert b'<a class="badge tone-red" href="/t/films/quota/">' in client.get("/").content


def test_builds_that_only_wait_are_no_reason_to_warn(alice: User, films: Tenant, films_service: Service) -> None:
    quota_update(actor=TESTER, tenant=films, builds_at_once_max=1)
    claimed(build_asked(films_service))
    client = signed_in(alice)
    assert "1 1 100 % full Further builds wait for their turn" in text_of(client.get(PAGE).content)
    assert "of the quota" not in text_of(client.get("/").content)


def test_the_wizard_warns_at_its_first_step(alice: User, films: Tenant) -> None:
    client = signed_in(alice)
    assert "of its quota" not in text_of(client.get("/t/films/services/new/").content)
    services(films, 5)
    quota_update(actor=TESTER, tenant=films, services_max=5)
    text = text_of(client.get("/t/films/services/new/").content)
    assert "films uses 100 % of its quota of services. A further service is refused." in text


def test_an_administrator_changes_what_they_typed_and_nothing_else(dana: User, films: Tenant) -> None:
    client = signed_in(dana)
    form = client.get(PAGE).context["form"]
    sent = {field.html_name: field.value() for field in form}
    sent |= {field.html_initial_name: field.value() for field in form}
    assert sent["memory_bytes_max"] == 16 * 1024**3
    page = client.post(PAGE, {**sent, "services_max": "30"}, follow=True)
    assert "The quota of films is changed" in text_of(page.content)
    quota = Quota.objects.get(tenant=films)
    assert (quota.services_max, quota.qps_max) == (30, 10_000)
    assert "Nothing was changed." in text_of(client.post(PAGE, sent, follow=True).content)


def test_what_a_colleague_changed_meanwhile_stays(dana: User, films: Tenant) -> None:
    client = signed_in(dana)
    page = client.get(PAGE)
    shown = {field.html_name: field.value() for field in page.context["form"]}
    hidden = {field.html_initial_name: field.value() for field in page.context["form"]}
    assert all(f'name="{name}"' in page.content.decode() for name in hidden)
    quota_update(actor=TESTER, tenant=films, items_max=40_000_000)
    client.post(PAGE, {**shown, **hidden, "qps_max": "77"})
    quota = Quota.objects.get(tenant=films)
    assert (quota.items_max, quota.qps_max) == (40_000_000, 77)


def test_a_limit_that_is_none_is_refused_beside_its_field(dana: User, films: Tenant) -> None:
    client = signed_in(dana)
    sent = {field.html_name: field.value() for field in client.get(PAGE).context["form"]}
    response = client.post(PAGE, {**sent, "qps_max": "0", "items_max": "-1"})
    assert "A limit is a whole number from 1 to" in text_of(response.content)
    assert set(response.context["form"].errors) == {"qps_max", "items_max"}
    assert Quota.objects.get(tenant=films).qps_max == 10_000


@pytest.mark.parametrize("who", ["alice", "bob", "victor"])
def test_nobody_else_changes_a_quota(alice: User, bob: User, victor: User, who: str) -> None:
    client = signed_in(User.objects.get(username=who))
    assert client.post(PAGE, {"services_max": "1000"}).status_code == 403
    assert Quota.objects.get(tenant__name="films").services_max == 20
