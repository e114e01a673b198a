"""Asking for builds from the shell, and waiting for their end."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from cli import errors
from tests.cli.conftest import Recall
from tests.support.history import asked, claimed, resolved
from versions import actions
from versions.models import Build

if TYPE_CHECKING:
    from catalog.models import Service

Work = Callable[[Build], None]


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], None]:
    """What the worker does, as soon as the shell has asked for a build."""

    def arrange(work: Work) -> None:
        request = actions.build_request

        def ask(**wanted: object) -> Build:
            build = request(**wanted)  # type: ignore[arg-type]
            work(build)
            return build

        monkeypatch.setattr(actions, "build_request", ask)

    return arrange


def failing(build: Build) -> None:
    claim = claimed(build)
    actions.step_start(claim, "resolve_drop")
    actions.build_fail(claim, reason="drop.not_found", owner="user", message="There is no drop yet.")


def repeating(build: Build) -> None:
    claim = claimed(build)
    twin = resolved(claim, "20260101")
    assert twin is not None
    message = f"Drop 20260101 under this spec is version 1 (build {twin.number})."
    actions.build_stop(claim, reason="build.duplicate", message=message)


def succeeded(service: Service) -> Build:
    build = asked(service)
    claim = claimed(build)
    resolved(claim, "20260101")
    actions.build_succeed(claim)
    return build


def test_a_build_that_repeats_a_good_one_is_a_success_with_nothing_to_do(
    local: Recall, films_service: Service, worked: Callable[[Work], None]
) -> None:
    succeeded(films_service)
    worked(repeating)
    ran = local("build", "movies", "--wait")
    assert ran.code == 0
    assert "nothing to do: drop 20260101 under this spec is version 1 (build 1). Nothing is serving yet." in ran.err
    assert "--force builds it again." in ran.err
    again = local("build", "movies", "--wait", "--json")
    assert (again.code, again.data["number"], again.data["error"]["reason"]) == (0, 3, "build.duplicate")
    assert again.data["report"]["same_as"]["build"] == 1


def test_a_build_that_repeats_a_held_one_ends_like_that(
    local: Recall, films_service: Service, worked: Callable[[Work], None]
) -> None:
    claim = claimed(asked(films_service))
    resolved(claim, "20260101")
    actions.step_start(claim, "activate")
    actions.build_hold(
        claim, "activate", reason="guard.min_recall", message="Too low.", evidence=[], report={}, context={}
    )
    worked(repeating)
    ran = local("build", "movies", "--wait")
    assert ran.code == errors.EXIT_BUILD
    assert ran.error is not None
    assert "Build 1 is HELD: Too low." in ran.error.message


def test_a_build_that_repeats_a_running_one_says_so_and_follows_that(
    local: Recall, films_service: Service, worked: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = claimed(asked(films_service))
    resolved(first, "20260101")
    worked(repeating)
    monkeypatch.setattr("cli.builds.time.sleep", lambda _: actions.build_succeed(first))
    ran = local("build", "movies", "--wait")
    assert ran.code == 0
    assert "build 1 of this drop runs already, and is followed" in ran.err
    for misleading in ("cancelled", "nothing to do", "Nothing is serving", "--force"):
        assert misleading not in ran.err


def test_the_log_of_a_running_build_that_is_followed_is_told_from_its_beginning(
    local: Recall, films_service: Service, worked: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = claimed(asked(films_service))
    resolved(first, "20260101")
    actions.build_say(first, "import_items", "This was said before anybody followed it.")
    worked(repeating)
    monkeypatch.setattr("cli.builds.time.sleep", lambda _: actions.build_succeed(first))
    ran = local("build", "movies", "--wait", "--log")
    _, followed = ran.err.split("build 1 of this drop runs already, and is followed:")
    assert "This was said before anybody followed it." in followed
    assert "Succeeded: version" in followed


def test_a_failed_build_is_told_once(local: Recall, films_service: Service, worked: Callable[[Work], None]) -> None:
    worked(failing)
    ran = local("build", "movies", "--wait")
    assert ran.code == errors.EXIT_BUILD
    assert ran.error is not None
    assert "There is no drop yet." in ran.error.line()
    assert "There is no drop yet." not in ran.out + ran.err


def test_sentences_of_a_failed_build_end_before_the_next_one_begins(
    local: Recall, films_service: Service, worked: Callable[[Work], None]
) -> None:
    def failing_in_an_engine_s_words(build: Build) -> None:
        claim = claimed(build)
        actions.step_start(claim, "build_index")
        actions.build_fail(claim, reason="engine.unavailable", owner="platform", message="server unavailable")

    worked(failing_in_an_engine_s_words)
    ran = local("build", "movies", "--wait")
    assert ran.error is not None
    assert "Build 1 is FAILED: server unavailable. Nothing is serving yet." in ran.error.line()


def test_a_failed_build_for_programs_is_one_line_of_json(
    local: Recall, films_service: Service, worked: Callable[[Work], None]
) -> None:
    worked(failing)
    ran = local("build", "movies", "--wait", "--json")
    assert (ran.code, ran.data["state"], ran.out.count("\n")) == (errors.EXIT_BUILD, "FAILED", 1)
    assert "There is no drop yet." in ran.err


def test_the_log_is_told_line_by_line_while_one_waits(
    local: Recall, films_service: Service, worked: Callable[[Work], None]
) -> None:
    worked(failing)
    ran = local("build", "movies", "--wait", "--log")
    lines = [line.partition("  ")[2].strip() for line in ran.err.splitlines()]
    assert [line for line in lines if line] == [
        f"shell:{getpass.getuser()} asks for a build of the newest complete drop.",
        "resolve_drop      Begins.",
        "resolve_drop      error: Failed (drop.not_found): There is no drop yet.",
    ]


def test_one_build_is_told_with_its_steps_or_with_its_log(local: Recall, films_service: Service) -> None:
    build = asked(films_service)
    failing(build)
    one = local("builds", "movies", "1")
    assert "Finds the drop" in one.out
    assert "a retry goes on from resolve_drop" in one.err
    newest = local("builds", "movies", "--log")
    assert "error: Failed (drop.not_found): There is no drop yet." in newest.out
    as_data = local("builds", "movies", "1", "--log", "--json").data
    assert [line["level"] for line in as_data["log"]] == ["info", "info", "error"]


def test_before_the_first_build_there_is_no_log(local: Recall, films_service: Service) -> None:
    ran = local("builds", "movies", "--log")
    assert ran.code == errors.EXIT_NOT_FOUND
    assert "There is no build yet." in ran.error.line() if ran.error else False
