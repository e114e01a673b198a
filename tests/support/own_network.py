"""Runs a command in a network of its own, in which there is nothing but its own loopback.

python -m tests.support.own_network COMMAND ...

For servers that listen on every address: whatever they open there, nobody outside can reach. As root it takes nothing
else; anybody else is in a user namespace of their own, too, as the user they are.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

import psutil

CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000
SIOCSIFFLAGS = 0x8914
LOOPBACK = "lo"
IFF_UP = 0x1
REFUSED = 2


class NoOwnNetwork(OSError):
    """This machine does not let us have one."""


def main() -> None:
    command = sys.argv[1:]
    if not command:
        sys.exit("usage: python -m tests.support.own_network COMMAND ...")
    try:
        enter()
    except NoOwnNetwork as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(REFUSED)
    os.execvp(command[0], command)  # noqa: S606 - a list, and no shell is wanted


def enter() -> None:
    """Takes this process, which may have one thread only, into a network of its own. Raises NoOwnNetwork."""
    user, group = os.getuid(), os.getgid()
    wanted = CLONE_NEWNET if user == 0 else CLONE_NEWNET | CLONE_NEWUSER
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(wanted) != 0:
        raise NoOwnNetwork(_remedy(ctypes.get_errno(), user))
    try:
        if user != 0:
            _stay(user, group)
        _raise_loopback()
    except OSError as error:
        raise NoOwnNetwork(_remedy(error.errno or 0, user)) from error
    assert is_own(), others()


def is_own() -> bool:
    """Whether a server that listens on every address here is reached from here only."""
    return not others()


def others() -> list[str]:
    """The interfaces by which a server here could be reached from elsewhere."""
    return sorted(name for name, told in psutil.net_if_stats().items() if told.isup and "loopback" not in told.flags)


def _stay(user: int, group: int) -> None:
    """The same user inside as outside, so that nothing here takes us for root."""
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, SIOCSIFFLAGS, struct.pack("16sh14x", LOOPBACK.encode(), IFF_UP))


def _remedy(number: int, user: int) -> str:
    why = os.strerror(number)
    if number not in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EINVAL, errno.ENOSYS):
        return f"No network of its own: {why}."
    if user == 0:
        return f"No network of its own: {why}. Root needs CAP_SYS_ADMIN for it; a container has it with --privileged."
    return (
        f"No network of its own: {why}. This machine keeps user namespaces from people other than root, by "
        "kernel.unprivileged_userns_clone, user.max_user_namespaces or kernel.apparmor_restrict_unprivileged_userns."
    )


if __name__ == "__main__":
    main()
