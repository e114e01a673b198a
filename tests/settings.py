"""Settings of the tests: those of the platform, in a folder of their own.

RECALL_TEST_POSTGRES=1 runs the same tests on a real PostgreSQL instead of SQLite.
"""

import os
import tempfile
from pathlib import Path


def _own_home() -> Path:
    """A folder for each process of pytest-xdist, which all inherit the one of the process that started them.

    Their databases give the same numbers to builds of the same names, which would meet in one working folder.
    """
    home = Path(os.environ.get("RECALL_HOME") or tempfile.mkdtemp(prefix="recall-tests-"))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    # A process that a test starts is told its home already.
    return home / worker if worker and home.name != worker else home


os.environ["RECALL_HOME"] = str(_own_home())
# Nobody listens there: a test that needs Valkey starts its own.
os.environ.setdefault("RECALL_REDIS_URL", "redis://127.0.0.1:1/0")
# A platform leaves a core to what serves, so that all its builds together keep to the other ones. On a machine with
# two, builds of tests that run side by side would stand in line for one of them, and the other would idle.
os.environ.setdefault("RECALL_BUILD_CPUS", str(len(os.sched_getaffinity(0))))
if os.environ.get("RECALL_TEST_POSTGRES"):
    from tests.support import postgres

    os.environ["RECALL_DATABASE_URL"] = postgres.start("django").get_uri(database="postgres")

from config.settings import *  # noqa: E402, F403  (the environment must be set first)

# Fast on purpose: tests sign in often.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):  # noqa: F405
    # A file, because threads and processes of a test share it; no fsync, because no test cuts the power.
    DATABASES["default"]["TEST"] = {"NAME": str(RECALL_HOME / "db" / "test.sqlite3")}  # noqa: F405
    DATABASES["default"]["OPTIONS"]["init_command"] += "PRAGMA synchronous=OFF;"  # noqa: F405
