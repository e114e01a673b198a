"""What both ends of frames know: where a replica takes them, and how they begin.

Apart from `frames`, so that an agent, which only greets, does without all that a replica answers with.
"""

from __future__ import annotations

import struct

from replicas.settings import UNIX

FRAMES_SUFFIX = ".q"
HEAD = struct.Struct(">I")
# So that a gateway knows that somebody serves: a kernel takes connections for a process that is dying or frozen, too.
GREETING = HEAD.pack(0)


def frames_path(address: str) -> str:
    """Where the replica at `address` (unix:/path) takes frames."""
    return address.removeprefix(UNIX) + FRAMES_SUFFIX
