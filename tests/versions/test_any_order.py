"""Builds, switches, failures and retirement in any order: what must always hold, holds."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from audit.models import AuditEvent
from common.errors import Conflict, FailedPrecondition, StateConflict
from tests.factories import TESTER, make_service, make_tenant
from tests.support.history import asked, claimed, completed, held, place, refreshed, report_all_ready, resolved
from versions import actions, selectors
from versions.checked import is_checked
from versions.models import Activation, Build, Replica, Version
from versions.states import BUILD_FINAL, PLACED

pytestmark = pytest.mark.servers

EXAMPLES = 15
STEPS_PER_EXAMPLE = 20
NUMBERS = st.integers(min_value=1, max_value=12)


class AnyOrder(RuleBasedStateMachine):
    """One service. Each rule is something that people, builds or the sweeper do."""

    counter = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).counter += 1
        self.service = make_service(make_tenant(f"t{self.counter}"))
        self.generations = [(0, 0)]
        self.switches = 0

    @rule(good=st.booleans())
    def build(self, good: bool) -> None:
        build = asked(self.service, force=True)
        claim = claimed(build)
        resolved(claim, f"drop-{build.number:04}")
        version = completed(claim)
        if not good:
            actions.build_fail(claim, reason="engine.crashed", owner="platform", message="It crashed.")
            return
        place(claim, version)
        report_all_ready()
        actions.build_succeed(claim)

    @rule()
    def build_and_hold(self) -> None:
        held(asked(self.service, force=True))

    @rule(number=NUMBERS)
    def decide_on_a_held_build(self, number: int) -> None:
        build = Build.objects.filter(service=self.service, state="HELD").first()
        if build is None:
            return
        if number % 2:
            actions.build_cancel(actor=TESTER, build=build)
        else:
            actions.build_override(actor=TESTER, build=build, reason="because")
            actions.build_cancel(actor=TESTER, build=build)

    @rule(number=NUMBERS, stale=st.booleans())
    def activate(self, number: int, stale: bool) -> None:
        service = refreshed(self.service)
        expected = service.live_generation - 1 if stale else None
        version = selectors.versions_of(service).filter(number=number).first()
        if version is None:
            return
        try:
            activation = actions.version_activate(
                actor=TESTER, service=service, number=number, expected_live_generation=expected
            )
        except FailedPrecondition:
            assert version.state != "READY" or not is_checked(version)
        except Conflict:
            assert stale or selectors.open_reload(service) is not None
        else:
            assert not (stale and activation.changed)
            assert not activation.loading or not self.is_at_hand(version)
            self.switches += activation.changed and not activation.loading

    @rule(number=NUMBERS)
    def roll_back(self, number: int) -> None:
        service = refreshed(self.service)
        target = selectors.rollback_target(service)
        try:
            activation = actions.version_rollback(actor=TESTER, service=service, from_version=number)
        except FailedPrecondition:
            assert target is None or service.live_version is None
            return
        except Conflict:
            assert selectors.open_reload(service) is not None
            return
        if activation.loading:
            assert target is not None
            assert not self.is_at_hand(target)
            assert refreshed(service).live_version == number
            return
        self.switches += activation.changed
        assert activation.changed == (service.live_version == number)
        if activation.changed:
            assert target is not None
            assert refreshed(service).live_version == target.number < number
            assert selectors.version_get(service, number).bad_at is not None

    @precondition(lambda self: Version.objects.filter(service=self.service, state="READY").exists())
    @rule(keep=st.integers(min_value=1, max_value=3))
    def retire(self, keep: int) -> None:
        target = selectors.rollback_target(refreshed(self.service))
        for version in selectors.retirable(refreshed(self.service), keep=keep):
            assert version != target
            actions.version_retire(version=version)
            actions.version_unrouted(version=version)
            actions.version_unload(version=version)
            actions.version_retired(version=version)

    @rule(number=NUMBERS)
    def retire_any(self, number: int) -> None:
        version = selectors.versions_of(self.service).filter(number=number).first()
        if version is None:
            return
        target = selectors.rollback_target(refreshed(self.service))
        try:
            actions.version_retire(version=version)
        except FailedPrecondition:
            assert number in (refreshed(self.service).live_version, target.number if target else None)
        except StateConflict:
            assert version.state != "READY"

    def is_at_hand(self, version: Version) -> bool:
        """Nobody has to load it first. (What is being loaded here never comes to its end.)"""
        return version.cold_at is None and selectors.is_loaded(version)

    @rule()
    def lose_a_replica(self) -> None:
        ready = Replica.objects.filter(version__service=self.service, state="READY").order_by("-pk")
        ready.filter(pk__in=ready[:1].values("pk")).update(state="LOADING")

    @invariant()
    def live_points_to_a_version_that_can_serve(self) -> None:
        service = refreshed(self.service)
        if service.live_version is not None:
            live = selectors.live_version(service)
            assert live is not None
            assert (live.state, live.artifact != "", live.files_deleted_at) == ("READY", True, None)

    @invariant()
    def generations_only_rise(self) -> None:
        service = refreshed(self.service)
        now = (service.live_generation, service.route_generation)
        before = self.generations[-1]
        assert now[0] >= before[0]
        assert now[1] >= before[1]
        self.generations.append(now)

    @invariant()
    def every_switch_has_a_generation_a_row_and_an_audit_event(self) -> None:
        service = refreshed(self.service)
        activations = Activation.objects.filter(service=service)
        events = AuditEvent.objects.filter(
            tenant=service.tenant.name, verb__in=["service.activate", "service.rollback"]
        )
        assert service.live_generation == activations.count() == events.count() == self.switches

    @invariant()
    def the_newest_switch_tells_what_is_live(self) -> None:
        newest = selectors.activations_of(self.service).first()
        assert refreshed(self.service).live_version == (newest.to_version if newest else None)

    @invariant()
    def failed_versions_are_on_no_node(self) -> None:
        placed = Replica.objects.filter(version__service=self.service, state__in=PLACED)
        assert not placed.filter(version__state__in=["FAILED", "RETIRED"]).exists()

    @invariant()
    def ended_builds_have_no_lease_and_no_wake_up(self) -> None:
        ended = Build.objects.filter(service=self.service, state__in=BUILD_FINAL)
        assert not ended.filter(lease_until__isnull=False).exists()
        assert not ended.filter(wake_at__isnull=False).exists()


@pytest.mark.django_db
def test_invariants_hold_in_any_order():
    quick = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS_PER_EXAMPLE,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(AnyOrder, settings=quick)
