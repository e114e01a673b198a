"""What the children are told: RECALL_* for this RECALL_HOME, and secrets by file, never by value."""

from __future__ import annotations

import os

from cli.launcher.settings import LauncherSettings

SECRETS = ("secret_key", "key_pepper", "internal_token")
# What belongs to whoever called us, and to no child.
CALLERS_OWN = ("RECALL_API_KEY", "RECALL_API_URL", "RECALL_PROFILE", "RECALL_REDIS_PASSWORD")


def children_environment(settings: LauncherSettings) -> dict[str, str]:
    """The environment for every child; makes the secrets that are not configured, 0600."""
    from config.env import env_secret

    inherited = {name: value for name, value in os.environ.items() if name not in CALLERS_OWN}
    ours = {
        "RECALL_HOME": str(settings.home),
        "RECALL_BIND": settings.bind,
        "RECALL_NODE": settings.node,
        "RECALL_RUN_DIR": str(settings.run_dir),
        "RECALL_CONSOLE_PORT": str(settings.console_port),
        "RECALL_GATEWAY_PORT": str(settings.gateway_port),
        "RECALL_CONSOLE_URL": settings.console_address(),
        "RECALL_GATEWAY": settings.gateway_address(),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        # Django's checks import every view, which no worker needs.
        "CELERY_SKIP_CHECKS": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }
    for name in SECRETS:
        variable = f"RECALL_{name.upper()}"
        if variable not in inherited and f"{variable}_FILE" not in inherited:
            path = settings.secrets / name
            env_secret(variable, path)
            ours[f"{variable}_FILE"] = str(path)
    return {**inherited, **ours}
