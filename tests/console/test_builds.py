"""The page of a build: what each step does, what the build said, why it stopped, and how to go on."""

from __future__ import annotations

import re
from html import unescape

from django.contrib.auth.models import User
from django.test import Client

from catalog.models import Service
from tests.console.test_pages import signed_in
from tests.support.history import activated, asked, claimed, held, made_version, resolved
from versions import actions
from versions.models import Build, BuildStep

PAGE = "/t/films/s/movies/builds/{}/"


# What the page of a build that `held` makes tells of the hold, and its form sends along.
READ = {"step": "activate", "guard": "guard.min_recall"}


def text_of(client: Client, number: int, query: str = "") -> str:
    content = client.get(PAGE.format(number) + query).content.decode()
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", content)))


def failed(service: Service, owner: str, reason: str = "drop.empty") -> Build:
    build = asked(service, force=True)
    claim = claimed(build)
    resolved(claim, f"drop-{build.number}")
    actions.step_start(claim, "resolve_drop")
    actions.build_fail(claim, reason=reason, owner=owner, message="Nothing is in it.")
    return build


def test_a_step_says_what_it_does_and_how_far_it_is(alice: User, films_service: Service) -> None:
    claim = claimed(asked(films_service))
    actions.step_start(claim, "build_index")
    actions.step_progress(claim, "build_index", progress=0.42, rate=41_000, eta_seconds=75, detail="42 of 100 rows")
    page = text_of(signed_in(alice), 1)
    assert "Builds the index in a process of its own" in page
    assert re.search(r"42 % · 41,000 rows/s · 1 min 15 s left · \d", page), page
    assert "0 of 3 done" in page
    actions.step_progress(claim, "build_index", progress=0.5, rate=3_000_000, detail="5 of 10 bytes")
    assert "3.0 MB/s" in text_of(signed_in(alice), 1)


def test_an_index_at_a_server_is_told_with_its_place(alice: User, films_service: Service) -> None:
    claim = claimed(asked(films_service))
    actions.step_start(claim, "build_index")
    actions.step_done(claim, "build_index", report={"index": {"places": ["green"]}}, context={})
    assert "· index at green" in text_of(signed_in(alice), 1)


def test_a_step_that_is_not_over_says_how_long_it_took_last_time(alice: User, films_service: Service) -> None:
    claim = claimed(asked(films_service))
    actions.step_start(claim, "build_index")
    actions.step_done(claim, "build_index", report={}, context={})
    actions.build_succeed(claim)
    BuildStep.objects.filter(name="build_index").update(
        started_at="2026-11-26T09:00:00Z", ended_at="2026-11-26T09:01:15Z"
    )
    claimed(asked(films_service))
    assert "(1 min 15 s last time)" in text_of(signed_in(alice), 2)
    assert "last time" not in text_of(signed_in(alice), 1)


def test_a_failure_says_cause_effect_owner_and_next_step(alice: User, films_service: Service) -> None:
    activated(made_version(films_service))
    failed(films_service, "user")
    page = text_of(signed_in(alice), 2)
    for words in (
        "Nothing is in it.",
        "Cause drop.empty in resolve_drop",
        "Effect Version 1 is still serving.",
        "Who mends it You: the drop or the service's spec.",
        "Next Correct the drop or change the spec",
        "Build the newest drop",
        "Retry from resolve_drop",
        "recall retry films/movies 2",
    ):
        assert words in page


def test_what_the_platform_has_broken_is_not_the_users_to_mend(alice: User, films_service: Service) -> None:
    failed(films_service, "platform", "engine.broken")
    page = text_of(signed_in(alice), 1)
    assert "Who mends it The platform's people: nothing is wrong with your drop." in page
    assert "Build the newest drop" not in page


def test_a_viewer_reads_all_of_it_and_presses_nothing(victor: User, films_service: Service) -> None:
    failed(films_service, "user")
    held(asked(films_service, force=True))
    client = signed_in(victor)
    for number in (1, 2):
        content = client.get(PAGE.format(number)).content.decode()
        main = content.partition("<main")[2]
        assert "<button" not in main
        assert "Log" in main


def test_a_hold_shows_each_figure_beside_its_limit_and_who_let_it_pass(alice: User, films_service: Service) -> None:
    build = held(asked(films_service))
    client = signed_in(alice)
    page = text_of(client, 1)
    assert "min_recall recall 0.9 0.95" in page
    assert "Override it with a reason" in page
    client.post(PAGE.format(1) + "override/", {**READ, "reason": "a known outage"})
    assert build.lines.filter(text="alice lets it pass: a known outage").exists()
    assert "alice let guard.min_recall pass in activate : a known outage Too low." in text_of(client, 1)


def test_a_running_build_shows_the_end_of_its_log_and_the_whole_when_asked(alice: User, films_service: Service) -> None:
    claim = claimed(asked(films_service))
    actions.step_start(claim, "build_index")
    for number in range(30):
        actions.build_say(claim, "build_index", f"line {number:02}")
    client = signed_in(alice)
    page = text_of(client, 1)
    assert "17 earlier lines" in page
    assert "line 14" not in page
    assert "line 15" in page
    whole = text_of(client, 1, "?log=all")
    assert "line 00" in whole
    assert "earlier lines" not in whole
    assert b"progress/?log=all" in client.get(PAGE.format(1) + "?log=all").content
    actions.build_fail(claim, reason="engine.broken", owner="platform", message="It broke.")
    assert "line 00" in text_of(client, 1)


def test_what_a_build_says_is_text(alice: User, films_service: Service) -> None:
    claim = claimed(asked(films_service))
    actions.step_start(claim, "build_index")
    actions.build_say(claim, "build_index", "<script>alert(1)</script>")
    assert b"<script>alert" not in signed_in(alice).get(PAGE.format(1)).content


def test_who_asked_to_cancel_is_not_asked_again(alice: User, films_service: Service) -> None:
    claimed(asked(films_service))
    client = signed_in(alice)
    client.post(PAGE.format(1) + "cancel/")
    page = text_of(client, 1)
    assert "its worker ends it within seconds" in page
    assert "recall cancel" not in page


def test_looking_at_a_build_costs_few_queries(
    alice: User, films_service: Service, django_assert_max_num_queries: object
) -> None:
    build = failed(films_service, "user")
    client = signed_in(alice)
    with django_assert_max_num_queries(25):  # type: ignore[operator]
        client.get(PAGE.format(build.number))


def test_an_override_passes_the_guard_that_was_read_and_no_other(alice: User, films_service: Service) -> None:
    build = held(asked(films_service), reason="guard.min_recall")
    client = signed_in(alice)
    page = client.get(PAGE.format(build.number)).content.decode()
    assert 'name="step" value="activate"' in page
    assert 'name="guard" value="guard.min_recall"' in page
    read = {"step": "activate", "guard": "guard.min_overlap", "reason": "I looked"}
    answer = client.post(PAGE.format(build.number) + "override/", read, follow=True).content.decode()
    assert "guard.min_recall holds it by now, not guard.min_overlap. Look again." in answer
    assert Build.objects.get(pk=build.pk).state == "HELD"
    client.post(PAGE.format(build.number) + "override/", {**read, "guard": "guard.min_recall"})
    assert Build.objects.get(pk=build.pk).overrides == {"activate": {"guard.min_recall": "I looked"}}


def test_each_override_keeps_its_own_reason_and_one_for_want_of_room_is_a_second_look(
    alice: User, films_service: Service
) -> None:
    build, client = asked(films_service), signed_in(alice)
    held(build, step="activate", reason="quota.items_max")
    assert "Look again" in client.get(PAGE.format(1)).content.decode()
    room = {"step": "activate", "guard": "quota.items_max"}
    client.post(PAGE.format(1) + "override/", {**room, "reason": "try anyway"})
    Build.objects.filter(pk=build.pk).update(state="PENDING")
    held(Build.objects.get(pk=build.pk), step="activate", reason="quota.items_max")
    client.post(PAGE.format(1) + "override/", {**room, "reason": "quota raised"})
    page = text_of(client, 1)
    for why in ("try anyway", "quota raised"):
        assert f"alice had quota.items_max looked at again in activate : {why}" in page
    assert "let quota.items_max pass" not in page
