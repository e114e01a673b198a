"""The processes of a platform, in the order of their start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from cli.launcher import checks, valkey
from cli.launcher.child import Plan
from cli.launcher.settings import LauncherSettings

# One may be with slow sources, one with the source of a draft; the third is for what is short.
CONTROL_PROCESSES = 3
# Sweeps and builds can wait for a core, and calls cannot: bursts of the sweeps showed in their p99.
WORKER_NICE = 10
# The console's own time to finish answers under way.
CONSOLE_GRACE_SECONDS = 5

VALKEY_STAGE, GATEWAY_STAGE = 0, 2
AGENT, GATEWAY = "agent", "gateway"
# In launcher.json: the gateway of an earlier launcher, until the one of this has taken its place.
PREDECESSOR = "gateway-before"


def valkey_plan(settings: LauncherSettings) -> Plan | None:
    """None when a Redis is configured."""
    if settings.redis_url:
        return None
    command = valkey.prepare(settings)
    url = redis_url(settings)
    return Plan("valkey", command, _whoever(checks.valkey_answers, url), stage=VALKEY_STAGE, needs_tables=False)


def platform_plans(settings: LauncherSettings) -> tuple[Plan, ...]:
    """Everything but Valkey, in the order of the start; the gateway is the first to stop."""
    url = redis_url(settings)
    schedule = settings.run / "beat-schedule"
    python = sys.executable
    celery = (python, "-m", "celery", "-A")
    return (
        Plan("console", _console(settings), _whoever(checks.console_answers, _console_check(settings))),
        Plan(
            "worker-control",
            _worker(celery, "control", CONTROL_PROCESSES),
            _whoever(checks.worker_answers, url, "control"),
            nice=WORKER_NICE,
        ),
        Plan(
            "worker-builds",
            _worker(celery, "builds", settings.builds_at_once),
            _whoever(checks.worker_answers, url, "builds"),
            nice=WORKER_NICE,
        ),
        Plan(
            "worker-health",
            _worker(celery, "health", 1),
            _whoever(checks.worker_answers, url, "health"),
            nice=WORKER_NICE,
        ),
        Plan(
            "beat",
            (*celery, "workers.beat", "beat", "--schedule", str(schedule), "--pidfile=", "--loglevel", "INFO"),
            partial(checks.beat_ticks, schedule),
            nice=WORKER_NICE,
        ),
        Plan(
            AGENT,
            (python, "-m", "replicas.agent"),
            partial(checks.agent_reports, url, settings.node),
            outlived=True,
            needs_tables=False,
        ),
        Plan(
            GATEWAY,
            (python, "-m", "gateway"),
            _whoever(checks.gateway_serves, settings.gateway_address()),
            stage=GATEWAY_STAGE,
            needs_tables=False,
        ),
    )


def redis_url(settings: LauncherSettings) -> str:
    return settings.redis_url or settings.redis_url_file.read_text().strip()


def _console(settings: LauncherSettings) -> tuple[str, ...]:
    bind = f"[{settings.bind}]" if ":" in settings.bind else settings.bind
    return (
        *(sys.executable, "-m", "gunicorn", "config.wsgi", "--bind", f"{bind}:{settings.console_port}"),
        *("--worker-class", "gthread", "--workers", "1", "--threads", str(settings.console_threads)),
        *("--graceful-timeout", str(CONSOLE_GRACE_SECONDS), "--no-control-socket"),
    )


def _console_check(settings: LauncherSettings) -> str:
    return f"http://{settings.host}:{settings.console_port}"


def _worker(celery: tuple[str, ...], queue: str, processes: int) -> tuple[str, ...]:
    return (
        *(*celery, "workers.app", "worker", "-Q", queue, "-c", str(processes), "-n", f"{queue}@%h"),
        *("--loglevel", "INFO", "--without-mingle", "--without-gossip"),
    )


def _whoever(check: Callable[..., bool], *arguments: str) -> Callable[[int], bool]:
    """A check that asks an address and needs no pid."""
    return lambda _pid: check(*arguments)
