"""The library, imported in one place, and its threads kept to what we say.

OpenMP's number of threads is a property of each thread that asks, not of the process: what one thread sets, another
does not see, and begins with one for each core. So whoever enters the library says how many first. Threads of OpenMP
also spin for milliseconds after their work, on cores that others need; so only builds, which have a process of their
own, use them.
"""

from __future__ import annotations

import threading

import faiss
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

# The library brings a BLAS of its own, which has not heard what was said to numpy's; see engines/exact.py.
threadpool_limits(limits=1, user_api="blas")

_told = threading.local()


def keep_to_threads(threads: int) -> None:
    """How many threads the library uses for what this thread asks of it."""
    if getattr(_told, "threads", None) != threads:
        faiss.omp_set_num_threads(threads)
        _told.threads = threads
