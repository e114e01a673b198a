"""When a key was used, on what and from where: noted to the minute, never of another tenant."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from tenants.actions import Use, key_create, key_used, keys_revoke_of_service, keys_used
from tenants.models import ApiKey, KeyUse, Tenant
from tenants.selectors import first_use_of, key_get, last_uses_of
from tests.factories import TESTER

NOON = datetime.fromisoformat("2026-11-26T12:00:00Z")
BEFORE_ALL = NOON - timedelta(days=1)


def key_of(tenant: Tenant) -> ApiKey:
    return key_create(actor=TESTER, tenant=tenant, scope="read").key


def use(key: ApiKey, *, seconds: int = 0, service: str = "movies", tenant: str = "", address: str = "10.0.0.7") -> Use:
    return Use(key.prefix, tenant or key.tenant.name, service, NOON + timedelta(seconds=seconds), address)


def test_it_notes_the_first_and_the_newest_use_and_from_where(films: Tenant) -> None:
    key = key_of(films)
    keys_used(uses=[use(key)])
    keys_used(uses=[use(key, seconds=90, address="10.0.0.8")])
    row = KeyUse.objects.get()
    assert (row.first_at, row.last_at, row.address) == (NOON, NOON + timedelta(seconds=90), "10.0.0.8")
    assert key_get(films, key.prefix).last_used_at == NOON + timedelta(seconds=90)


def test_it_writes_once_a_minute_and_never_backwards(films: Tenant) -> None:
    key = key_of(films)
    for seconds in (0, 59, -600):
        keys_used(uses=[use(key, seconds=seconds)])
    assert KeyUse.objects.get().last_at == NOON
    assert key_get(films, key.prefix).last_used_at == NOON


def test_a_use_in_another_tenants_name_or_of_an_unknown_key_is_passed_over(films: Tenant, books: Tenant) -> None:
    key = key_of(films)
    keys_used(uses=[use(key, tenant="books"), Use("unknown1", "films", "movies", NOON, "")])
    assert not KeyUse.objects.exists()
    assert key_get(films, key.prefix).last_used_at is None


def test_the_first_use_of_a_service_is_the_first_of_all_keys(films: Tenant, books: Tenant) -> None:
    early, late, foreign = key_of(films), key_of(films), key_of(books)
    keys_used(uses=[use(late, seconds=60), use(early), use(early, service="series"), use(foreign, seconds=-60)])
    first = first_use_of(films, "movies", since=BEFORE_ALL)
    assert first is not None
    assert (first.key, first.first_at) == (early, NOON)
    assert first_use_of(films, "songs", since=BEFORE_ALL) is None


def test_the_newest_use_of_a_key_is_the_newest_of_all_services(films: Tenant) -> None:
    key, unused = key_of(films), key_of(films)
    keys_used(uses=[use(key, seconds=60, service="series"), use(key)])
    newest = last_uses_of([key, unused])
    assert {pk: row.service for pk, row in newest.items()} == {key.pk: "series"}


def test_a_call_over_rest_is_noted_at_most_once_a_minute(films: Tenant) -> None:
    key = key_of(films)
    key_used(key=key, address="127.0.0.1")
    first = key_get(films, key.prefix).last_used_at
    assert first is not None
    key_used(key=key_get(films, key.prefix), address="127.0.0.1")
    assert key_get(films, key.prefix).last_used_at == first
    long_ago = timezone.now() - timedelta(seconds=61)
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=long_ago)
    KeyUse.objects.update(last_at=long_ago)
    key_used(key=key_get(films, key.prefix), address="127.0.0.1")
    again = key_get(films, key.prefix).last_used_at
    assert again is not None
    assert again >= first


def test_the_next_service_of_a_name_starts_as_one_that_nobody_called(films: Tenant) -> None:
    key = key_of(films)
    keys_used(uses=[use(key), use(key, service="series")])
    keys_revoke_of_service(actor=TESTER, tenant=films, service="movies")
    assert first_use_of(films, "movies", since=BEFORE_ALL) is None
    assert first_use_of(films, "series", since=BEFORE_ALL) is not None
