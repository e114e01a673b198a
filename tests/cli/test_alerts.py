"""recall alerts, and recall audit --verify."""

from __future__ import annotations

import pytest
from django.db import connection

from alerts.actions import alert_raise, alert_resolve
from alerts.models import Delivery
from audit.models import AuditEvent
from catalog.models import Service
from cli import errors
from tests.cli.conftest import Recall


@pytest.fixture
def raised(films_service: Service) -> None:
    alert_raise(service=films_service, reason="drop.late", message="Nothing came.")
    alert_resolve(service=films_service, reason="drop.late")
    for reason in ("guard.min_recall", "replica.wrong"):
        alert_raise(service=films_service, reason=reason, message="Look at it.")


def test_it_lists_what_is_not_over_newest_first(local: Recall, raised: None) -> None:
    local("alerts", "ack", "2")
    assert [one["number"] for one in local("alerts", "--json").data] == [3, 2]
    assert [one["number"] for one in local("alerts", "-n", "1", "--json").data] == [3]
    assert [one["number"] for one in local("alerts", "--state", "RESOLVED", "--json").data] == [1]
    assert local("alerts", "--service", "series", "--json").data == []
    assert [one["number"] for one in local("alerts", "list", "-n", "1", "--json").data] == [3]
    out = local("alerts").out
    assert local("alerts", "list").out == out
    assert "replica.wrong" in out
    assert "drop.late" not in out


def test_nothing_wrong_is_said(local: Recall, films_service: Service) -> None:
    assert "Nothing is wrong" in local("alerts").err


def test_acknowledging_says_who(local: Recall, raised: None) -> None:
    done = local("alerts", "ack", "3", "--json").data
    assert (done["state"], done["acknowledged_by"].startswith("shell:")) == ("ACKNOWLEDGED", True)
    assert local("alerts", "ack", "99").code == errors.EXIT_NOT_FOUND
    assert local("alerts", "ack", "1").code == errors.EXIT_FAILED


def test_a_delivery_that_failed_is_told(local: Recall, raised: None, films_service: Service) -> None:
    alert = films_service.alerts.get(number=3)
    Delivery.objects.create(alert=alert, event="opened", channel="email", target="a@example.org", error="No server.")
    assert "alert 3, opened by email: pending. No server." in local("alerts").err


def test_the_secret_is_shown_and_rotated(local: Recall, films_service: Service) -> None:
    first = local("alerts", "secret", "--json").data
    rotated = local("alerts", "secret", "--rotate", "--json").data
    assert first["secret"].startswith("whsec_")
    assert rotated["before"] == first["secret"]


def test_a_whole_trail_is_told_with_where_it_ends(local: Recall, raised: None) -> None:
    ran = local("audit", "--verify")
    last = AuditEvent.objects.order_by("position").last()
    assert last is not None
    assert ran.code == 0
    assert "whole" in ran.out
    assert f"{last.position}:{last.digest}" in ran.out


def test_a_changed_event_is_named_and_the_exit_code_is_1(local: Recall, raised: None) -> None:
    first = AuditEvent.objects.order_by("position").first()
    assert first is not None
    with connection.cursor() as cursor:
        cursor.execute("UPDATE audit_auditevent SET actor = 'nobody' WHERE id = %s", [first.pk])
    ran = local("audit", "--verify")
    assert ran.code == errors.EXIT_FAILED
    assert "NOT WHOLE" in ran.out
    assert "Event 1 " in ran.out
    told = local("audit", "--verify", "--json")
    assert told.code == errors.EXIT_FAILED
    assert (told.data["whole"], told.data["fault"]["position"], told.data["fault"]["id"]) == (False, 1, first.pk)


def test_only_the_platform_s_machine_can_verify(recall: Recall, clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("RECALL_API_KEY", "rk_x_y")
    assert recall("audit", "--verify").code == errors.EXIT_DENIED
