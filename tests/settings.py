"""Settings of the tests: those of the platform, in a folder of their own."""

import os
import tempfile

_HOME = os.environ.setdefault("RECALL_HOME", tempfile.mkdtemp(prefix="recall-tests-"))
os.environ.setdefault("RECALL_REDIS_URL", "redis://127.0.0.1:1/0")

from config.settings import *  # noqa: E402, F403  (the environment must be set first)

# Fast on purpose: tests sign in often.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CELERY_TASK_ALWAYS_EAGER = False
