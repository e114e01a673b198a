"""Keeps a build child from harming what serves beside it: its priority, its memory, and its life after its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1
WATCH_SECONDS = 0.25
STATUS_FILE = Path("/proc/self/status")
# What only this process can give back. File pages that the vectors are mapped from are the system's to drop.
OWN_MEMORY_FIELDS = ("RssAnon:", "RssShmem:")
PEAK_FIELD = "VmHWM:"
NICE_MAX = 19
# Of all that ask for a session's weight, the system lets one through every 0.1 s.
WEIGH_PAUSE_SECONDS = 0.12
WEIGH_TRIES_MAX = 5


def die_with_parent(parent_pid: int | None = None) -> None:
    """The system kills this process when the thread that started it ends.

    A parent that is gone already, or is another than `parent_pid`, ends it here, and standard error says so.
    """
    parent_pid = parent_pid or os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    found_pid = os.getppid()
    if found_pid != parent_pid:
        # A kill leaves no trace of its own, and whoever reads of it would look for a murderer.
        sys.stderr.write(f"this was to be done for process {parent_pid}, and the parent is {found_pid}\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def be_nice(nice: int) -> None:
    """Give way to others; a process that already gives way more stays so.

    At 19 it runs when nobody else wants the core (SCHED_IDLE). In a session of its own, which gives way as a whole (see
    `let_session_give_way`): in that of its parent it would have to share the parent's weight, or take it along.
    """
    nice = max(nice, os.getpriority(os.PRIO_PROCESS, 0))
    # Each thread has a niceness of its own; a library that was imported may have started some.
    for thread in map(int, os.listdir("/proc/self/task")):
        # One may have ended since it was listed.
        with contextlib.suppress(ProcessLookupError):
            _let_thread_give_way(thread, nice)
    if os.getpgrp() != os.getpid():
        os.setsid()
    if os.getsid(0) == os.getpid():
        let_session_give_way(os.getpid(), nice)


def _let_thread_give_way(thread: int, nice: int) -> None:
    os.setpriority(os.PRIO_PROCESS, thread, nice)
    if nice < NICE_MAX:
        return
    # A sandbox may refuse the call; the thread stays as nice as it is then.
    with contextlib.suppress(PermissionError):
        # A core with nothing else on it counts as free, so that whoever wakes up goes there at once.
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def let_session_give_way(pid: int, nice: int) -> None:
    """Weigh the session of process `pid` by `nice`.

    Where the system weighs sessions before it weighs processes (autogroups, sched(7)), a process's niceness counts only
    beside others of its session: measured, calls beside a build in a session of full weight had three times the p99.
    What the system has no such weights for, or does not let us weigh, stays as nice as its processes are.
    """
    autogroup = Path(f"/proc/{pid}/autogroup")
    for _ in range(WEIGH_TRIES_MAX):
        try:
            autogroup.write_text(str(nice))
        except BlockingIOError:
            time.sleep(WEIGH_PAUSE_SECONDS)
        except OSError:
            return
        else:
            return


def keep_to_cpus(count: int) -> None:
    """Run on the last `count` of the cores that this process may use, all its threads and children together.

    Builds that run at once share these same cores, so that the others are left to what serves.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-count:])


def cap_memory(bytes_max: int) -> None:
    """Let allocations fail beyond this. Counts writable private memory, so that mapped vectors are free (RLIMIT_AS
    would count them)."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = bytes_max if hard == resource.RLIM_INFINITY else min(bytes_max, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def lift_memory_cap() -> None:
    """Make room to report what happened."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def watch_memory(bytes_max: int, on_excess: Callable[[int], None]) -> None:
    """Call `on_excess(bytes)` in a thread once this process holds more: shared memory passes by RLIMIT_DATA."""

    def watch() -> None:
        pause = threading.Event()
        while (held := own_memory_bytes()) <= bytes_max:
            pause.wait(WATCH_SECONDS)
        on_excess(held)

    threading.Thread(target=watch, name="memory-watch", daemon=True).start()


def own_memory_bytes() -> int:
    """Resident memory of this process, without pages of files."""
    lines = STATUS_FILE.read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(OWN_MEMORY_FIELDS))


def peak_memory_bytes() -> int:
    """The most resident memory that this program ever held, with pages of files.

    Not getrusage's, which begins with what the parent held when it started this one.
    """
    lines = STATUS_FILE.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(PEAK_FIELD))
