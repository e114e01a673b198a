"""recall up, down, status."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_FAILED, EXIT_UNREACHABLE
from cli.output import Json, bytes_text, pairs, remark, show, table

if TYPE_CHECKING:
    from cli.launcher.launch import Status
    from cli.launcher.state import PlatformState


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when it is ready; it goes on by itself.")
    ] = False,
) -> None:
    """Start all processes of the platform; until Ctrl-C, or `recall down`."""
    from cli.launcher import launch
    from cli.launcher.settings import read_settings

    settings = read_settings()
    if detach:
        _greet(launch.up_detached(settings, tell=remark))
    else:
        launch.up(settings, tell=remark, ready=_greet)


def down() -> None:
    """Stop the platform of this RECALL_HOME, replicas included."""
    from cli.launcher import launch
    from cli.launcher.settings import read_settings

    launch.down(read_settings(), tell=remark)


def status(as_json: Json = False) -> None:
    """What runs in this RECALL_HOME. Exit code 0: all of it, 3: nothing, 1: not all."""
    from cli.launcher import launch
    from cli.launcher.settings import read_settings

    settings = read_settings()
    found = launch.status(settings)
    data = {
        "home": str(settings.home),
        "state": found.state,
        "platform": asdict(found.platform) if found.platform else None,
        "replicas": found.replicas,
    }
    show(data, as_json=as_json, human=lambda: _tell_status(str(settings.home), found))
    if found.state != "ready":
        raise typer.Exit(EXIT_UNREACHABLE if found.state == "stopped" else EXIT_FAILED)


def _greet(state: PlatformState) -> None:
    pairs([("console", state.console_url), ("api", state.api_url), ("gateway", state.gateway)])


def _tell_status(home: str, found: Status) -> None:
    pairs([("home", home), ("state", found.state)])
    if found.platform is None:
        return
    _greet(found.platform)
    rows = [
        (name, process.pid, process.state if process.alive() else "gone", process.restarts, _memory(process.pid))
        for name, process in found.platform.processes.items()
    ]
    table(("process", "pid", "state", "restarts", "memory"), rows, empty="No processes.")
    pairs([("replicas", ", ".join(found.replicas))])


def _memory(pid: int) -> str:
    import psutil

    try:
        return bytes_text(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return "–"
