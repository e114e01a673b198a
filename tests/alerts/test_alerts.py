"""What is wrong is one alert until it is over, however often it is said."""

from __future__ import annotations

import pytest

from alerts import selectors
from alerts.actions import alert_acknowledge, alert_raise, alert_resolve, alerts_resolve
from alerts.actions.alerts import RAISE_TRIES_MAX
from alerts.models import Alert
from audit.selectors import events_of
from common.actor import Actor
from common.errors import Conflict, NotFound, StateConflict
from tenants.models import Tenant

pytestmark = pytest.mark.django_db

BOB = Actor(kind="user", name="bob")


def raise_late(service, **more):
    return alert_raise(service=service, reason="drop.late", message="Nothing came for 26 h.", **more)


def open_of(tenant):
    return selectors.open_count(Tenant.objects.filter(pk=tenant.pk))


def test_it_is_open_and_numbered_for_its_tenant(films, films_service, books_service):
    first = raise_late(films_service, evidence={"hours": 26})
    foreign = raise_late(books_service)
    second = alert_raise(service=films_service, reason="replica.wrong", subject="node-1", message="Wrong answers.")
    assert [first.number, second.number, foreign.number] == [1, 2, 1]
    assert (first.state, first.severity, first.count, first.evidence) == ("OPEN", "warning", 1, {"hours": 26})
    assert [alert.number for alert in selectors.alerts_of(films)] == [2, 1]


def test_raising_it_again_counts_up_and_says_the_newest(films_service):
    first = raise_late(films_service)
    again = alert_raise(
        service=films_service, reason="drop.late", message="30 h.", severity="critical", evidence={"hours": 30}
    )
    assert again.pk == first.pk
    assert (again.count, again.message, again.severity, again.evidence) == (2, "30 h.", "critical", {"hours": 30})
    assert again.seen_at > first.seen_at
    assert again.opened_at == first.opened_at


def test_an_acknowledged_one_that_happens_again_stays_acknowledged(films_service):
    alert_acknowledge(actor=BOB, alert=raise_late(films_service))
    again = raise_late(films_service)
    assert (again.state, again.acknowledged_by, again.count) == ("ACKNOWLEDGED", "bob", 2)


def test_what_happens_again_after_it_was_resolved_is_a_new_one(films_service):
    first = raise_late(films_service)
    alert_resolve(service=films_service, reason="drop.late")
    second = raise_late(films_service)
    first.refresh_from_db()
    assert (first.state, second.state, second.number, second.count) == ("RESOLVED", "OPEN", 2, 1)
    assert first.resolved_at is not None


def test_other_subjects_and_other_services_have_their_own(films_service, books_service):
    raise_late(films_service, subject="a")
    raise_late(films_service, subject="b")
    raise_late(books_service, subject="a")
    alert_resolve(service=films_service, reason="drop.late", subject="a")
    left = Alert.objects.exclude(state="RESOLVED").values_list("service__name", "subject")
    assert set(left) == {("movies", "b"), ("novels", "a")}


def test_resolving_what_is_not_there_or_over_changes_nothing(films_service):
    alert_resolve(service=films_service, reason="drop.late")
    alert = raise_late(films_service)
    alert_resolve(service=films_service, reason="drop.late")
    alert.refresh_from_db()
    before = alert.resolved_at
    alert_resolve(service=films_service, reason="drop.late")
    alert.refresh_from_db()
    assert alert.resolved_at == before


def test_a_subject_is_resolved_whatever_its_reasons(films_service, books_service):
    raise_late(films_service, subject="build 1")
    alert_raise(service=films_service, reason="engine.crashed", subject="build 1", message="It died.")
    other = raise_late(films_service, subject="build 2")
    foreign = raise_late(books_service, subject="build 1")
    alerts_resolve(service=films_service, subjects=["build 1"])
    assert set(Alert.objects.exclude(state="RESOLVED")) == {other, foreign}


def test_acknowledging_says_who_and_is_audited_once(films, films_service):
    alert = raise_late(films_service)
    assert open_of(films) == 1
    done = alert_acknowledge(actor=BOB, alert=alert)
    again = alert_acknowledge(actor=Actor(kind="user", name="alice"), alert=alert)
    assert (done.state, again.acknowledged_by, open_of(films)) == (
        "ACKNOWLEDGED",
        "bob",
        0,
    )
    assert again.acknowledged_at is not None
    events = [(e.actor, e.target, e.service) for e in events_of("films") if e.verb == "alert.acknowledge"]
    assert events == [("bob", "alert 1", "movies")]


def test_a_resolved_one_cannot_be_acknowledged(films_service):
    alert = raise_late(films_service)
    alert_resolve(service=films_service, reason="drop.late")
    with pytest.raises(StateConflict, match="Alert 1 is resolved already"):
        alert_acknowledge(actor=BOB, alert=alert)


def test_a_foreign_alert_and_an_unknown_one_look_the_same(films, books_service):
    raise_late(books_service)
    with pytest.raises(NotFound) as foreign:
        selectors.alert_get(films, 1)
    with pytest.raises(NotFound) as unknown:
        selectors.alert_get(films, 99)
    assert (foreign.value.message, foreign.value.reason) == (unknown.value.message, unknown.value.reason)


def test_alerts_are_found_by_service_and_state(films, films_service):
    from tests.factories import make_service

    series = make_service(films, "series")
    raise_late(films_service)
    raise_late(series)
    alert_resolve(service=films_service, reason="drop.late")
    assert [a.number for a in selectors.alerts_of(films, service="series")] == [2]
    assert [a.number for a in selectors.alerts_of(films, state="RESOLVED")] == [1]
    assert not selectors.alerts_of(films, service="series", state="RESOLVED").exists()


def test_a_severity_that_is_none_is_refused(films_service):
    with pytest.raises(ValueError, match="loud"):
        raise_late(films_service, severity="loud")
    assert not Alert.objects.exists()


def test_who_loses_the_race_to_open_it_counts_up_the_winner_s(films_service, monkeypatch):
    """The winner's row appears after the loser has looked and found none."""
    from alerts.actions import alerts as actions

    found = []

    def late(service, reason, subject=""):
        found.append(1)
        if len(found) == 1:
            raise_late_for_real(service)
            return Alert.objects.none()
        return selectors.unresolved(service, reason, subject)

    def raise_late_for_real(service):
        monkeypatch.setattr(actions, "unresolved", selectors.unresolved)
        raise_late(service)
        monkeypatch.setattr(actions, "unresolved", late)

    monkeypatch.setattr(actions, "unresolved", late)
    assert raise_late(films_service).count == 2
    assert Alert.objects.count() == 1


def test_who_loses_every_race_gives_up_after_a_limit(films_service, monkeypatch):
    from alerts.actions import alerts as actions

    raise_late(films_service)
    looked = []
    monkeypatch.setattr(actions, "unresolved", lambda *_: looked.append(1) or Alert.objects.none())
    with pytest.raises(Conflict, match="at this moment"):
        raise_late(films_service)
    assert len(looked) == RAISE_TRIES_MAX
