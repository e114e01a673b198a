"""What happens next when a service is released, and what does not come back by itself."""

from __future__ import annotations

from operator import itemgetter

from catalog.models import Service
from catalog.notices import made_spec
from versions.checked import HELD_BY_SERVICE
from versions.groups import group_of
from versions.models import Build, Version
from versions.states import BuildState


def bad_twin(build: Build) -> Version | None:
    """A version made of the same drop and in the same way as `build`, that somebody rolled back from for good.

    In the same way: by the parts of the spec that decide what is in a version. A changed limit, guard or number of
    replicas makes bad data no better. For good: when such a version is live, or went live after the last of them was
    left, somebody has decided since that the drop may serve.
    """
    if not build.drop_fingerprint:
        return None
    same_drop = Version.objects.filter(service=build.service_id, build__drop_fingerprint=build.drop_fingerprint)
    made_alike = [version for version in same_drop if made_spec(version.spec) == made_spec(build.spec)]
    left = max(((version.bad_at, version) for version in made_alike if version.bad_at), key=itemgetter(0), default=None)
    if left is None:
        return None
    left_at, bad = left
    live = Service.objects.values_list("live_version", flat=True).get(pk=build.service_id)
    is_redeemed = any(
        version.number == live or (version.activated_at is not None and version.activated_at > left_at)
        for version in made_alike
    )
    return None if is_redeemed else bad


def release_outlook(service: Service) -> str:
    """What happens when the hold of `service` ends, in words."""
    waiting = Build.objects.filter(service=service, state=BuildState.HELD, error_reason=HELD_BY_SERVICE)
    told = []
    for build in waiting.order_by("number"):
        bad = bad_twin(build)
        what = f"Build {build.number} (drop {build.drop_name or 'unknown'}), which waits only for this,"
        if bad is None:
            with_group = f" with its group ({group_of(service)})" if group_of(service) else ""
            told.append(f"{what} goes live by itself{with_group}.")
        else:
            told.append(f"{what} stays held: its drop made version {bad.number}, which was rolled back.")
    return " ".join(told or ["No build waits for it. The next build that meets its guards goes live by itself."])
