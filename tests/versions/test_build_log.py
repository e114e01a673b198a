"""What a build says of itself: by its steps, by people, bounded, and told by REST and page."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from catalog.models import Service
from tests.factories import TESTER
from tests.support.history import asked, claimed, expired, held, resolved
from versions import actions
from versions.actions import lines as log
from versions.models import Build, BuildLine
from versions.selectors import build_detail_view


def said(build: Build) -> list[tuple[str, str, str]]:
    return list(build.lines.values_list("level", "step", "text"))


def test_a_build_tells_its_story(films_service: Service) -> None:
    build = asked(films_service, drop="monday")
    claim = claimed(build)
    actions.step_start(claim, "build_index")
    actions.build_say(claim, "build_index", "60 rows go into the index.")
    actions.step_done(claim, "build_index", report={}, context={}, detail="60 rows in 0.1 s")
    actions.build_fail(claim, reason="engine.broken", owner="platform", message="It broke.")
    actions.build_retry(actor=TESTER, build=Build.objects.get(pk=build.pk))
    assert said(build) == [
        ("info", "", "tests asks for a build of drop monday."),
        ("info", "build_index", "Begins."),
        ("info", "build_index", "60 rows go into the index."),
        ("info", "build_index", "Done: 60 rows in 0.1 s"),
        ("error", "", "Failed (engine.broken): It broke."),
        ("info", "", "tests has it tried again."),
    ]


def test_a_hold_and_an_override_stand_in_it(films_service: Service) -> None:
    build = held(asked(films_service), step="activate")
    actions.build_override(actor=TESTER, build=build, reason="a known outage")
    assert said(build)[-2:] == [
        ("warning", "activate", "Held (guard.min_recall): Too low."),
        ("warning", "activate", "tests lets it pass: a known outage"),
    ]


def test_a_lost_worker_and_a_cancel_stand_in_it(films_service: Service) -> None:
    build = asked(films_service)
    claimed(build)
    expired(build)
    claimed(build, owner="worker-2")
    actions.build_cancel(actor=TESTER, build=build)
    assert said(build)[1:] == [
        ("warning", "", "Its worker is not heard of any more; another one goes on."),
        ("warning", "", "tests asks to cancel."),
    ]


def test_who_lost_the_build_says_nothing(films_service: Service) -> None:
    build = asked(films_service)
    lost = claimed(build)
    expired(build)
    claimed(build, owner="worker-2")
    with pytest.raises(actions.FenceLost):
        actions.build_say(lost, "build_index", "I am still here.")
    assert "still here" not in str(said(build))


def test_only_the_newest_lines_are_kept(films_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LINES_MAX", 5)
    build, other = asked(films_service), asked(films_service)
    for number in range(12):
        log.say(build.pk, f"line {number}")
    assert [text for _, _, text in said(build)] == [f"line {number}" for number in range(7, 12)]
    assert len(said(other)) == 1


def test_the_same_again_is_not_said_again(films_service: Service) -> None:
    build = asked(films_service)
    for text in ("a", "a", "b", "a"):
        log.say(build.pk, text)
    assert [text for _, _, text in said(build)][1:] == ["a", "b", "a"]


def test_a_step_that_waits_says_so_now_and_then(films_service: Service) -> None:
    build = asked(films_service)
    for number in range(3):
        log.say_waiting(build.pk, f"{number} of 3 replicas are loaded.", step="place_replicas")
    assert [text for _, _, text in said(build)][1:] == ["Waits: 0 of 3 replicas are loaded."]
    BuildLine.objects.update(at=timezone.now() - timedelta(seconds=log.WAITING_SECONDS + 1))
    log.say_waiting(build.pk, "2 of 3 replicas are loaded.", step="place_replicas")
    assert len(said(build)) == 3


def test_a_line_is_one_line_that_prints(films_service: Service) -> None:
    build = asked(films_service)
    log.say(build.pk, "two\nlines\x00 and \x1b[31mred" + "x" * 1_000)
    *_, (_, _, text) = said(build)
    assert text.startswith("two lines and [31mredxxx")
    assert len(text) == log.LINE_CHARACTERS_MAX


def test_it_is_part_of_one_build_as_json(alice: User, films_service: Service) -> None:
    build = asked(films_service)
    [line] = build_detail_view(build)["log"]
    assert line == {
        "at": line["at"],
        "step": "",
        "level": "info",
        "text": "tests asks for a build of the newest complete drop.",
    }


def test_a_failed_build_says_where_a_retry_goes_on(films_service: Service) -> None:
    build = asked(films_service)
    claim = claimed(build)
    for name in ("resolve_drop", "build_index"):
        actions.step_start(claim, name)
        if name == "resolve_drop":
            resolved(claim, "monday")
            actions.step_done(claim, name, report={}, context={})
    actions.build_fail(claim, reason="engine.broken", owner="platform", message="It broke.")
    assert build_detail_view(Build.objects.get(pk=build.pk))["retry_from"] == "build_index"
