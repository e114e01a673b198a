"""No switch makes callers hear worse than they do, unless somebody says so; alerts follow what is live."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from alerts.models import Alert, Delivery
from audit.models import AuditEvent
from common.errors import FailedPrecondition
from tests.factories import TESTER
from tests.support.history import activated, heard_of, made_version, refreshed
from versions import actions
from versions.models import Reload, Replica
from versions.standing import Standing, conditions_of
from versions.verdicts import Finding

pytestmark = pytest.mark.django_db

BLUE = Finding("AWAY", "the instance blue: nobody listens", {"away_in_a_row": 2})


@pytest.fixture
def two(films_service):
    """Version 2 is live, and a rollback goes to version 1; both are loaded."""
    for _ in range(2):
        activated(made_version(films_service))
    return refreshed(films_service)


def sicken(number, verdict, seconds=40):
    since = timezone.now() - timedelta(seconds=seconds)
    assert Replica.objects.filter(version__number=number).update(sick_reason=verdict, sick_since=since)


def away(number):
    """As an audit says it, with its alert."""
    replica = Replica.objects.select_related("version__service__tenant", "node").get(version__number=number)
    actions.replica_sicken(replica=replica, finding=BLUE)


def roll_back(service, **values):
    return actions.version_rollback(actor=TESTER, service=service, **values)


def activate(service, number, **values):
    return actions.version_activate(actor=TESTER, service=service, number=number, **values)


def alert_of(number):
    alert = Alert.objects.get(reason="engine.unavailable", subject=f"version {number}")
    return alert.severity, alert.message


@pytest.mark.parametrize("switch", [roll_back, lambda service, **values: activate(service, 1, **values)])
def test_from_a_well_version_nobody_goes_to_one_whose_server_is_away_without_saying_so(two, switch):
    sicken(1, "AWAY")
    with pytest.raises(FailedPrecondition) as refused:
        switch(two)
    assert refused.value.reason == "VERSION_NOT_WELL"
    assert "Version 1 has answered nobody, because the server that its engine asks is away, for 40 s" in str(
        refused.value
    )
    assert "version 2, which is live, is well" in str(refused.value)
    assert "`anyway` (--anyway)" in str(refused.value)
    after = refreshed(two)
    assert (after.live_version, after.held_at) == (2, None)
    assert switch(two, anyway=True).to_version == 1
    assert refreshed(two).live_version == 1
    told = AuditEvent.objects.latest("pk").after["anyway"]
    assert "Version 1 has answered nobody" in told, "who looks later sees what was passed over"
    assert told.endswith("version 2, which is live, is well.")


@pytest.mark.parametrize("switch", [roll_back, lambda service, **values: activate(service, 1, **values)])
def test_anyway_is_no_word_of_the_audit_trail_where_there_was_nothing_to_refuse(two, switch):
    switch(two, anyway=True)
    assert "anyway" not in AuditEvent.objects.latest("pk").after


@pytest.mark.parametrize(
    ("there", "here", "is_refused"),
    [
        ("WRONG", "", True),
        ("FROZEN", "", True),
        ("FAILED", "", True),
        ("SLOW", "", False),
        ("STALE", "", False),
        ("AWAY", "SLOW", True),
        ("SLOW", "SLOW", False),
        ("SLOW", "AWAY", False),
        ("AWAY", "AWAY", False),
        ("AWAY", "WRONG", False),
        ("", "AWAY", False),
    ],
)
def test_what_is_refused_is_what_callers_would_hear_worse(two, there, here, is_refused):
    """Where what is live answers nobody itself, any version may be the way out."""
    sicken(1, there)
    sicken(2, here)
    if is_refused:
        with pytest.raises(FailedPrecondition, match="nothing was changed"):
            roll_back(two)
    else:
        assert roll_back(two).changed
    assert refreshed(two).live_version == (2 if is_refused else 1)


def test_one_replica_that_is_well_makes_a_version_well(two):
    one = Replica.objects.get(version__number=1)
    sicken(1, "AWAY")
    node = heard_of("elsewhere")
    Replica.objects.create(version=one.version, node=node, state="READY", address="unix:/run/r9.sock")
    assert conditions_of([one.version])[one.version_id].standing == Standing.WELL
    assert roll_back(two).to_version == 1


def test_what_is_on_no_node_is_loaded_and_checked_first_and_not_refused(two):
    Replica.objects.filter(version__number=1).update(sick_reason="WRONG", sick_since=timezone.now(), withheld=True)
    assert "It is being loaded" in roll_back(two).loading
    assert refreshed(two).live_version == 2


def test_where_nothing_is_live_nothing_is_worse(two):
    sicken(1, "AWAY")
    actions.live_clear(actor=TESTER, service=two, reason="a legal order")
    assert activate(refreshed(two), 1).to_version == 1


def test_the_alert_of_a_server_that_is_away_follows_what_is_live(two):
    away(1)
    severity, message = alert_of(1)
    assert (severity, "UNAVAILABLE" in message) == ("warning", False)
    assert "the instance blue: nobody listens. It is not live" in message
    sent = Delivery.objects.count()

    activate(two, 1, anyway=True)
    severity, message = alert_of(1)
    assert (severity, "Callers are told UNAVAILABLE (ENGINE_UNAVAILABLE)" in message) == ("critical", True)

    activate(refreshed(two), 2)
    severity, message = alert_of(1)
    assert (severity, "It is not live" in message) == ("warning", True)
    actions.version_activate(actor=TESTER, service=refreshed(two), number=1, anyway=True)
    actions.live_clear(actor=TESTER, service=refreshed(two), reason="a legal order")
    assert alert_of(1)[0] == "warning"
    assert Alert.objects.get().count == 1, "it did not happen again"
    assert Delivery.objects.count() == sent, "nobody is told of what they did themselves"


def test_an_audit_makes_up_for_a_switch_at_the_moment_of_an_alert(two):
    """Each of them read the other's row before it was written."""
    away(1)
    activate(two, 1, anyway=True)
    Alert.objects.update(severity="warning", message="It is not live.")
    sick = Replica.objects.get(version__number=1)
    actions.replica_treat(replica=sick, finding=BLUE)
    severity, message = alert_of(1)
    assert (severity, "Callers are told UNAVAILABLE" in message) == ("critical", True)


def failed_to_load(service, number):
    version = service.versions.get(number=number)
    Replica.objects.filter(version=version).update(state="GONE")
    reload = actions.reload_request(actor=TESTER, service=service, version=version, kind="activate")
    actions.reload_end(reload=Reload.objects.get(pk=reload.pk), failure="No node has room.", actor=TESTER)
    return Alert.objects.get(reason="version.reload_failed", subject=f"version {number}")


def test_nobody_waits_for_a_version_to_be_loaded_once_another_one_was_switched_to(two):
    activated(made_version(two))
    alert = failed_to_load(refreshed(two), 2)
    assert (alert.state, alert.severity) == ("OPEN", "critical")
    activate(refreshed(two), 1)
    alert.refresh_from_db()
    assert (refreshed(two).live_version, alert.state) == (1, "RESOLVED")


def test_what_a_rollback_would_go_to_from_here_stays_an_alert(two):
    for _ in range(2):
        activated(made_version(two))
    alert = failed_to_load(refreshed(two), 2)
    roll_back(refreshed(two), from_version=4)
    alert.refresh_from_db()
    assert (refreshed(two).live_version, alert.state) == (3, "OPEN")


def test_nobody_waits_for_a_version_to_be_loaded_that_retires(two):
    activated(made_version(two))
    alert = failed_to_load(refreshed(two), 1)
    actions.version_retire(version=two.versions.get(number=1))
    alert.refresh_from_db()
    assert alert.state == "RESOLVED"
