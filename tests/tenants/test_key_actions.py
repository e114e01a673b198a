"""The life of a key: made, used, rotated, revoked, expired."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from audit.selectors import events_of
from common.actor import Actor
from common.errors import InvalidArgument, NotFound, QuotaExceeded, StateConflict
from tenants import actions
from tenants.actions import (
    KEY_OVERLAP_SECONDS_MAX,
    key_create,
    key_revoke,
    key_rotate,
    keys_revoke_of_service,
)
from tenants.models import ApiKey, Tenant
from tenants.selectors import active_keys_of, key_get, key_verify, keys_of, revoked_prefixes
from tests.factories import TESTER

HOUR = timedelta(hours=1)


def ends_in(key: ApiKey, after: timedelta) -> None:
    """Moves the end of a key, as if time had passed."""
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() + after)


def test_it_opens_with_the_key_that_was_made(films):
    new = key_create(actor=TESTER, tenant=films, scope="write", service="movies", name="ranker")
    found = key_verify(new.text)
    assert found == new.key
    assert (found.scope, found.service, found.name, found.tenant) == ("write", "movies", "ranker", films)


def test_it_stores_no_part_of_the_secret(films):
    new = key_create(actor=TESTER, tenant=films, scope="read")
    secret = new.text.rpartition("_")[2]
    row = ApiKey.objects.values().get(pk=new.key.pk)
    assert secret not in repr(row)
    assert secret not in repr([(event.before, event.after, event.target) for event in events_of("films")])
    assert secret not in str(new.key)


def test_it_does_not_open_with_a_key_that_differs_in_one_letter(films):
    text = key_create(actor=TESTER, tenant=films, scope="read").text
    for position in (3, len(text) - 1):
        other = "x" if text[position] != "x" else "y"
        assert key_verify(text[:position] + other + text[position + 1 :]) is None


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["", "rk_", "Bearer x", "rk_aaaaaaaa_" + "A" * 32, "\0", "rk_aaaaaaaa_" + "é" * 32])
def test_it_does_not_open_with_what_is_no_key(text):
    assert key_verify(text) is None


def test_it_does_not_open_under_another_pepper(films, settings):
    text = key_create(actor=TESTER, tenant=films, scope="read").text
    settings.KEY_PEPPER = "another pepper"
    assert key_verify(text) is None


def test_gateways_hear_first_of_the_key_that_ended_last(films, books):
    old = key_create(actor=TESTER, tenant=films, scope="read").key
    expired = key_create(actor=TESTER, tenant=films, scope="read").key
    young = [key_create(actor=TESTER, tenant=books, scope="read").key for _ in range(2)]
    for key in young:
        key_revoke(actor=TESTER, key=key)
    ends_in(expired, -HOUR)
    key_revoke(actor=TESTER, key=old)
    assert revoked_prefixes() == [key.prefix for key in (old, *reversed(young), expired)]


def test_a_tenant_makes_only_so_many_keys_a_day(films, books, monkeypatch):
    monkeypatch.setattr(actions, "KEYS_MADE_PER_DAY_MAX", 2)
    first = key_create(actor=TESTER, tenant=films, scope="read").key
    key_revoke(actor=TESTER, key=first)
    key_rotate(actor=TESTER, key=key_create(actor=TESTER, tenant=books, scope="read").key)
    key_create(actor=TESTER, tenant=films, scope="read")
    with pytest.raises(QuotaExceeded, match="within a day"):
        key_create(actor=TESTER, tenant=films, scope="read")
    ApiKey.objects.filter(pk=first.pk).update(created_at=timezone.now() - 25 * HOUR)
    assert key_create(actor=TESTER, tenant=films, scope="read").key.tenant == films


def test_it_does_not_open_after_it_was_revoked(films):
    new = key_create(actor=TESTER, tenant=films, scope="read")
    revoked = key_revoke(actor=Actor(kind="user", name="alice"), key=new.key)
    assert key_verify(new.text) is None
    assert revoked_prefixes() == [new.key.prefix]
    event = events_of("films")[0]
    assert (event.verb, event.actor, event.target) == ("key.revoke", "alice", new.key.prefix)
    again = key_revoke(actor=TESTER, key=new.key)
    assert again.revoked_at == revoked.revoked_at
    assert events_of("films")[0].pk == event.pk


def test_it_does_not_open_after_it_expired(films):
    new = key_create(actor=TESTER, tenant=films, scope="read", expires_at=timezone.now() + HOUR)
    assert key_verify(new.text) == new.key
    ends_in(new.key, -timedelta(seconds=1))
    assert key_verify(new.text) is None
    assert revoked_prefixes() == [new.key.prefix]


def test_it_forgets_to_tell_of_keys_that_ended_long_ago(films):
    old = key_create(actor=TESTER, tenant=films, scope="read").key
    ApiKey.objects.filter(pk=old.pk).update(revoked_at=timezone.now() - timedelta(days=8))
    assert revoked_prefixes() == []


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("scope", {"scope": "root"}),
        ("service", {"service": "No Service"}),
        ("name", {"name": "n" * 101}),
        ("name", {"name": "line\x1bfeed"}),
        ("expires_at", {"expires_at": timezone.now() - HOUR}),
        ("expires_at", {"expires_at": datetime(2099, 1, 1)}),  # noqa: DTZ001
    ],
)
def test_it_refuses_what_no_key_can_be(films, field, changes):
    with pytest.raises(InvalidArgument) as caught:
        key_create(actor=TESTER, tenant=films, **{"scope": "read", **changes})
    assert caught.value.field == field
    assert not keys_of(films).exists()


def test_a_rotated_key_opens_beside_the_new_one_for_the_overlap(films):
    old = key_create(actor=TESTER, tenant=films, scope="write", service="movies", name="ranker")
    new = key_rotate(actor=TESTER, key=old.key, overlap_seconds=600)
    assert key_verify(old.text) == old.key
    assert key_verify(new.text) == new.key
    assert (new.key.scope, new.key.service, new.key.name, new.key.expires_at) == ("write", "movies", "ranker", None)
    left = key_get(films, old.key.prefix).expires_at - timezone.now()
    assert timedelta(seconds=500) < left <= timedelta(seconds=600)
    ends_in(old.key, timedelta(0))
    assert key_verify(old.text) is None
    assert key_verify(new.text) == new.key


def test_a_rotated_key_gives_its_length_of_life_to_the_new_one(films):
    old = key_create(actor=TESTER, tenant=films, scope="read", expires_at=timezone.now() + 100 * HOUR)
    ApiKey.objects.filter(pk=old.key.pk).update(
        created_at=timezone.now() - 99 * HOUR, expires_at=timezone.now() + timedelta(minutes=1)
    )
    new = key_rotate(actor=TESTER, key=old.key, overlap_seconds=3_600)
    assert key_get(films, old.key.prefix).expires_at - timezone.now() <= timedelta(minutes=1)
    assert 98 * HOUR < new.key.expires_at - timezone.now() < 100 * HOUR


def test_it_does_not_rotate_a_key_that_ended_or_was_rotated(films):
    rotated = key_create(actor=TESTER, tenant=films, scope="read").key
    key_rotate(actor=TESTER, key=rotated)
    revoked = key_create(actor=TESTER, tenant=films, scope="read").key
    key_revoke(actor=TESTER, key=revoked)
    expired = key_create(actor=TESTER, tenant=films, scope="read").key
    ends_in(expired, -HOUR)
    count = keys_of(films).count()
    for key in (rotated, revoked, expired):
        with pytest.raises(StateConflict):
            key_rotate(actor=TESTER, key=key)
    assert keys_of(films).count() == count


@pytest.mark.parametrize("overlap_seconds", [-1, KEY_OVERLAP_SECONDS_MAX + 1])
def test_it_refuses_an_overlap_without_end(films, overlap_seconds):
    key = key_create(actor=TESTER, tenant=films, scope="read").key
    with pytest.raises(InvalidArgument) as caught:
        key_rotate(actor=TESTER, key=key, overlap_seconds=overlap_seconds)
    assert caught.value.field == "overlap_seconds"


def test_every_change_of_keys_raises_the_tenants_generation(films, books):
    def generation() -> int:
        return Tenant.objects.get(name="films").route_generation

    start = generation()
    key = key_create(actor=TESTER, tenant=films, scope="read").key
    assert generation() == start + 1
    new = key_rotate(actor=TESTER, key=key).key
    assert generation() == start + 2
    key_revoke(actor=TESTER, key=new)
    assert generation() == start + 3
    assert Tenant.objects.get(name="books").route_generation == books.route_generation


def test_it_rings_after_the_commit_and_outlives_a_broker_that_is_away(
    films, django_capture_on_commit_callbacks, caplog
):
    with (
        caplog.at_level(logging.WARNING, logger="common.dispatch"),
        django_capture_on_commit_callbacks(execute=True) as callbacks,
    ):
        new = key_create(actor=TESTER, tenant=films, scope="read")
        assert caplog.messages == []
    assert len(callbacks) == 1
    assert f"routes.publish_tenant({films.pk},)" in caplog.messages[0]
    assert key_verify(new.text) == new.key


def test_it_keeps_the_number_of_keys_in_bounds(films, monkeypatch):
    monkeypatch.setattr(actions, "ACTIVE_KEYS_PER_TENANT_MAX", 2)
    first = key_create(actor=TESTER, tenant=films, scope="read").key
    key_create(actor=TESTER, tenant=films, scope="read")
    with pytest.raises(QuotaExceeded, match=r"films has 2 active keys; at most 2 are allowed. Revoke one"):
        key_create(actor=TESTER, tenant=films, scope="read")
    key_revoke(actor=TESTER, key=first)
    assert key_create(actor=TESTER, tenant=films, scope="read").key.pk


def test_it_ends_the_keys_of_one_service_and_no_others(films, books):
    gone = key_create(actor=TESTER, tenant=films, scope="read", service="movies")
    kept = [
        key_create(actor=TESTER, tenant=films, scope="read", service="series"),
        key_create(actor=TESTER, tenant=films, scope="read"),
        key_create(actor=TESTER, tenant=books, scope="read", service="movies"),
    ]
    keys_revoke_of_service(actor=TESTER, tenant=films, service="movies")
    assert key_verify(gone.text) is None
    assert all(key_verify(new.text) == new.key for new in kept)


def test_routes_carry_the_keys_that_open_something_now(films):
    open_keys = {
        key_create(actor=TESTER, tenant=films, scope="read").key.prefix,
        key_create(actor=TESTER, tenant=films, scope="read", expires_at=timezone.now() + HOUR).key.prefix,
    }
    ends_in(key_create(actor=TESTER, tenant=films, scope="read").key, -HOUR)
    key_revoke(actor=TESTER, key=key_create(actor=TESTER, tenant=films, scope="read").key)
    assert {key.prefix for key in active_keys_of(films)} == open_keys
    assert keys_of(films).count() == 4


def test_another_tenants_key_is_not_found(films, books):
    key = key_create(actor=TESTER, tenant=books, scope="read").key
    answers = []
    for prefix in (key.prefix, "zzzzzzzz", "a\0b"):
        with pytest.raises(NotFound) as caught:
            key_get(films, prefix)
        answers.append((caught.value.message, caught.value.reason))
    assert len(set(answers)) == 1
    assert list(keys_of(films)) == []
