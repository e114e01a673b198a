"""Builds, workers that die and come back, people, and clocks that jump, in any order, against a small model.

RECALL_TEST_EXAMPLES=500 tries more, and other ones each time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.conf import settings as django_settings
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from audit.models import AuditEvent
from catalog.actions import service_hold, service_release
from common.errors import Conflict, FailedPrecondition, StateConflict
from tenants.actions import quota_update
from tests.factories import TESTER, make_service, make_tenant
from tests.support.history import asked, completed, heard_of, place, refreshed, report, resolved, seen
from versions import actions, selectors
from versions.actions import CancelAsked, Claim, FenceLost
from versions.checked import is_checked
from versions.models import Activation, Build, BuildStep, Node, Replica, Version
from versions.states import BUILD_FINAL, PLACED
from workers import pipeline, standby, sweep
from workers.lease import Lease

pytestmark = pytest.mark.servers

EXAMPLES, STEPS_PER_EXAMPLE = 8, 30
BUILDS_AT_ONCE = 2
UNFINISHED_MAX = 4
ANY = st.integers(min_value=0, max_value=11)
LONG_AGO, FAR_AHEAD = "2020-01-01T00:00:00+00:00", "2100-01-01T00:00:00+00:00"
STEP_NAMES = [step.name for step in pipeline.STEPS]
MADE_BY = STEP_NAMES[: STEP_NAMES.index("activate")]


@dataclass
class Model:
    """What the platform should believe."""

    live: int | None = None
    is_held: bool = False
    bad: set[int] = field(default_factory=set)
    # Holds of the service so far; the one that each build was held for last, and those that were overridden, by build.
    # A build that was held because a newer version was live is kept by that version.
    holds: int = 0
    met: dict[int, tuple[str, int | None]] = field(default_factory=dict)
    passed: set[tuple[int, tuple[str, int | None]]] = field(default_factory=set)
    # (kind, from, to), oldest first.
    switches: list[tuple[str, int | None, int]] = field(default_factory=list)

    def switch(self, kind: str, to: int) -> None:
        self.switches.append((kind, self.live, to))
        self.live = to
        self.bad.discard(to)

    def roll_back(self, to: int) -> None:
        assert self.live is not None
        left = self.live
        self.switch("rollback", to)
        self.bad.add(left)
        self.hold()

    def hold(self) -> None:
        self.is_held = True
        self.holds += 1


class AnyCourse(RuleBasedStateMachine):
    """One service. Workers are claims: a dead one's is kept, and may try to write again at any time."""

    counter = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).counter += 1
        tenant = make_tenant(f"course{self.counter}")
        quota_update(actor=TESTER, tenant=tenant, builds_at_once_max=BUILDS_AT_ONCE)
        self.service = make_service(tenant)
        self.node = f"node{self.counter}"
        heard_of(self.node)
        # Those of the courses before: nothing of this one shall be loaded there.
        Node.objects.exclude(name=self.node).update(seen_at=LONG_AGO)
        self.model = Model()
        self.claims: list[Claim] = []
        self.fences: dict[int, int] = {}

    # ---- builds and their workers

    @precondition(lambda self: self.builds().exclude(state__in=BUILD_FINAL).count() < UNFINISHED_MAX)
    @rule()
    def ask(self) -> None:
        asked(self.service, force=True)

    @rule(which=ANY)
    def claim(self, which: int) -> None:
        build = self.pick(self.builds().exclude(state__in=BUILD_FINAL), which)
        if build is None:
            return
        running = self.builds().filter(state="RUNNING").count()
        lease_ended = build.lease_until is not None and build.lease_until.year == 2020
        due = build.wake_at is not None and build.wake_at.year == 2020
        free = build.state == "PENDING" and running < BUILDS_AT_ONCE
        expected = free or (build.state == "RUNNING" and (due if build.wake_at else lease_ended))
        claim = actions.build_claim(build.pk, owner=f"worker {len(self.claims)}")
        assert (claim is not None) == expected
        if claim is not None:
            assert claim.fence > build.fence
            actions.steps_prepare(claim, STEP_NAMES)
            self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(which=ANY, looks=st.booleans())
    def work(self, which: int, looks: bool) -> None:
        """One more thing for a build by a worker that has it, or thinks so; it `looks` for a cancel first, or not."""
        claim = self.claims[-1 - which % len(self.claims)]
        build = Build.objects.select_related("service__tenant").get(pk=claim.build_id)
        if not self.holds(claim, build):
            self.refused(claim, build)
            return
        if looks and build.cancel_requested_at is not None:
            actions.build_stop(claim, reason="build.cancelled", message="Cancelled.")
        elif not build.drop_name:
            resolved(claim, f"drop-{build.number:04}")
        elif not build.steps.filter(name=MADE_BY[-1], state="DONE").exists():
            self.make(claim)
        elif build.steps.filter(name="activate", state="DONE").exists():
            actions.build_succeed(claim)
        else:
            self.switch_by_build(claim, build)

    @precondition(lambda self: self.claims)
    @rule(which=ANY, how=st.sampled_from(["fail", "hold", "wait"]))
    def stop_working(self, which: int, how: str) -> None:
        claim = self.claims[-1 - which % len(self.claims)]
        build = Build.objects.get(pk=claim.build_id)
        if not self.holds(claim, build):
            self.refused(claim, build)
        elif how == "fail":
            actions.build_fail(claim, reason="engine.crashed", owner="platform", message="It crashed.")
        elif build.cancel_requested_at is not None:
            with pytest.raises(CancelAsked):
                self.pause(claim, how)
            actions.build_stop(claim, reason="build.cancelled", message="Cancelled.")
        else:
            self.pause(claim, how)

    # ---- people

    @rule(which=ANY)
    def cancel(self, which: int) -> None:
        build = self.pick(self.builds(), which)
        if build is None:
            return
        version = selectors.version_of(build)
        try:
            actions.build_cancel(actor=TESTER, build=build)
        except StateConflict:
            assert build.state in BUILD_FINAL
        except FailedPrecondition:
            assert version is not None
            assert version.activated_at is not None

    @rule(which=ANY)
    def override(self, which: int) -> None:
        build = self.pick(self.builds().filter(state="HELD"), which)
        if build is not None:
            actions.build_override(actor=TESTER, build=build, reason="because")
            if build.pk in self.model.met:
                self.model.passed.add((build.pk, self.model.met[build.pk]))

    @rule(which=ANY)
    def retry(self, which: int) -> None:
        build = self.pick(self.builds().filter(state="FAILED"), which)
        if build is not None:
            actions.build_retry(actor=TESTER, build=build)

    @rule()
    def hold_the_service(self) -> None:
        service_hold(actor=TESTER, service=refreshed(self.service), reason=f"wait {self.model.holds}")
        self.model.hold()

    @rule()
    def release(self) -> None:
        service_release(actor=TESTER, service=refreshed(self.service))
        self.model.is_held = False

    @rule(which=ANY, stale=st.booleans())
    def activate(self, which: int, stale: bool) -> None:
        version = self.pick(selectors.versions_of(self.service), which)
        if version is None:
            return
        service = refreshed(self.service)
        can_serve = version.state == "READY" and is_checked(version)
        loaded, under_way = selectors.is_loaded(version), selectors.open_reload(service)
        expected = service.live_generation - 1 if stale else None
        try:
            activation = actions.version_activate(
                actor=TESTER, service=service, number=version.number, expected_live_generation=expected
            )
        except FailedPrecondition:
            assert not can_serve
        except Conflict:
            assert stale or (under_way is not None and not loaded)
        else:
            assert not activation.loading or (can_serve and not loaded)
            if activation.loading:
                return
            assert activation.changed == (self.model.live != version.number)
            if activation.changed:
                assert can_serve
                assert loaded
                self.model.switch("activate", version.number)

    @rule(which=ANY)
    def roll_back(self, which: int) -> None:
        service = refreshed(self.service)
        target = selectors.rollback_target(service)
        seen = self.pick(selectors.versions_of(self.service), which)
        number = seen.number if seen is not None and which % 3 == 0 else service.live_version
        try:
            activation = actions.version_rollback(actor=TESTER, service=service, from_version=number)
        except FailedPrecondition:
            assert self.model.live is None or target is None
            return
        assert activation.changed == (number == self.model.live)
        if activation.changed:
            assert target is not None
            assert target.number not in self.model.bad
            self.model.roll_back(target.number)

    # ---- what befalls them

    @rule(which=ANY)
    def a_worker_is_not_heard_of(self, which: int) -> None:
        build = self.pick(self.builds().filter(state="RUNNING", wake_at__isnull=True), which)
        if build is not None:
            Build.objects.filter(pk=build.pk).update(lease_until=LONG_AGO)

    @rule()
    def the_clock_jumps_ahead(self) -> None:
        """All leases end at once, all waits are due, and nobody has decided for a week."""
        self.builds().filter(lease_until__isnull=False).update(lease_until=LONG_AGO)
        self.builds().filter(wake_at__isnull=False).update(wake_at=LONG_AGO)
        BuildStep.objects.filter(build__in=self.builds(), ended_at__isnull=False).update(ended_at=LONG_AGO)

    @rule()
    def the_clock_jumps_back(self) -> None:
        """Leases seem to last for ever: nobody may take a build from who has it, and who has it goes on."""
        self.builds().filter(lease_until__isnull=False).update(lease_until=FAR_AHEAD)

    @rule(keep=st.integers(min_value=1, max_value=3))
    def sweep(self, keep: int) -> None:
        for version in selectors.retirable(refreshed(self.service), keep=keep):
            actions.version_retire(version=version)
            actions.version_unrouted(version=version)
        sweep.tend_held_builds()
        sweep.close_deleted_services()
        sweep.retire_versions()
        self.report_ready()
        self.carry_on_what_a_person_wants_loaded()

    # ---- helpers

    def builds(self) -> Any:
        return Build.objects.filter(service=self.service).order_by("pk")

    def pick(self, rows: Any, which: int) -> Any:
        found = list(rows)
        return found[which % len(found)] if found else None

    def carry_on_what_a_person_wants_loaded(self) -> None:
        reload = selectors.open_reload(self.service)
        for _ in range(3):
            standby.carry_on_reloads()
            self.report_ready()
        if refreshed(self.service).live_version != self.model.live:
            assert reload is not None
            assert refreshed(self.service).live_version == reload.version.number
            self.model.switch("activate", reload.version.number)

    def report_ready(self) -> None:
        """All is loaded, and every order was carried out well."""
        placed = Replica.objects.filter(node__name=self.node, state__in=PLACED)
        done = {"ok": True, "error": ""}
        report(self.node, *(seen(each, results={one["order_id"]: done for one in each.orders}) for each in placed))
        # However slow this machine is, the node does not fall silent.
        Node.objects.filter(name=self.node).update(seen_at=FAR_AHEAD)

    def holds(self, claim: Claim, build: Build) -> bool:
        return (build.fence, build.state) == (claim.fence, "RUNNING")

    def pause(self, claim: Claim, how: str) -> None:
        if how == "wait":
            actions.build_wait(claim, "activate", seconds=3600, detail="", context={})
            return
        actions.step_start(claim, "check_index")
        told: dict[str, Any] = {"evidence": [], "report": {}, "context": {}}
        actions.build_hold(claim, "check_index", reason="guard.min_recall", message="Too low.", **told)

    def refused(self, claim: Claim, build: Build) -> None:
        """Whatever a worker that has lost its build tries to write is refused, and nothing changes."""
        before = self.rows_of(build)
        attempts = [
            lambda: actions.lease_renew(claim),
            lambda: actions.step_start(claim, "activate"),
            lambda: actions.step_done(claim, "activate", report={}, context={}),
            lambda: actions.version_reserve(claim),
            lambda: actions.build_wait(claim, "activate", seconds=1, detail="", context={}),
            lambda: actions.build_fail(claim, reason="engine.crashed", owner="platform", message=""),
            lambda: actions.build_stop(claim, reason="build.cancelled", message=""),
            lambda: actions.build_succeed(claim),
            lambda: pipeline._run_step(claim, Lease(claim), "activate"),
        ]
        for attempt in attempts:
            with pytest.raises(FenceLost):
                attempt()
        assert self.rows_of(build) == before

    def rows_of(self, build: Build) -> list[Any]:
        sets = (self.builds().filter(pk=build.pk), build.steps, build.versions, Activation.objects)
        return [list(rows.order_by("pk").values()) for rows in sets]

    def make(self, claim: Claim) -> None:
        """All steps as far as the switch, without any child."""
        version = selectors.version_of(Build.objects.get(pk=claim.build_id))
        if version is None or version.state != "READY":
            version = completed(claim)
        place(claim, version, self.node)
        self.report_ready()
        counts = {"items": version.items, "live_generation": refreshed(self.service).live_generation}
        for name in MADE_BY:
            if not BuildStep.objects.filter(build_id=claim.build_id, name=name, state="DONE").exists():
                actions.step_start(claim, name)
                actions.step_done(claim, name, report={}, context={"counts": counts})

    def switch_by_build(self, claim: Claim, build: Build) -> None:
        """The step itself, and what the model says it must do."""
        version = selectors.version_of(build)
        assert version is not None
        was_live, loaded = version.activated_at is not None, selectors.is_loaded(version)
        the_hold, the_newer = ("hold", self.model.holds), ("newer", self.model.live)
        is_held = self.model.is_held and (build.pk, the_hold) not in self.model.passed
        newer = (self.model.live or 0) > version.number and (build.pk, the_newer) not in self.model.passed
        try:
            goes_on = pipeline._run_step(claim, Lease(claim), "activate")
        except CancelAsked:
            assert build.cancel_requested_at is not None
            actions.build_stop(claim, reason="build.cancelled", message="Cancelled.")
            return
        if was_live:
            assert goes_on
        elif is_held or newer:
            assert not goes_on
            assert Build.objects.get(pk=build.pk).state == "HELD"
            self.model.met[build.pk] = the_hold if is_held else the_newer
        else:
            assert goes_on == loaded
            if goes_on:
                assert version.number not in self.model.bad, "a bad version came back by itself"
                self.model.switch("activate", version.number)

    # ---- what holds at every moment

    @invariant()
    def the_service_is_what_the_model_says(self) -> None:
        service = refreshed(self.service)
        bad = Version.objects.filter(service=service, bad_at__isnull=False).values_list("number", flat=True)
        assert (service.live_version, service.held_at is not None) == (self.model.live, self.model.is_held)
        assert set(bad) == self.model.bad
        assert service.live_version not in self.model.bad

    @invariant()
    def live_can_serve(self) -> None:
        live = selectors.live_version(refreshed(self.service))
        assert (live is None) == (self.model.live is None)
        if live is not None:
            assert (live.state, live.artifact != "", live.files_deleted_at) == ("READY", True, None)
            assert live.replicas.filter(state__in=PLACED).exists()

    @invariant()
    def switches_form_a_chain_and_each_is_in_the_audit_trail(self) -> None:
        rows = list(Activation.objects.filter(service=self.service).order_by("live_generation"))
        assert [(row.kind, row.from_version, row.to_version) for row in rows] == self.model.switches
        assert [row.live_generation for row in rows] == list(range(1, len(rows) + 1))
        assert [row.from_version for row in rows[1:]] == [row.to_version for row in rows[:-1]]
        assert refreshed(self.service).live_generation == len(rows)
        events = AuditEvent.objects.filter(tenant=self.service.tenant.name).order_by("pk")
        told = events.filter(verb__in=["service.activate", "service.rollback"]).values_list("verb", "before", "after")
        expected = [
            (
                f"service.{row.kind}",
                {"live_version": row.from_version, "live_generation": row.live_generation - 1},
                {"live_version": row.to_version, "live_generation": row.live_generation},
            )
            for row in rows
        ]
        assert list(told) == expected

    @invariant()
    def fences_only_rise(self) -> None:
        now = dict(self.builds().values_list("pk", "fence"))
        assert all(now[pk] >= fence for pk, fence in self.fences.items())
        self.fences = now

    @invariant()
    def who_was_told_that_a_build_will_be_cancelled_can_rely_on_it(self) -> None:
        """A worker has it that will see it at the latest when it writes; nobody has forgotten it."""
        asked_for = self.builds().filter(cancel_requested_at__isnull=False).exclude(state__in=["CANCELLED", "FAILED"])
        assert not asked_for.exclude(state="RUNNING", wake_at__isnull=True).exists()

    @invariant()
    def ended_builds_hold_nothing(self) -> None:
        ended = self.builds().filter(state__in=BUILD_FINAL)
        assert not ended.filter(lease_until__isnull=False).exists()
        assert not ended.filter(wake_at__isnull=False).exists()
        failed = ended.filter(state__in=["FAILED", "CANCELLED"])
        unused = Version.objects.filter(build__in=failed, activated_at__isnull=True)
        assert set(unused.values_list("state", flat=True)) <= {"FAILED"}
        placed = Replica.objects.filter(version__service=self.service, state__in=PLACED)
        assert not placed.filter(version__state__in=["FAILED", "RETIRED"]).exists()

    @invariant()
    def a_build_makes_one_version_at_a_time(self) -> None:
        usable = Version.objects.filter(service=self.service, state__in=["BUILDING", "READY"])
        builds = list(usable.values_list("build", flat=True))
        assert len(builds) == len(set(builds))


@pytest.mark.django_db
def test_invariants_hold_on_any_course(monkeypatch):
    monkeypatch.setattr(django_settings, "RETIRE_DRAIN_SECONDS", 0)
    monkeypatch.setattr(django_settings, "RETIRE_FILES_SECONDS", 0)
    more = os.environ.get("RECALL_TEST_EXAMPLES")
    wanted = settings(
        max_examples=int(more or EXAMPLES),
        stateful_step_count=STEPS_PER_EXAMPLE,
        deadline=None,
        derandomize=more is None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(AnyCourse, settings=wanted)
