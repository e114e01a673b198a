"""Keys as an owner meets them: a life to choose, a warning in time, rotation without an outage, who used it last."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from console.permission_words import WORDS, rungs_of
from tenants.actions import Use, key_create, key_rotate, keys_used
from tenants.models import ApiKey, Tenant
from tenants.permissions import SCOPES
from tenants.selectors import key_verify
from tests.console.test_home import text_of
from tests.console.test_pages import signed_in
from tests.factories import TESTER

KEYS = "/t/films/keys/"
DAY = timedelta(days=1)


def made(tenant: Tenant, name: str = "ranker", *, days: float | None = None) -> ApiKey:
    ends = timezone.now() + days * DAY if days else None
    return key_create(actor=TESTER, tenant=tenant, scope="read", name=name, expires_at=ends).key


def used(key: ApiKey, *, minutes_ago: float = 0) -> None:
    at = timezone.now() - timedelta(minutes=minutes_ago)
    keys_used(uses=[Use(key.prefix, key.tenant.name, "movies", at, "10.0.0.7")])


@pytest.mark.parametrize(("days", "life"), [("30", 30 * DAY), ("365", 365 * DAY), ("", None)])
def test_a_life_is_chosen(alice: User, films: Tenant, days: str, life: timedelta | None) -> None:
    signed_in(alice).post(f"{KEYS}create/", {"scope": "read", "life_days": days})
    key = ApiKey.objects.get()
    if life is None:
        assert key.expires_at is None
    else:
        assert key.expires_at is not None
        assert abs(key.expires_at - key.created_at - life) < timedelta(minutes=1)


def test_an_exact_end_counts_instead_of_the_life(alice: User, films: Tenant) -> None:
    form = {"scope": "read", "life_days": "30", "expires_at": "2126-01-31T12:00"}
    signed_in(alice).post(f"{KEYS}create/", form)
    ends = ApiKey.objects.get().expires_at
    assert ends is not None
    assert ends.isoformat() == "2126-01-31T12:00:00+00:00"


def test_an_end_in_the_past_is_told_at_its_field_and_what_was_typed_stays(alice: User, films: Tenant) -> None:
    form = {"name": "ranker", "scope": "write", "expires_at": "2020-01-01T00:00"}
    page = signed_in(alice).post(f"{KEYS}create/", form)
    assert "expires_at" in page.context["form"].errors
    assert 'value="ranker"' in page.content.decode()
    assert not ApiKey.objects.exists()


def test_a_rotation_shows_the_new_key_once_and_says_how_long_the_old_one_works(alice: User, films: Tenant) -> None:
    client, old = signed_in(alice), made(films)
    page = client.post(f"{KEYS}{old.prefix}/rotate/", {"overlap_seconds": "86400"})
    new = page.context["made"].text
    assert "no-store" in page["Cache-Control"]
    old.refresh_from_db()
    assert old.expires_at is not None
    assert abs(old.expires_at - timezone.now() - DAY) < timedelta(minutes=1)
    told = f"It replaces rk_{old.prefix}_…, which still works until {old.expires_at:%Y-%m-%d %H:%M}"
    assert told in text_of(page.content)
    assert key_verify(new) is not None
    assert new not in client.get(KEYS).content.decode()


def test_a_rotation_without_overlap_ends_the_old_key_at_once(alice: User, films: Tenant) -> None:
    old = made(films)
    page = signed_in(alice).post(f"{KEYS}{old.prefix}/rotate/", {"overlap_seconds": "0"})
    assert "which opens nothing any more" in text_of(page.content)


@pytest.mark.parametrize("overlap", ["", "-1", "99999999", "soon"])
def test_an_overlap_that_is_no_choice_changes_nothing(alice: User, films: Tenant, overlap: str) -> None:
    old = made(films)
    signed_in(alice).post(f"{KEYS}{old.prefix}/rotate/", {"overlap_seconds": overlap})
    assert ApiKey.objects.get().rotated_at is None


def test_whoever_revokes_hears_who_used_the_key_last_and_when(alice: User, films: Tenant) -> None:
    busy = made(films, "ranker")
    made(films, "forgotten")
    used(busy, minutes_ago=3)
    text = text_of(signed_in(alice).get(KEYS).content)
    assert re.search(r"Last used 3 min ago \(\d{4}-[^)]* UTC\) on movies from 10\.0\.0\.7, by ranker\.", text)
    assert "No use of it is known" in text


def test_a_replaced_key_that_somebody_still_uses_is_pointed_out(alice: User, films: Tenant) -> None:
    old = made(films)
    key_rotate(actor=TESTER, key=old)
    client = signed_in(alice)
    assert "still used" not in text_of(client.get(KEYS).content)
    ApiKey.objects.filter(pk=old.pk).update(rotated_at=timezone.now() - timedelta(minutes=5))
    used(old)
    assert "replaced still used" in text_of(client.get(KEYS).content)


def test_a_key_that_ends_within_two_weeks_is_warned_of_here_and_on_home(alice: User, bob: User, films: Tenant) -> None:
    soon, later, replaced = made(films, "soon", days=13.5), made(films, "later", days=15), made(films, "old")
    key_rotate(actor=TESTER, key=replaced, overlap_seconds=3600)
    client = signed_in(alice)
    warning = text_of(client.get(KEYS).content).split("A key ends soon.")[1].split("Key Scope")[0]
    assert f"rk_{soon.prefix}_… soon ends" in warning
    assert later.prefix not in warning
    assert replaced.prefix not in warning
    assert f"rk_{soon.prefix}_…" in text_of(client.get("/").content)
    assert soon.prefix not in text_of(signed_in(bob).get("/").content), "who may not rotate it need not hear of it"


def test_the_page_says_what_each_scope_may_by_the_table_that_decides(alice: User, films: Tenant) -> None:
    text = text_of(signed_in(alice).get(KEYS).content)
    granted: set[str] = set()
    for scope in rungs_of(SCOPES):
        granted |= set(scope.may.split("; "))
        assert granted == {WORDS[each] for each in SCOPES[scope.name]}
        assert f"{scope.may}." in text


def test_a_form_that_is_sent_again_makes_no_second_key(alice: User, films: Tenant) -> None:
    client = signed_in(alice)
    once = client.get(KEYS).context["once"]
    sent = {"name": "nightly", "scope": "read", "service": "", "life_days": "30", "once": once}
    assert client.post(f"{KEYS}create/", sent).context["made"].key.name == "nightly"
    again = client.post(f"{KEYS}create/", sent, follow=True)
    assert "This form was sent before" in text_of(again.content)
    assert again.redirect_chain == [(KEYS, 302)]
    assert ApiKey.objects.of(films).count() == 1
    assert client.post(f"{KEYS}create/", {**sent, "once": client.get(KEYS).context["once"]}).status_code == 200
    assert ApiKey.objects.of(films).count() == 2


def test_a_link_may_say_for_which_service_the_key_is(alice: User, films_service: object) -> None:
    page = signed_in(alice).get(f"{KEYS}?service=movies&scope=read").content.decode()
    assert '<option value="movies" selected>' in page
