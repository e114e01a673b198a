"""recall demo."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Json, console, remark, show

if TYPE_CHECKING:
    from cli.demo.play import Outcome
    from cli.demo.story import Story
    from cli.demo.team import Team
    from cli.launcher.settings import LauncherSettings
    from cli.launcher.state import PlatformState

WATCH_SECONDS = 0.5


def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop everything at the end.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return at the end; the platform goes on.")] = False,
    as_json: Json = False,
) -> None:
    """From nothing to answers: start the platform, build a service from real data, ask it, switch, roll back.

    Exit code 0 only when each part worked. With --json, one line on stdout and the story on stderr.
    """
    from cli.demo.play import as_data, play
    from cli.demo.story import Story
    from cli.launcher.settings import read_settings

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # All like Ctrl-C, so that what was started is stopped; a shell may have told us to ignore them.
        signal.signal(number, signal.default_int_handler)
    settings = read_settings()
    story = Story(console(stderr=as_json))
    platform, ours = _platform(settings, story)
    stop_at_end = ours and not detach
    try:
        outcome, team = play(settings, platform, story)
        if not (once and stop_at_end):
            _tell_how_to_go_on(story, outcome, team)
        if as_json:
            show(as_data(outcome), as_json=True, human=lambda: None)
        if stop_at_end and not once:
            remark("The platform runs until Ctrl-C.")
            _wait(platform)
    finally:
        if stop_at_end:
            _stop(settings)
    if once and stop_at_end:
        story.say("Everything worked and is stopped again. To keep it running and look around: make demo")


def _platform(settings: LauncherSettings, story: Story) -> tuple[PlatformState, bool]:
    """The platform that runs in this RECALL_HOME, started if need be, and whether we started it."""
    from cli.launcher import launch

    found = launch.status(settings)
    if found.state == "ready" and found.platform:
        remark(f"The platform of {settings.home} runs already; it is left running.")
        return found.platform, False
    with story.step("the platform starts") as step:
        state = launch.up_detached(settings, tell=step.on_change)
        step.title = f"the platform is up ({len(state.processes)} processes)"
    return state, True


def _tell_how_to_go_on(story: Story, outcome: Outcome, team: Team) -> None:
    story.chapter("Go on")
    password = team.password or f"in {team.password_file}"
    story.say(f"console   {outcome.console_url}   user demo, password {password}")
    story.say(f"gRPC      {outcome.gateway}   service {outcome.service}")
    story.say(f"REST      {outcome.api_url}/docs")
    story.say(f"key       export RECALL_API_KEY_FILE={team.password_file.with_name('demo_key')}")


def _wait(platform: PlatformState) -> None:
    """Until Ctrl-C or SIGTERM, or until somebody else stops the platform."""
    try:
        while platform.launcher_alive():
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return


def _stop(settings: LauncherSettings) -> None:
    from cli.launcher import launch

    if launch.status(settings).state != "stopped":
        launch.down(settings, tell=remark)
