"""What a switch of the live pointer is refused for, each with what to do instead. Reads only."""

from __future__ import annotations

from common.errors import FailedPrecondition
from versions.checked import is_checked
from versions.models import Version
from versions.selectors import is_loaded
from versions.standing import Standing, conditions_of, is_worse
from versions.states import BuildState, VersionState


def servable(version: Version) -> Version:
    """Raises FailedPrecondition, with what to do, for a version that cannot serve."""
    what = f"Version {version.number} is {version.state}"
    if version.state != VersionState.READY:
        message = f"{what} and cannot serve. Build its drop again, with force."
        raise FailedPrecondition(message, reason="VERSION_NOT_READY")
    if not is_loaded(version):
        message = f"{what} but loaded on no node. Override its build when that is held, else build its drop again."
        raise FailedPrecondition(message, reason="VERSION_NOT_LOADED")
    return version


def refuse_unchecked(version: Version) -> None:
    if is_checked(version):
        return
    build = version.build
    remedy = "Override that build, with a reason." if build.state == BuildState.HELD else "Wait for that build."
    message = f"Version {version.number} is not checked yet: build {build.number}, which makes it, is {build.state}."
    raise FailedPrecondition(f"{message} {remedy}", reason="VERSION_NOT_CHECKED")


def refuse_worse(*, target: Version, live: Version | None, anyway: bool) -> str:
    """Raises FailedPrecondition (VERSION_NOT_WELL) when callers would hear worse from `target` than from what is live;
    when it is wanted `anyway`, says instead what was passed over. Empty when there is nothing to refuse.

    Who rolls back at 3 am has looked at the answers of what is live, and not at the health of what was live before:
    from bad answers to none is what nobody means without saying so. Where what is live answers nobody itself there is
    nothing to lose: any version may be the way out, also a sick one, whose server may be the first to come back. One
    that is slow, or that a busy node has not looked at of late, is gone to as ever: bad data are worse.
    """
    if live is None:
        return ""
    found = conditions_of([target, live])
    there, here = found[target.pk], found[live.pk]
    if not is_worse(there, here):
        return ""
    answers = "is well" if here.standing == Standing.WELL else "still answers"
    found_worse = f"Version {target.number} {there.text}, and version {live.number}, which is live, {answers}"
    if anyway:
        return f"{found_worse}."
    message = (
        f"{found_worse}: nothing was changed. `recall alerts` says what is wrong with it. Wait until that is over, "
        "activate another version, or say that you want it all the same: `anyway` (--anyway)."
    )
    raise FailedPrecondition(message, reason="VERSION_NOT_WELL")
