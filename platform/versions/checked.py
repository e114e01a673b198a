"""Which versions have passed everything that their build had to look at before the switch."""

from __future__ import annotations

from versions.models import Version
from versions.states import BuildState

# What the reasons of a hold begin with when nothing but the switch itself was held.
HELD_BEFORE_SWITCH = ("activate.", "approval.", "group.")
# The service wants a person to say yes to each version (versions.activate).
APPROVAL_REQUIRED = "approval.required"
# The service itself is on hold; once it is released, such a build goes on by itself.
HELD_BY_SERVICE = "activate.service_held"


def is_checked(version: Version) -> bool:
    """Whether a person may make `version` live: it was live before, or its build left nothing undone but the switch.

    A version is READY as soon as its files are published; then its build still warms it up and checks its answers.
    """
    if version.activated_at is not None or version.build.state == BuildState.SUCCEEDED:
        return True
    return version.build.state == BuildState.HELD and version.build.error_reason.startswith(HELD_BEFORE_SWITCH)
